"""The import closure of the launcher, found by really importing it in a clean interpreter."""

from __future__ import annotations

import ast
import importlib.util
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from pathlib import Path

from kloister.errors import Misconfigured
from kloister.images.runtime_layer.prelude import LEFT_OUT, PRELUDE

# Codecs that are imported by name: of host names, TLS, byte strings of HTTP, canonical JSON; and the path landmark.
ALWAYS = ("encodings.ascii", "encodings.idna", "encodings.latin_1", "encodings.utf_16_be", "os")
# In `sys.modules`, but never loaded from a file under this name.
_ALIASES = frozenset({LEFT_OUT, "__main__", "importlib._bootstrap", "importlib._bootstrap_external"})
_NEEDED_PACKAGES = ("kloister", "cryptography", "_cffi_backend")
_WORKER = f"""\
{PRELUDE}
count = int(sys.argv[1])
sys.path[:0] = sys.argv[2 : 2 + count]
for root in sys.argv[2 + count :]:
    __import__(root)
print(*sys.path, sep="\\0")
print(*sorted(sys.modules), sep="\\n")
"""
_TIMEOUT = 60  # seconds; importing takes a tenth of one


@dataclass(frozen=True, slots=True)
class Module:
    """One module of the closure.

    Attributes:
        name: dotted.
        origin: its source or shared object on this machine.
        package: it is a package's `__init__`.
    """

    name: str
    origin: Path
    package: bool

    @property
    def binary(self) -> bool:
        """It is a shared object, not Python source."""
        return self.origin.suffix == ".so"

    @property
    def place(self) -> str:
        """Path in the library directory: `http/client.pyc`, `lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so`."""
        *parents, last = self.name.split(".")
        if self.binary:
            folder = ["lib-dynload"] if self.origin.parent.name == "lib-dynload" else parents
            return "/".join([*folder, self.origin.name])
        return "/".join([*parents, last, "__init__.pyc"] if self.package else [*parents, f"{last}.pyc"])


def import_closure(*entries: str) -> tuple[Module, ...]:
    """Every module that the entry modules and their packages import, at once or inside a function, sorted by name.

    Args:
        entries: dotted names of the entry modules; for the launcher `kloister.runtime.launcher.main`.

    Raises:
        Misconfigured: `runtime-import` when the launcher cannot be imported, `runtime-source` for a module of another
            kind than source and shared object.
    """
    roots = {*ALWAYS, *(name for entry in entries for name in _neighbours(entry))}
    while True:
        path, names = _imported(sorted(roots))
        modules = tuple(module for name in names if (module := _locate(name, path)) is not None)
        late = {name for module in modules if module.name.startswith("kloister") for name in _late_imports(module)}
        if late <= roots:
            return modules
        roots |= late


def _neighbours(entry: str) -> Iterator[str]:
    """The entry module and all modules of its package, which it may import when it needs them."""
    yield entry
    package = entry.rpartition(".")[0]
    spec = importlib.util.find_spec(package) if package else None
    for found in pkgutil.walk_packages(spec.submodule_search_locations if spec else [], package + "."):
        if not found.name.endswith(".__main__"):
            yield found.name


def _search_path() -> list[str]:
    """The directories that hold what the launcher imports from outside of the standard library."""
    places: dict[str, None] = {}
    for name in _NEEDED_PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            places[str(Path(spec.origin).parents[1 if spec.submodule_search_locations else 0])] = None
    return list(places)


def _imported(roots: list[str]) -> tuple[list[str], list[str]]:
    """The module path and the names in `sys.modules` of a clean interpreter after importing the roots."""
    places = _search_path()
    command = [sys.executable, "-I", "-S", "-B", "-c", _WORKER, str(len(places)), *places, *roots]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env={}, timeout=_TIMEOUT)
    if run.returncode:
        reason = run.stderr.strip().splitlines()[-1:] or ["it ended without a word"]
        raise Misconfigured(
            "runtime-import",
            f"The launcher cannot be imported in a clean interpreter: {reason[0]}.",
            "Install Kloister with its dependencies into one environment and try again.",
        )
    path, _, names = run.stdout.partition("\n")
    return path.split("\0"), names.split()


def _locate(name: str, path: list[str]) -> Module | None:
    """Where a module comes from; None for what is inside the interpreter or made by other modules."""
    if name in _ALIASES or BuiltinImporter.find_spec(name) or (FrozenImporter.find_spec(name) and name != "os"):
        return None
    spec: ModuleSpec | None = None
    search: list[str] | None = path
    for part in _prefixes(name):
        spec = PathFinder.find_spec(part, search)
        if spec is None:
            return None
        search = list(spec.submodule_search_locations or [])
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin)
    if origin.suffix not in (".py", ".so"):
        raise Misconfigured("runtime-source", f"The module {name} has no source: {origin}.", "Reinstall its package.")
    return Module(name, origin, spec.submodule_search_locations is not None)


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[: count + 1]) for count in range(len(parts)))


def _late_imports(module: Module) -> Iterator[str]:
    """Modules that functions of our own code import when they are called."""
    if module.binary:
        return
    parsed = ast.parse(module.origin.read_bytes())
    for function in ast.walk(parsed):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module
                yield from (found for alias in node.names if _is_module(found := f"{node.module}.{alias.name}"))


def _is_module(name: str) -> bool:
    """`from package import name`: the name may be a module of ours."""
    try:
        return name.startswith("kloister.") and importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
