"""JMESPath, bounded in steps. This module alone needs the package `jmespath`; nothing imports it before a query."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

from jmespath import exceptions
from jmespath.functions import Functions, signature
from jmespath.parser import Parser
from jmespath.visitor import Options, TreeInterpreter

from kloister.trust.policy.maa.failure import MaaPolicyError, wrong
from kloister.trust.policy.maa.meter import Meter

MAX_QUERY = 4096  # characters; the longest published one has 350
_STRING = 16  # characters for one step
_NODE = 5  # steps to evaluate a node of a query


def search(document: Any, query: str, meter: Meter) -> Any:
    """What the query finds in a JSON value; None where it finds nothing.

    Raises:
        MaaPolicyError: `maa-evaluation` (no query, or one that does not fit the document), `maa-limit`.
    """
    if not 0 < len(query) <= MAX_QUERY:
        raise wrong(f"A JMESPath query has 1 to {MAX_QUERY} characters, not {len(query)}.")
    try:
        return _Interpreter(meter).visit(_parsed(query), document)
    except (exceptions.JMESPathError, ValueError, TypeError, ArithmeticError, LookupError) as error:
        raise wrong(f"The JMESPath query cannot be evaluated: {_reason(error)}.") from None
    except RecursionError:
        raise MaaPolicyError("maa-limit", "The JMESPath query or its document is nested too deep.") from None


@lru_cache(256)
def _parsed(query: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # of literals without quotes, which policies use
        return Parser().parse(query).parsed


def _reason(error: Exception) -> str:
    """The sentence of an error of syntax; of others the kind only, for they repeat the document."""
    if isinstance(error, (exceptions.LexerError, exceptions.ParseError, exceptions.UnknownFunctionError)):
        return str(error).splitlines()[0][:200].rstrip(".")
    if isinstance(error, exceptions.JMESPathTypeError):
        return f"{error.function_name}() was given a {error.actual_type}"
    return type(error).__name__


class _Functions(Functions):
    @signature({"types": ["string", "null"]}, {"types": ["string", "null"]})
    def _func_equals_ignore_case(self, one: str | None, other: str | None) -> bool:
        """Of Azure Attestation; nothing equals what is not there."""
        return one is not None and other is not None and one.casefold() == other.casefold()


class _Interpreter(TreeInterpreter):
    """A node costs steps, and what it makes costs its size as JSON, which a query can double with five letters."""

    def __init__(self, meter: Meter) -> None:
        super().__init__(Options(custom_functions=_Functions()))
        self._meter = meter

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        self._meter.spend(_NODE)
        result = super().visit(node, *args, **kwargs)
        if node["type"] in ("multi_select_list", "multi_select_dict", "function_expression", "flatten", "slice"):
            self._pay(result)
        return result

    def _pay(self, value: Any) -> None:
        stack = [value]
        while stack:
            one = stack.pop()
            self._meter.spend(1)
            if isinstance(one, str):
                self._meter.spend(len(one) // _STRING)
            elif isinstance(one, list):
                stack.extend(one)
            elif isinstance(one, dict):
                stack.extend(one.values())
