"""An ordinary user runs the same sandbox: with newuidmap all ids, without it one."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from kloister.formats.enclave.launch import Image, User
from kloister.runtime.linux import mounts, process
from kloister.runtime.linux.calls import libc
from kloister.runtime.runner import spawner
from tests.support.paths import open_directory
from tests.unit.runtime.runner.sandboxes import LAUNCH, ROOT, TIME, PackMaker, Running, listening, other, spawning

NOBODY = 65534
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user for a test")

_OWN_TREE = [(replace(entry, uid=0, gid=0), data) for entry, data in ROOT]


def _as_nobody(subordinate: str, databases: Path) -> Callable[[socket.socket], object]:
    """Serve as an ordinary user, whose /etc/subuid (in a mount namespace of its own) says `subordinate`."""

    def serve(sock: socket.socket) -> None:
        process.unshare(process.NEW_MOUNT)
        mounts.make_private()
        for name in ("subuid", "subgid"):
            (databases / name).write_text(subordinate)
            mounts.mount(str(databases / name), f"/etc/{name}", flags=4096)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        libc("prctl", 4, 1, 0, 0, 0)  # an executed program of that user would be dumpable
        spawner.loop(sock)

    return serve


@contextmanager
def _ordinary(first: bytes, subordinate: str, **pack: object) -> Iterator[Running]:
    for name in ("subuid", "subgid"):
        if not Path(f"/etc/{name}").exists():
            pytest.skip(f"/etc/{name} does not exist")
    with open_directory() as base:
        manifest = PackMaker(base / "pack", first=first, **pack).make()  # type: ignore[arg-type]
        with listening(base / "attestation"), spawning(_as_nobody(subordinate, base)) as started:
            yield started.start(base / "pack", manifest, first, base / "attestation")


@pytest.mark.skipif(shutil.which("newuidmap") is None, reason="newuidmap (package uidmap) is not installed")
def test_all_ids_with_newuidmap(first: bytes) -> None:
    with _ordinary(first, f"{NOBODY}:700000:65536\n") as running:
        assert running.ask("ids") == "2 1 0 0"
        assert running.cat("/proc/self/uid_map").split() == ["0", str(NOBODY), "1", "1", "700000", "65535"]
        assert running.ask("stat /data").startswith("42770 101 102")
        running.tell("exit 5")
        assert running.last() == {"event": "exit", "status": 5}


@pytest.mark.parametrize("uid", [0, 101])
def test_one_id_without_it(first: bytes, uid: int) -> None:
    user = Image(arguments=("/app",), environment=(), user=User("app", uid, uid))
    with _ordinary(first, "", measured=_OWN_TREE, launch=replace(LAUNCH, image=user)) as running:
        assert running.ask("ids") == f"2 1 {uid} {uid}"
        assert running.cat("/proc/self/uid_map").split() == [str(uid), str(NOBODY), "1"]
        assert running.ask("stat /etc/shadow") == f"100640 {uid} {uid} 8 {TIME} 1"
        assert running.ask("write /data/new x") == "0"
        running.signal(15)
        assert running.last() == {"event": "exit", "signal": 15}


def test_an_image_that_switches_users_is_refused(first: bytes) -> None:
    with _ordinary(first, "") as running:
        last = running.last()
        assert (last["event"], last["code"]) == ("refused", "image-needs-more-users"), last
        assert "uidmap" in last["hint"]


def test_an_image_with_more_groups_is_refused(first: bytes) -> None:
    user = Image(arguments=("/app",), environment=(), user=User("app", 101, 101, (7,)))
    with _ordinary(first, "", measured=_OWN_TREE, launch=replace(LAUNCH, image=user)) as running:
        last = running.last()
        assert last["code"] == "image-needs-more-users", last


def test_owners_beyond_the_map_are_refused(first: bytes) -> None:
    tree = [*_OWN_TREE, other("/far", uid=70_000)]
    with _ordinary(first, f"{NOBODY}:700000:65536\n", measured=tree) as running:
        last = running.last()
        assert last["code"] == "image-needs-more-users", last
