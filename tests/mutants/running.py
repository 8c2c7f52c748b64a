"""One mutant, one process: forked, so that what all of them import is imported once; nothing is written anywhere."""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

PASSED = 0
BROKEN = 99  # no test ended the process, but an exception outside of them
OPTIONS = ("-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:cov", "-o", "timeout=0")
_SLOWER = 6  # times as long as the unchanged module may a mutant take
_BUSY = 120  # seconds more by the clock, for a machine under load
_MEMORY = 4 << 30  # bytes of address space


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


class WithoutShrinking:
    """A plugin for pytest: Hypothesis ends at the first example that fails; nobody reads it."""

    __slots__ = ()

    def pytest_sessionstart(self) -> None:
        """After the profile of tests/conftest.py, before any test is imported."""
        from hypothesis import Phase, settings

        settings.register_profile("mutants", settings.default, phases=[Phase.explicit, Phase.generate])
        settings.load_profile("mutants")


def fork(child: Callable[[], int]) -> int:
    """Start a process that says nothing and ends with the status that is returned; its process id."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    try:
        with open(os.devnull, "w", encoding="ascii") as nowhere:  # noqa: PTH123 -- a descriptor is wanted
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        os._exit(child())
    except BaseException:  # noqa: BLE001 -- the process must not go on as its parent
        os._exit(BROKEN)


def bounded(seconds: float) -> None:
    """A mutant that never ends, or asks for ever more memory, is noticed, too. `seconds`: of the unchanged module."""
    limit = int(seconds * _SLOWER) + 10
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(limit * _SLOWER + _BUSY)  # it may wait for something that never comes


def start(path: Path, tree: ast.Module | None, tests: Sequence[str], seconds: float) -> int:
    """Fork a process that runs the tests against the mutated module; its process id. `None`: the module as it is."""

    def child() -> int:
        bounded(seconds)
        if tree is not None:
            sys.meta_path.insert(0, _Mutated(module_name(path), path, tree))
        import pytest

        return int(pytest.main([*OPTIONS, *tests], plugins=[WithoutShrinking()]))

    return fork(child)


def killed(status: int) -> bool:
    """Whether the tests noticed, by the process's wait status."""
    return os.waitstatus_to_exitcode(status) != PASSED
