from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from kloister.errors import Misconfigured
from kloister.formats.oci.config import Execution
from kloister.images.convert import ConvertOptions
from kloister.images.convert.launch_document import launch_document
from kloister.images.layers.merged import MergedRoot
from kloister.images.layers.merging import Merger
from tests.unit.images.convert.conftest import APP, BASE, MARKER

RUN = Execution(entrypoint=("/bin/app",), command=("--now",))


@pytest.fixture
def root() -> Iterator[MergedRoot]:
    with Merger() as merger:
        merger.add(iter((BASE,)), 0)
        merger.add(iter((APP,)), 1)
        with merger.finish() as merged:
            yield merged


def test_the_command_follows_the_entrypoint(root: MergedRoot, options: ConvertOptions) -> None:
    assert launch_document(RUN, root, options, None).image.arguments == ("/bin/app", "--now")


def test_the_environment_has_what_engines_add(root: MergedRoot, options: ConvertOptions) -> None:
    given = replace(RUN, environment=("A=1", "PATH=/bin", "A=2", "broken"), user="clinic")
    assert launch_document(given, root, options, None).image.environment == ("PATH=/bin", "HOME=/home/clinic", "A=2")


@pytest.mark.parametrize(
    ("given", "expected"),
    [("", "SIGTERM"), ("SIGQUIT", "SIGQUIT"), ("quit", "SIGQUIT"), ("3", "SIGQUIT"), ("SIGRTMIN+3", "SIGRTMIN+3")],
)
def test_stop_signals(root: MergedRoot, options: ConvertOptions, given: str, expected: str) -> None:
    assert launch_document(replace(RUN, stop_signal=given), root, options, None).image.stop_signal == expected


@pytest.mark.parametrize("given", ["SIGNONE", "99", "-1"])
def test_unknown_stop_signals(root: MergedRoot, options: ConvertOptions, given: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        launch_document(replace(RUN, stop_signal=given), root, options, None)
    assert refused.value.code == "image-signal"


@pytest.mark.parametrize(("given", "expected"), [("", "/"), ("srv", "/srv"), ("/a/../b/", "/b"), ("//x", "/x")])
def test_working_directories(root: MergedRoot, options: ConvertOptions, given: str, expected: str) -> None:
    assert launch_document(replace(RUN, workdir=given), root, options, None).image.workdir == expected


def test_volumes_are_writable_by_their_real_places(root: MergedRoot, options: ConvertOptions) -> None:
    given = replace(RUN, volumes=("/var/run/app", "/data", "/data/inner", "/sbin"))
    writable = launch_document(given, root, options, None).writable
    assert writable == ("/bin", "/data", "/run", "/tmp", "/var/run/app")  # noqa: S108 - places inside the image


def test_memory_holds_the_files_and_room(root: MergedRoot, options: ConvertOptions) -> None:
    memory = launch_document(RUN, root, options, None).memory
    assert memory >= len(MARKER) + (256 << 20)
    assert memory % (16 << 20) == 0
    assert launch_document(RUN, root, replace(options, memory=1 << 20), None).memory == 1 << 20


def test_nothing_to_run(root: MergedRoot, options: ConvertOptions) -> None:
    with pytest.raises(Misconfigured) as refused:
        launch_document(Execution(), root, options, None)
    assert refused.value.code == "image-arguments"
