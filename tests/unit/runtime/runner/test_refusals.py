"""A pack that is not what was measured: refused by code, before anything runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kloister.errors import Denied, Malformed
from kloister.formats.enclave.tree import Entry, Kind
from kloister.runtime.runner.pack import Pack
from tests.unit.runtime.runner.conftest import Start
from tests.unit.runtime.runner.sandboxes import LAUNCH, ROOT, PackMaker, file, manifest, other

Pair = tuple[Entry, bytes]


def _changed(path: str, **fields: object) -> Callable[[Sequence[Pair]], list[Pair]]:
    return lambda root: [(replace(e, **fields), d) if e.path == path.encode() else (e, d) for e, d in root]  # type: ignore[arg-type]


def _with(pair: Pair) -> Callable[[Sequence[Pair]], list[Pair]]:
    return lambda root: [*(item for item in root if item[0].path != pair[0].path), pair]


_ATTACKS = {
    "file-added": _with(file("/usr/bin/backdoor", b"x")),
    "file-removed": lambda root: [pair for pair in root if pair[0].path != b"/etc/shadow"],
    "file-changed": _with(file("/etc/passwd", b"evil:x:0:0::/:/bin/sh\n")),
    "file-kind": _with(other("/etc/passwd", Kind.SYMLINK, target=b"/tmp/passwd")),
    "file-mode": _changed("/etc/shadow", mode=0o644),
    "file-owner": _changed("/etc/shadow", uid=1000),
    "file-time": _changed("/usr", mtime=1),
    "link-changed": _changed("/bin", target=b"tmp"),
}


def test_the_unmodified_pack_runs(start: Start) -> None:
    running = start()
    running.tell("exit 0")
    assert running.last() == {"event": "exit", "status": 0}


@pytest.mark.parametrize("code", sorted(_ATTACKS))
def test_a_changed_tree_is_refused(start: Start, code: str) -> None:
    running = start(observed=_ATTACKS[code](ROOT))
    last = running.last()
    assert (last["event"], last["code"]) == ("refused", code)
    assert last["hint"]
    assert running.hear() == ""  # nothing ran


def test_ten_differences_are_listed_and_the_rest_counted(start: Start) -> None:
    more = [file(f"/new{number:02}", b"x") for number in range(15)]
    text = start(observed=[*ROOT, *more]).last()["text"]
    assert text.count("[file-added]") == 10
    assert "/new09" in text
    assert "5 more" in text


@pytest.mark.parametrize("path", ["/data/seed", "/usr/bin/su", "/middle"])
def test_contents_that_are_not_what_the_pack_says(start: Start, path: str) -> None:
    """The observed tree lies: it repeats the measured hashes over other bytes; each worker finds it."""
    big = bytes(3 << 20)
    tree = [*ROOT, file("/middle", big)]
    lying = [(e, b"\1" * len(d)) if e.path == path.encode() else (e, d) for e, d in tree]
    assert start(measured=tree).ask("ids")
    last = start(measured=tree, observed=lying).last()
    assert (last["event"], last["code"]) == ("refused", "file-changed")
    assert path in last["text"]


def test_a_first_code_whose_whole_file_is_not_the_measured_one(start: Start, first: bytes) -> None:
    """MRENCLAVE covers the loaded segments only; bytes behind them could name another interpreter."""
    assert start().ask("ids")
    last = start(pal=first + b"\0", measured_first=first).last()
    assert (last["event"], last["code"]) == ("refused", "first-code-changed")


@pytest.mark.parametrize("size", [0, 3, 10_000])
def test_contents_of_another_length(start: Start, size: int) -> None:
    lying = [(e, bytes(size)) if e.path == b"/data/seed" else (e, d) for e, d in ROOT]
    assert start(observed=lying).last()["code"] == "contents-size"


def test_files_beyond_the_measured_memory(start: Start) -> None:
    tree = [*ROOT, file("/big", bytes(2 << 20))]
    assert start(measured=tree, launch=replace(LAUNCH, memory=4 << 20)).ask("ids")
    assert start(measured=tree, launch=replace(LAUNCH, memory=1 << 20)).last()["code"] == "memory-full"


def test_many_small_files_beyond_the_measured_memory(start: Start) -> None:
    tree = [*ROOT, *(file(f"/f{number:03}", b"x") for number in range(300))]
    last = start(measured=tree, launch=replace(LAUNCH, memory=1 << 17)).last()
    assert last["code"] == "memory-full"


@pytest.fixture
def maker(tmp_path: Path) -> PackMaker:
    return PackMaker(tmp_path / "pack")


def _open(maker: PackMaker, manifest_bytes: bytes) -> str:
    """Empty where it opens, else the code."""
    directory = os.open(maker.directory, os.O_PATH)
    try:
        for descriptor in Pack.open(directory, manifest_bytes).descriptors:
            os.close(descriptor)
    except (Denied, Malformed) as error:
        return error.code
    finally:
        os.close(directory)
    return ""


def test_measured_documents_are_checked(maker: PackMaker) -> None:
    measured = maker.make()
    assert _open(maker, measured) == ""
    for name, code in (("tree", "tree-changed"), ("launch.json", "launch-changed")):
        path = maker.directory / "enclave" / name
        data = path.read_bytes()
        path.write_bytes(data[:-1] + b" ")
        assert _open(maker, measured) == code
        path.write_bytes(data)
    assert _open(maker, measured) == ""


def test_documents_that_are_not_measured_are_refused(maker: PackMaker) -> None:
    measured = maker.make()
    assert _open(maker, measured) == ""
    assert _open(maker, measured.replace(b"enclave/tree", b"enclave/TREE")) == "tree-unmeasured"
    assert _open(maker, measured.replace(b"launch.json", b"LAUNCH.json")) == "launch-unmeasured"
    unnamed = measured.replace(b"sha256 = ", b"other = ", 1)
    assert _open(maker, unnamed) == "first-code-unmeasured"


@pytest.mark.parametrize("name", ["observed.tree", "contents", "enclave/tree", "enclave/launch.json"])
def test_files_of_a_pack_that_are_missing_or_no_files(maker: PackMaker, name: str) -> None:
    measured = maker.make()
    path = maker.directory / name
    path.rename(maker.directory / "away")
    assert _open(maker, measured) == "pack-file"
    path.symlink_to(maker.directory / "away")
    assert _open(maker, measured) == "pack-file"
    path.unlink()
    os.mkfifo(path)
    assert _open(maker, measured) == "pack-file"
    path.unlink()
    (maker.directory / "away").rename(path)
    assert _open(maker, measured) == ""


def test_a_sigstruct_that_is_too_long(maker: PackMaker) -> None:
    measured = maker.make()
    (maker.directory / "enclave" / "sigstruct").write_bytes(bytes(1809))
    assert _open(maker, measured) == "pack-size"


def test_manifest_helper_measures_what_it_is_given() -> None:
    assert manifest(b"a", b"b") != manifest(b"b", b"a")
