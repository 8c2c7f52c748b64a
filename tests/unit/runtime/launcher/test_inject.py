from __future__ import annotations

import os
from pathlib import Path

import pytest

from kloister.errors import Denied
from kloister.formats.protocol.bundle import Bundle, SecretFile
from kloister.runtime.launcher.inject import DEFAULT_PATH, environment, home_of, place_files
from kloister.runtime.launcher.placing import Root
from tests.unit.runtime.launcher.documents import launch


def secret(path: str) -> SecretFile:
    return SecretFile(path, 0o400, os.getuid(), os.getgid(), b"secret")


def test_released_variables_win_over_slots_and_these_over_the_image() -> None:
    found = environment(launch(), {"B": "slot", "C": "slot"}, Bundle(environment={"C": "broker"}), "/home/app")
    assert found == {"PATH": DEFAULT_PATH, "HOME": "/home/app", "A": "image", "B": "slot", "C": "broker"}


def test_home_comes_from_the_images_own_passwd(tmp_path: Path) -> None:
    assert home_of(tmp_path, 1000) == "/"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_bytes(
        b"broken\nroot:x:0:0::/root:/bin/sh\napp:x:1000:1000:\xff:/srv:/bin/sh\nn:x:5:5:::\n"
    )
    assert [home_of(tmp_path, uid) for uid in (0, 1000, 5, 7)] == ["/root", "/srv", "/", "/"]


@pytest.mark.parametrize("path", ["/etc/tls/tls.key", "/secret", "/development", "/procession/x"])
def test_released_files_are_placed(tmp_path: Path, path: str) -> None:
    with Root(str(tmp_path)) as root:
        place_files(root, [secret(path)], launch())
    assert (tmp_path / path[1:]).read_bytes() == b"secret"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "relative",
        "/",
        "/a/../b",
        "/a/./b",
        "/a//b",
        "/a/",
        "/..",
        "/.kloister",
        "/.kloister/enclave/launch.json",
        "/proc/self/mem",
        "/sys/x",
        "/dev/attestation/quote",
        "/etc/hosts",
        "/etc/resolv.conf",
        "/srv/data",
        "/srv/data/secret",
    ],
)
def test_places_where_no_secret_may_go(tmp_path: Path, path: str) -> None:
    with Root(str(tmp_path)) as root, pytest.raises(Denied) as caught:
        place_files(root, [secret(path)], launch())
    assert caught.value.code == "secret-path"
    assert list(tmp_path.iterdir()) == []
