"""The shared libraries that programs need, found as ld.so finds them (ld.so(8)), without running anything of theirs."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from kloister.errors import Misconfigured
from kloister.images.runtime_layer.elf import SharedObject

_DEFAULT = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
_CACHE_LINE = re.compile(r"\s*(\S+) \([^)]*\) => (\S+)")
_LOADER = re.compile(r"ld-linux.*\.so|ld64\.so|ld-musl-.*\.so")


def library_closure(programs: Iterable[Path]) -> dict[str, Path]:
    """Name as needed (`libz.so.1`) -> file, for all that the programs need, the dynamic loader excepted.

    Raises:
        Misconfigured: `runtime-library-missing`.
        Malformed: from the ELF reader.
    """
    found: dict[str, Path] = {}
    cache = _cache()
    waiting = sorted(programs)
    while waiting:
        program = waiting.pop(0)
        shared = SharedObject.parse(program.read_bytes())
        for name in shared.needed:
            if name in found or _LOADER.match(name):
                continue
            found[name] = _find(name, program, shared, cache)
            waiting.append(found[name])
    return found


def _find(name: str, program: Path, shared: SharedObject, cache: dict[str, list[str]]) -> Path:
    for candidate in _candidates(name, program, shared, cache):
        try:
            path = Path(candidate).resolve(strict=True)
            if SharedObject.parse(path.read_bytes()).machine == shared.machine:
                return path
        except OSError:
            continue
    raise Misconfigured(
        "runtime-library-missing",
        f"The library {name}, which {program} needs, is not on this machine.",
        "Install the package that holds it; `ldd` on the program shows what it needs.",
    )


def _candidates(name: str, program: Path, shared: SharedObject, cache: dict[str, list[str]]) -> Iterator[str]:
    origin = str(program.resolve().parent)
    for directory in (*shared.rpath, *shared.runpath):
        place = directory.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)
        if place:
            yield os.path.normpath(f"{place}/{name}")
    yield from cache.get(name, ())
    for directory in _DEFAULT:
        yield f"{directory}/{name}"


def _cache() -> dict[str, list[str]]:
    """What /etc/ld.so.cache knows; empty where there is no ldconfig."""
    environment = {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "LC_ALL": "C"}
    try:
        run = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=False, env=environment)
    except OSError:
        return {}
    cache: dict[str, list[str]] = {}
    for line in run.stdout.splitlines():
        match = _CACHE_LINE.match(line)
        if match:
            cache.setdefault(match[1], []).append(match[2])
    return cache
