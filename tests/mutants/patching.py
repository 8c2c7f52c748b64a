"""Puts a mutant's functions in the place of those that are loaded: nothing has to be imported again."""

from __future__ import annotations

import ast
import functools
import gc
import inspect
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType

Codes = dict[tuple[str, int], CodeType]  # by qualified name and first line


def changed(path: Path, original: ast.Module, mutated: ast.Module) -> Codes | None:
    """The functions that a mutant changes; None where it changes what runs when the module is imported."""
    before, after = (list(_codes(compile(tree, str(path.resolve()), "exec"))) for tree in (original, mutated))
    if len(before) != len(after):
        return None
    pairs = [(one, other) for one, other in zip(before, after, strict=True) if _bare(one) != _bare(other)]
    names = Counter(_name(one) for one in before)
    for one, _ in pairs:
        if not one.co_flags & inspect.CO_NEWLOCALS or names[_name(one)] > 1:
            return None
    # The outer function holds the code of the inner one: each name of the path to a changed one is given out anew.
    touched = {part for one, _ in pairs for part in _path_to(one)}
    return {_name(code): code for code in after if code.co_qualname in touched and names[_name(code)] == 1}


def put(path: Path, codes: Codes) -> None:
    """Change all functions of a module that are alive, and forget what they have said before."""
    for one in gc.get_objects():
        if isinstance(one, FunctionType) and one.__code__.co_filename == str(path.resolve()):
            one.__code__ = codes.get(_name(one.__code__), one.__code__)
    forget("kloister.")


def forget(*packages: str) -> None:
    """Clear the caches of functions."""
    for one in gc.get_objects():
        if isinstance(one, functools._lru_cache_wrapper) and str(one.__module__).startswith(packages):
            one.cache_clear()


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _codes(one)


def _bare(code: CodeType) -> CodeType:
    """The code itself, without that of the functions inside."""
    return code.replace(co_consts=tuple("code" if isinstance(one, CodeType) else one for one in code.co_consts))


def _name(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno


def _path_to(code: CodeType) -> Iterator[str]:
    """`f.<locals>.g`: that, and `f`."""
    parts = code.co_qualname.split(".<locals>.")
    for end in range(1, len(parts) + 1):
        yield ".<locals>.".join(parts[:end])
