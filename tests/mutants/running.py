"""One mutant, one process: forked, so that what all of them import is imported once; nothing is written anywhere."""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

PASSED = 0


def module_name(path: Path) -> str:
    """`src/kloister/formats/pki/crl.py` -> `kloister.formats.pki.crl`."""
    parts = path.with_suffix("").parts
    return ".".join(part for part in parts[parts.index("src") + 1 :] if part != "__init__")


class _Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives out one module from a tree instead of its file."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self._name, self._path, self._tree = name, path, tree

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname != self._name:
            return None
        where = [str(self._path.parent)] if self._path.name == "__init__.py" else None
        spec = importlib.util.spec_from_loader(fullname, self, origin=str(self._path), is_package=where is not None)
        if spec is not None and where is not None:
            spec.submodule_search_locations = where
        return spec

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self._path)
        exec(compile(self._tree, str(self._path), "exec"), module.__dict__)  # noqa: S102 -- our own file, mutated


def start(path: Path, tree: ast.Module | None, tests: Sequence[str], seconds: int) -> int:
    """Fork a process that runs the tests against the mutated module; its process id. `None`: the module as it is."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)  # a mutant that never ends is noticed, too
        with open(os.devnull, "w", encoding="ascii") as nowhere:  # noqa: PTH123 -- a descriptor is wanted
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        if tree is not None:
            sys.meta_path.insert(0, _Mutated(module_name(path), path, tree))
        import pytest

        options = ["-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:cov"]
        os._exit(int(pytest.main([*options, *tests])))
    except BaseException:  # noqa: BLE001 -- the process must not go on as its parent
        os._exit(99)


def killed(status: int) -> bool:
    """Whether the tests noticed, by the process's wait status."""
    return os.waitstatus_to_exitcode(status) != PASSED
