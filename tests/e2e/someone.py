"""An ordinary user with a home of its own, and the `kloister` command as that user types it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cryptography
import pytest

import kloister
from kloister.runtime.runner import idmap

_UID = 61234  # of nobody on any usual machine
_PATIENCE = 840.0  # seconds for one command; the demo is the longest
_SUBORDINATE = {True: f"{_UID}:700000:65536\n", False: ""}


class Someone:
    """A user: root plays one of its own; anybody else is oneself.

    Args:
        base: an empty directory.
        many: whether the user has subordinate ids.
    """

    def __init__(self, base: Path, *, many: bool) -> None:
        self.many = many
        self.home = base / "home"
        self.home.mkdir(mode=0o700)
        self._as: list[str] = []
        self._python = sys.executable
        if os.geteuid() == 0:
            self._become(base, many=many)
        elif (len(idmap.choose(0, 0).users) > 1) != many:
            pytest.skip(f"this user has {'no ' if many else ''}subordinate ids, and only root can try it otherwise")

    def _become(self, base: Path, *, many: bool) -> None:
        base.chmod(0o755)
        os.chown(self.home, _UID, _UID)
        files = base / "etc"
        files.mkdir()
        (files / "passwd").write_text(
            f"{Path('/etc/passwd').read_text()}someone:x:{_UID}:{_UID}::{self.home}:/bin/sh\n"
        )
        for name in ("subuid", "subgid"):
            if not Path(f"/etc/{name}").exists():
                pytest.skip(f"/etc/{name} does not exist, so nothing can be put in its place")
            (files / name).write_text(_SUBORDINATE[many])
        helper = [sys.executable, str(Path(__file__).with_name("as_user.py"))]
        self._as = [*helper, str(_UID), str(files)]
        self._python = self._interpreter()

    def _interpreter(self) -> str:
        """The tests' own interpreter may lie in root's home: one that this user can read, with the same packages."""
        sources = [str(Path(module.__file__ or "").parents[1]) for module in (kloister, cryptography)]
        for python in (os.path.realpath(sys.executable), shutil.which("python3", path="/usr/bin:/bin")):
            place = self.home / "venv"
            if python and self.run(python, "-m", "venv", "--without-pip", "--clear", str(place)).returncode == 0:
                for packages in place.glob("lib/python3*/site-packages"):
                    (packages / "sources.pth").write_text("\n".join(sources))
                made = str(place / "bin" / "python")
                if (
                    self.run(
                        made, "-c", "import sys, kloister.cli.main, rich; sys.version_info < (3, 11) and sys.exit(1)"
                    ).returncode
                    == 0
                ):
                    return made
        pytest.skip("there is no Python 3.11 or newer that another user can run with these packages")

    def run(self, *command: str, said: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """A command as this user, and what came of it."""
        environment = {
            "HOME": str(self.home),
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
        }
        return subprocess.run(
            [*self._as, *command], input=said, capture_output=True, check=False, cwd="/", env=environment,
            timeout=_PATIENCE,
        )  # fmt: skip

    def kloister(self, *arguments: str, said: bytes = b"", code: int = 0) -> subprocess.CompletedProcess[bytes]:
        """`kloister` with these arguments; it must end with `code`."""
        done = self.run(self._python, "-m", "kloister", *arguments, said=said)
        assert done.returncode == code, done.stderr.decode()
        return done

    def leaves_nothing(self) -> None:
        """Wait until nothing runs with this home in it: what watched an enclave ends a moment after it."""
        deadline = time.monotonic() + 60
        while found := self._processes():
            assert time.monotonic() < deadline, found
            time.sleep(0.02)

    def _processes(self) -> list[str]:
        """Their command lines."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes()
            except OSError:
                continue
            if str(self.home).encode() in line:
                found.append(line.replace(b"\0", b" ").decode())
        return found


@contextmanager
def someone(*, many: bool) -> Iterator[Someone]:
    """A user whose home goes away with the block."""
    base = Path(tempfile.mkdtemp(prefix="kloister-user-"))
    try:
        yield Someone(base, many=many)
    finally:
        shutil.rmtree(base)
