"""The clinic: an ordinary Python web application, as an image of the running interpreter and its standard library."""

from __future__ import annotations

import marshal
import os
import sys
import sysconfig
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib.util import MAGIC_NUMBER, source_hash
from pathlib import Path

from kloister.errors import Misconfigured
from kloister.images.importer import ImportOptions
from kloister.images.samples.root import EPOCH, Root

USER = ("app", 1000)
_APPLICATION = Path("examples", "clinic", "app")
_UNCHECKED_HASH = (1).to_bytes(4, "little")  # PEP 552: byte code that is not compared with its source at each start
_MARSHAL_VERSION = 2  # without back references, which follow reference counts and would not repeat
_LEFT_OUT = (
    "test", "tests", "idlelib", "idle_test", "tkinter", "turtledemo", "turtle.py", "ensurepip", "lib2to3",
    "site-packages", "dist-packages", "config-*", "__pycache__", "_tkinter.*", "_test*", "_ctypes_test.*",
    "_xxtestfuzz.*", "xxlimited*", "*.whl", "*.a", "*.exe", "*.bat", "sitecustomize.py", "LICENSE.txt",
)  # fmt: skip

OPTIONS = ImportOptions(
    entrypoint=("/usr/local/bin/python3", "-m", "clinic"),
    environment=("PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "PORT=8443"),
    user=USER[0],
    workdir="/app",
    owner=(0, 0),
    epoch=EPOCH,
    compression=1,
)


def assemble_clinic(root: Path, application: Path | None = None) -> None:
    """Fill `root` with the image's files: the same interpreter gives the same bytes.

    Args:
        root: an empty or new directory.
        application: the directory of the application, `examples/clinic/app` of this checkout by default.

    Raises:
        Misconfigured: `sample-application`, `sample-library`.
    """
    application = application or _find_application()
    image = Root(root)
    image.users({USER[0]: (USER[1], USER[1])})
    programs = _interpreter(image)
    programs += _library(image)
    image.libraries(programs)
    for path in sorted(application.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            _module(image, f"app/{path.relative_to(application)}", path.read_bytes())
    image.directory("etc/tls")
    image.finish()


def _find_application() -> Path:
    place = Path(__file__).resolve().parents[4] / _APPLICATION
    if not (place / "clinic" / "__main__.py").is_file():
        hint = "Run this in a checkout of Kloister's sources."
        raise Misconfigured("sample-application", "The example application is not here.", hint)
    return place


def _interpreter(image: Root) -> list[Path]:
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    real = Path(sys.executable).resolve()
    image.program(f"usr/local/bin/{version}", real)
    image.link("usr/local/bin/python3", version)
    return [real]


def _library(image: Root) -> list[Path]:
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    binaries = []
    bases = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    for base in sorted(bases):
        real = Path(sys.base_prefix) / base.relative_to(sys.prefix) if base.is_relative_to(sys.prefix) else base
        for source in _files(real):
            name = f"usr/local/lib/{version}/{source.relative_to(real)}"
            if (image.path / name).exists():
                continue
            if source.suffix == ".so":
                image.program(name, source)
                binaries.append(source)
            else:
                _module(image, name, source.read_bytes())
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


def _module(image: Root, name: str, data: bytes) -> None:
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
