"""A container's root against the measured tree; the root is a directory of the test."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from kloister.errors import KloisterError
from kloister.formats.enclave.tree import Entry, Kind, Tree
from kloister.runtime.pod.checking import require_tree
from kloister.runtime.pod.mounts import Mount
from tests.support.paths import open_directory
from tests.unit.tee.simulated.stage import NOBODY, in_child

BYTES = b"some bytes"
MOUNTS = (Mount("/", memory=False), Mount("/run/kloister", memory=False), Mount("/tmp", memory=True))  # noqa: S108


def make(root: Path) -> Tree:
    """A root with one of each kind, and its tree."""
    (root / "bin").mkdir(parents=True)
    root.chmod(0o755)
    (root / "bin/app").write_bytes(BYTES)
    (root / "bin/app").chmod(0o755)
    (root / "bin/same").hardlink_to(root / "bin/app")
    (root / "bin/other").symlink_to("app")
    for name in ("closed", "tmp", "etc"):
        (root / name).mkdir(mode=0o755)
    (root / "closed/key").write_bytes(b"key")
    (root / "closed/key").chmod(0o600)
    (root / "etc/hosts").write_bytes(b"of the host")
    (root / "run/kloister").mkdir(parents=True)
    (root / "proc").mkdir()
    return measured(root)


def measured(root: Path) -> Tree:
    uid, gid = root.stat().st_uid, root.stat().st_gid

    def entry(path: bytes, kind: Kind, mode: int, data: bytes | None = None, target: bytes = b"") -> Entry:
        digest = b"" if data is None else hashlib.sha256(data).digest()
        return Entry(path, kind, mode, uid, gid, 0, len(data or b""), digest, target)

    return Tree.of([
        entry(b"/", Kind.DIRECTORY, 0o755),
        entry(b"/bin", Kind.DIRECTORY, 0o755),
        entry(b"/bin/app", Kind.FILE, 0o755, BYTES),
        entry(b"/bin/other", Kind.SYMLINK, 0o777, target=b"app"),
        entry(b"/bin/same", Kind.HARDLINK, 0o755, target=b"/bin/app"),
        entry(b"/closed", Kind.DIRECTORY, 0o755),
        entry(b"/closed/key", Kind.FILE, 0o600, b"key"),
        entry(b"/etc", Kind.DIRECTORY, 0o755),
        entry(b"/tmp", Kind.DIRECTORY, 0o755),
        entry(b"/tmp/hidden", Kind.FILE, 0o644, b"under the mount"),
    ])  # fmt: skip


def code(tree: Tree, root: Path) -> str:
    """The refusal, or empty."""
    try:
        require_tree(tree, MOUNTS, bytes(root))
    except KloisterError as error:
        return error.code
    return ""


def test_the_measured_root_passes_with_its_mount_points(tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert code(make(root), root) == ""


def _write(root: Path) -> None:
    (root / "bin/app").write_bytes(BYTES[::-1])


def _grow(root: Path) -> None:
    (root / "bin/app").write_bytes(BYTES + b".")


def _unlink(root: Path) -> None:
    (root / "bin/same").unlink()
    (root / "bin/same").write_bytes(BYTES[::-1])
    (root / "bin/same").chmod(0o755)


def _copy(root: Path) -> None:
    """The same bytes in a file of their own: what overlays make of hard links."""
    (root / "bin/same").unlink()
    (root / "bin/same").write_bytes(BYTES)
    (root / "bin/same").chmod(0o755)


def _relink(root: Path) -> None:
    (root / "bin/other").unlink()
    (root / "bin/other").symlink_to("/bin/app")


def _add(root: Path) -> None:
    (root / "run/more").write_bytes(b"")


def _mark(root: Path) -> None:
    (root / ".dockerenv").touch()


def _fill_the_mark(root: Path) -> None:
    (root / ".dockerenv").write_bytes(b"x")


def _add_in_own(root: Path) -> None:
    (root / "proc/1").write_bytes(b"")


def _socket(root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(root / "etc/sock"))


def _pipe(root: Path) -> None:
    (root / "bin/app").unlink()
    os.mkfifo(root / "bin/app")


def _remove(root: Path) -> None:
    (root / "bin/other").unlink()


def _replace(root: Path) -> None:
    (root / "closed/key").unlink()
    (root / "closed/key").mkdir()


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (_write, "file-changed"),
        (_grow, "file-changed"),
        (_unlink, "file-kind"),
        (_copy, ""),
        (_relink, "link-changed"),
        (_add, "file-added"),
        (_mark, ""),
        (_fill_the_mark, "file-added"),
        (_add_in_own, ""),
        (_socket, "file-added"),
        (_pipe, "file-kind"),
        (_remove, "file-removed"),
        (_replace, "file-kind"),
        (lambda root: (root / "bin").chmod(0o777), "file-mode"),
        (lambda root: os.chown(root / "bin/other", NOBODY, NOBODY, follow_symlinks=False), "file-owner"),
        (lambda root: os.utime(root / "bin/app", (5, 5)), ""),
    ],
)
def test_what_departs_from_it_has_its_code(tmp_path: Path, change: Callable[[Path], None], wanted: str) -> None:
    root = tmp_path / "root"
    tree = make(root)
    change(root)
    assert code(tree, root) == wanted


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory that the other user may enter."""
    with open_directory() as path:
        yield path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_what_a_user_can_use_but_not_read_is_refused(base: Path) -> None:
    root = base / "root"
    tree = make(root)
    as_nobody = lambda: code(tree, root)  # noqa: E731
    assert in_child(as_nobody, NOBODY) == "", "a file of mode 0600 is of no use to anybody here"
    changed = Tree.of(entry for entry in tree.entries if entry.path != b"/closed/key")
    assert in_child(lambda: code(changed, root), NOBODY) == "file-added"
    (root / "closed").chmod(0o700)
    assert in_child(as_nobody, NOBODY) == "file-mode"
    closed = Tree.of(_with_mode(tree, b"/closed", 0o700))
    assert in_child(lambda: code(closed, root), NOBODY) == "", (
        "a directory that nobody here can enter is not looked into"
    )
    (root / "closed").chmod(0o711)
    assert in_child(lambda: code(Tree.of(_with_mode(tree, b"/closed", 0o711)), root), NOBODY) == "file-unreadable"
    (root / "closed").chmod(0o755)
    (root / "bin/app").chmod(0o711)
    assert in_child(as_nobody, NOBODY) == "file-unreadable"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_what_this_user_can_open_to_itself_is_not_taken_on_trust(base: Path) -> None:
    root = base / "root"
    tree = make(root)
    for path, mode in ((b"/closed/key", 0o200), (b"/closed", 0o600)):
        changed, name = Tree.of(_with_mode(tree, path, mode)), root / os.fsdecode(path[1:])
        before = name.stat()
        name.chmod(mode)
        for owner, expected in ((0, ""), (NOBODY, "file-unreadable")):
            os.chown(name, owner, before.st_gid)
            there = Tree.of(_with_owner(changed, path, owner))
            assert in_child(partial(code, there, root), NOBODY) == expected, (path, owner)
        os.chown(name, before.st_uid, before.st_gid)
        name.chmod(before.st_mode)


def _with_owner(tree: Tree, path: bytes, uid: int) -> list[Entry]:
    from dataclasses import replace

    return [replace(entry, uid=uid) if entry.path == path else entry for entry in tree.entries]


def _with_mode(tree: Tree, path: bytes, mode: int) -> list[Entry]:
    from dataclasses import replace

    return [replace(entry, mode=mode) if entry.path == path else entry for entry in tree.entries]
