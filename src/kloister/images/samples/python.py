"""The running interpreter and its standard library, as part of an image: the same interpreter gives the same bytes."""

from __future__ import annotations

import marshal
import os
import sys
import sysconfig
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib.util import MAGIC_NUMBER, source_hash
from pathlib import Path

from kloister.images.samples.root import Root

VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"
_UNCHECKED_HASH = (1).to_bytes(4, "little")  # PEP 552: byte code that is not compared with its source at each start
_MARSHAL_VERSION = 2  # without back references, which follow reference counts and would not repeat
_LEFT_OUT = (
    "test", "tests", "idlelib", "idle_test", "tkinter", "turtledemo", "turtle.py", "ensurepip", "lib2to3",
    "site-packages", "dist-packages", "config-*", "__pycache__", "_tkinter.*", "_test*", "_ctypes_test.*",
    "_xxtestfuzz.*", "xxlimited*", "*.whl", "*.a", "*.exe", "*.bat", "sitecustomize.py", "LICENSE.txt",
)  # fmt: skip


def interpreter(image: Root) -> list[Path]:
    """Put the interpreter and its library in; the programs and libraries whose own libraries are still wanted."""
    real = Path(sys.executable).resolve()
    image.program(f"usr/local/bin/{VERSION}", real)
    image.link("usr/local/bin/python3", VERSION)
    return [real, *_library(image)]


def _library(image: Root) -> list[Path]:
    binaries = []
    bases = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    for base in sorted(bases):
        real = Path(sys.base_prefix) / base.relative_to(sys.prefix) if base.is_relative_to(sys.prefix) else base
        for source in _files(real):
            name = f"usr/local/lib/{VERSION}/{source.relative_to(real)}"
            if (image.path / name).exists():
                continue
            if source.suffix == ".so":
                image.program(name, source)
                binaries.append(source)
            else:
                module(image, name, source.read_bytes())
    return binaries


def _files(base: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(base):
        names[:] = sorted(name for name in names if not _left_out(name))
        for name in sorted(files):
            path = Path(directory, name)
            if not _left_out(name) and path.is_file():
                yield path


def _left_out(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in _LEFT_OUT)


def module(image: Root, name: str, data: bytes) -> None:
    """A file of a Python library; a module with its byte code beside it."""
    image.write(name, data)
    if not name.endswith(".py"):
        return
    try:
        code = compile(data, "/" + name, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError):
        return  # a file of the library that is no module for this version
    directory, _, file = name.rpartition("/")
    tag = sys.implementation.cache_tag
    compiled = MAGIC_NUMBER + _UNCHECKED_HASH + source_hash(data) + marshal.dumps(code, _MARSHAL_VERSION)
    image.write(f"{directory}/__pycache__/{file.removesuffix('.py')}.{tag}.pyc", compiled)
