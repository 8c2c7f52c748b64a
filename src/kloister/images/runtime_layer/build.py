"""Puts the runtime layer together: files by path, then a tar and a gzip without dates, names or machine."""

from __future__ import annotations

import gzip
import importlib.metadata
import io
import json
import sys
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from kloister import __version__
from kloister.errors import Misconfigured
from kloister.formats.enclave.runtime import (
    ENTRY_POINT,
    LIBRARIES,
    LOADER,
    MAIN,
    POD_ENTRY_POINT,
    POD_MAIN,
    PYTHON,
    RUNTIME_ROOT,
)
from kloister.images.runtime_layer.bytecode import compiled
from kloister.images.runtime_layer.closure import Module, import_closure
from kloister.images.runtime_layer.elf import SharedObject, trimmed
from kloister.images.runtime_layer.libraries import library_closure
from kloister.images.runtime_layer.prelude import PRELUDE

FORMAT = 5  # raised when the same inputs give another layer
PYTHON_FOLDER = f"{LIBRARIES}/python{sys.version_info.major}.{sys.version_info.minor}"
ENTRY_POINTS = MappingProxyType({MAIN: ENTRY_POINT, POD_MAIN: POD_ENTRY_POINT})
_LEVEL = 6  # gzip: 9 takes three times as long for 1 % less


@dataclass(frozen=True, slots=True)
class File:
    """A regular file of the layer."""

    mode: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Build:
    """A layer in memory: version, tar, blob, the loader's bytes, and the files of this machine that it was made of."""

    version: str
    tar: bytes
    blob: bytes
    loader: bytes
    inputs: tuple[Path, ...]


def version() -> str:
    """What tells two runtime layers apart for a person; the digest tells the rest."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    return f"{__version__}-{FORMAT}+python{python}+cryptography{importlib.metadata.version('cryptography')}"


def build(entry_points: Mapping[str, str] = ENTRY_POINTS) -> Build:
    """Build the layer from the running interpreter and the installed Kloister.

    Args:
        entry_points: path in the layer -> `module:function` that this file calls.

    Raises:
        Misconfigured: `runtime-interpreter`, `runtime-loader`, `runtime-library-missing`, `runtime-import`.
    """
    python = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    loader = _loader_of(python)
    modules = import_closure(*(entry_point.partition(":")[0] for entry_point in entry_points.values()))
    libraries = library_closure([python, *(module.origin for module in modules if module.binary)])
    files = {
        LOADER: File(0o755, loader.read_bytes()),
        PYTHON: File(0o755, trimmed(python.read_bytes())),
        **{path: File(0o644, _main(entry_point, path)) for path, entry_point in entry_points.items()},
        f"{RUNTIME_ROOT}/version.json": File(0o644, json.dumps({"version": version()}).encode() + b"\n"),
        **{f"{LIBRARIES}/{name}": File(0o755, trimmed(path.read_bytes())) for name, path in libraries.items()},
        **{f"{PYTHON_FOLDER}/{module.place}": _module(module) for module in modules},
    }
    tar = archive(files)
    inputs = (python, loader, *libraries.values(), *(module.origin for module in modules))
    return Build(version(), tar, gzip.compress(tar, _LEVEL, mtime=0), files[LOADER].data, tuple(sorted(set(inputs))))


def archive(files: Mapping[str, File]) -> bytes:
    """A tar of the files and their directories, sorted; owner root, date 0."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted({*files, *_directories(files)}, key=str.encode):
            member = tarfile.TarInfo(path.lstrip("/"))
            file = files.get(path)
            if file is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(member)
            else:
                member.mode, member.size = file.mode, len(file.data)
                tar.addfile(member, io.BytesIO(file.data))
    return output.getvalue()


def _directories(paths: Iterable[str]) -> set[str]:
    empty = f"{PYTHON_FOLDER}/lib-dynload/."  # a landmark: without it the interpreter complains at its start
    return {str(parent) for path in (*paths, empty) for parent in Path(path).parents if str(parent) != "/"} | {
        f"{PYTHON_FOLDER}/lib-dynload"
    }


def _module(module: Module) -> File:
    data = module.origin.read_bytes()
    return File(0o755, trimmed(data)) if module.binary else File(0o644, compiled(data, module.place))


def _main(entry_point: str, path: str) -> bytes:
    module, _, function = entry_point.partition(":")
    source = f"{PRELUDE}\nfrom {module} import {function}\n\nsys.exit({function}())\n"
    return compiled(source.encode("ascii"), path.rpartition("/")[2])


def _loader_of(python: Path) -> Path:
    """The dynamic loader that the interpreter names, which must be position-independent (ADR 1)."""
    name = SharedObject.parse(python.read_bytes()).interpreter
    if not name:
        raise Misconfigured(
            "runtime-interpreter",
            f"The interpreter {python} is linked statically; the runtime layer needs a dynamic one.",
            "Run Kloister with the distribution's Python, or with one built the usual way.",
        )
    loader = Path(name).resolve()
    if not SharedObject.parse(loader.read_bytes()).relocatable:
        raise Misconfigured("runtime-loader", f"The dynamic loader {loader} does not start at address 0.")
    return loader
