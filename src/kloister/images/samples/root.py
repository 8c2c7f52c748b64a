"""A root file system in the making: Debian's merged layout, fixed modes and times, libraries found by the loader."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from kloister.errors import Misconfigured
from kloister.images.runtime_layer.elf import trimmed

EPOCH = 315532800  # 1980-01-01: the earliest time that zip, and so Python's zipimport, can say
LIBRARIES = "usr/lib/x86_64-linux-gnu"
_LOADER = "usr/lib64/ld-linux-x86-64.so.2"
_SHARED = 0o1777  # everyone may make files, only their owner may remove them
_MERGED = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}
_FOUND = re.compile(r"\s*(?:(\S+) => )?(/\S+) \(0x[0-9a-f]+\)")
_MISSING = re.compile(r"\s*(\S+) => not found")


class Root:
    """A directory that becomes the root of an image."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        for link, target in _MERGED.items():
            self.directory(target)
            (path / link).symlink_to(target)
        for name in ("etc", "proc", "sys", "dev", "run", "root", "home", "var"):
            self.directory(name)
        self.directory("tmp", _SHARED)

    def directory(self, name: str, mode: int = 0o755) -> Path:
        """A directory and its parents."""
        place = self.path / name
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(mode)
        return place

    def write(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """A file; its parents are made."""
        place = self.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        place.chmod(mode)

    def program(self, name: str, source: Path) -> None:
        """A program or library, without the parts that are never loaded (debug information, section headers)."""
        self.write(name, trimmed(source.read_bytes()), 0o755)

    def link(self, name: str, target: str) -> None:
        """A symbolic link."""
        (self.path / name).symlink_to(target)

    def users(self, users: Mapping[str, tuple[int, int]]) -> None:
        """`/etc/passwd` and `/etc/group` with root and these users (uid, gid)."""
        everyone = {"root": (0, 0), **users, "nobody": (65534, 65534)}
        homes = {"root": "/root"}
        passwd = [
            f"{name}:x:{uid}:{gid}::{homes.get(name, '/')}:/usr/sbin/nologin" for name, (uid, gid) in everyone.items()
        ]
        group = [f"{name}:x:{gid}:" for name, (_, gid) in everyone.items()]
        self.write("etc/passwd", "".join(line + "\n" for line in passwd).encode())
        self.write("etc/group", "".join(line + "\n" for line in group).encode())
        self.write("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n")

    def libraries(self, programs: Iterable[Path], extra: Iterable[Path] = ()) -> None:
        """The loader, and every library that the programs need, where the loader looks without a cache.

        Args:
            programs: programs and libraries of this machine.
            extra: directories with libraries that are not installed.

        Raises:
            Misconfigured: `sample-library`.
        """
        found: dict[str, Path] = {}
        for program in programs:
            found |= _needed(program, [str(path) for path in extra])
        for name, source in sorted(found.items()):
            target = _LOADER if name.startswith("ld-linux") else f"{LIBRARIES}/{name}"
            if not (self.path / target).exists():
                self.program(target, source)

    def finish(self) -> None:
        """Give everything the same time and directories their modes, so that the image depends on its content only."""
        for directory, names, files in os.walk(self.path, topdown=False):
            for name in [*names, *files]:
                os.utime(Path(directory, name), (EPOCH, EPOCH), follow_symlinks=False)
            if Path(directory).stat().st_mode & 0o7777 != _SHARED:
                Path(directory).chmod(0o755)
        os.utime(self.path, (EPOCH, EPOCH))


def _needed(program: Path, extra: list[str]) -> dict[str, Path]:
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}
    if extra:
        environment["LD_LIBRARY_PATH"] = ":".join(extra)
    try:
        run = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False, env=environment)
    except OSError:
        raise Misconfigured("sample-library", "ldd is not on this machine.", "Install libc-bin.") from None
    if missing := _MISSING.search(run.stdout):
        text = f"The library {missing[1]}, which {program} needs, is not on this machine."
        raise Misconfigured("sample-library", text, "Install the package that holds it.")
    matches = [match for line in run.stdout.splitlines() if (match := _FOUND.match(line))]
    return {Path(match[1] or match[2]).name: Path(match[2]) for match in matches}
