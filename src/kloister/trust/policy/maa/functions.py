"""The functions of version 1.2. What is computed from read-only values is read-only, but for yes and no about sets."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from kloister.errors import Malformed, Misconfigured
from kloister.formats.wire import is_unicode, load_json
from kloister.trust.policy.maa.claims import Values
from kloister.trust.policy.maa.comparing import same, value_type
from kloister.trust.policy.maa.failure import wrong
from kloister.trust.policy.maa.meter import Meter
from kloister.trust.policy.maa.words import Function, Value

MAX_STRING = 4 * 1024 * 1024  # characters of what a function reads or makes; measured boot logs have some 100 kB
_MAX_INTEGER = 2**63
_BYTES = 16  # of text for one step
_OPENING = '{["-0123456789'  # how JSON that is no bare word begins


def call(function: Function, arguments: Sequence[Values], meter: Meter) -> Values:
    """The function's values; those that take single values are applied to every combination of them.

    Raises:
        MaaPolicyError: `maa-evaluation`, `maa-limit`.
        Misconfigured: `maa-jmespath-missing`.
    """
    if function in _OF_SETS:
        return Values((_OF_SETS[function](arguments, meter),))
    made: list[Value] = []
    for combination in product(*(one.items for one in arguments)):
        meter.spend(1)
        made += _OF_VALUES[function](combination, meter)
    return Values(tuple(made), any(one.read_only for one in arguments))


def _subset(arguments: Sequence[Values], meter: Meter) -> bool:
    part, whole = arguments
    meter.spend(len(part.items) + len(whole.items))
    known = {(value_type(one), one) for one in whole.items}
    return all((value_type(one), one) in known for one in part.items)


def _only(arguments: Sequence[Values], meter: Meter) -> bool:
    every, value = arguments
    if len(value.items) != 1:
        raise wrong(f"ContainsOnlyValue compares with one value, not with {len(value.items)}.")
    meter.spend(len(every.items))
    return bool(every.items) and all(same(one, value.items[0]) for one in every.items)


def _append(arguments: tuple[Value, ...], meter: Meter) -> list[Value]:
    first, second = (_text(one, Function.APPEND_STRING) for one in arguments)
    return [_bounded(first + second, meter)]


def _negate(arguments: tuple[Value, ...], _: Meter) -> list[Value]:
    if not isinstance(arguments[0], bool):
        raise wrong(f"NegateBool takes a boolean, not {_kind(arguments[0])}.")
    return [not arguments[0]]


def _query(arguments: tuple[Value, ...], meter: Meter) -> list[Value]:
    document, query = (_text(one, Function.JMES_PATH) for one in arguments)
    try:
        from kloister.trust.policy.maa.query import search  # noqa: PLC0415 -- jmespath belongs to the extra [service]
    except ImportError:
        raise Misconfigured(
            "maa-jmespath-missing", "The policy uses JmesPath, which needs the package jmespath.",
            "Install it: pip install 'kloister[service]'.",
        ) from None  # fmt: skip
    found = search(_json(document, meter), query, meter)
    try:
        text = json.dumps(found, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        raise wrong("JmesPath found what JSON cannot hold.") from None
    return [_bounded(text, meter)]


def _claim_values(arguments: tuple[Value, ...], meter: Meter) -> list[Value]:
    text = _text(arguments[0], Function.JSON_TO_CLAIM_VALUE).strip(" \t\r\n")
    if text and text[0] not in _OPENING and text not in ("true", "false", "null"):
        return [_bounded(text, meter)]  # the value of a string whose quotes were taken off
    found = _json(text, meter)
    return [_primitive(one) for one in (found if isinstance(found, list) else [found]) if one is not None]


def _primitive(value: Any) -> Value:
    if isinstance(value, str):
        return _unicode(value)
    if isinstance(value, int) and -_MAX_INTEGER <= value < _MAX_INTEGER:
        return value
    raise wrong("JsonToClaimValue takes text, integers of 64 bits, booleans, null and one array of these.")


def _json(text: str, meter: Meter) -> Any:
    if not text:
        raise wrong("An empty text is no JSON.")
    try:
        return load_json(_bounded(text, meter).encode(), "claim", 4 * MAX_STRING)
    except Malformed:
        raise wrong("A text that is read as JSON is not well-formed JSON with unique keys.") from None


def _text(value: Value, function: Function) -> str:
    if not isinstance(value, str):
        raise wrong(f"{function} takes text, not {_kind(value)}.")
    return value


def _bounded(text: str, meter: Meter) -> str:
    meter.spend(len(text) // _BYTES)
    if len(text) > MAX_STRING:
        raise wrong(f"A text has more than {MAX_STRING} characters.")
    return _unicode(text)


def _unicode(text: str) -> str:
    if not is_unicode(text):
        raise wrong("A text has half a surrogate pair, which no text has.")
    return text


def _kind(value: Value) -> str:
    return f"{value_type(value).lower()}s"


_OF_SETS: dict[Function, Callable[[Sequence[Values], Meter], bool]] = {
    Function.IS_SUBSET_OF: _subset,
    Function.CONTAINS_ONLY_VALUE: _only,
}
_OF_VALUES: dict[Function, Callable[[tuple[Value, ...], Meter], list[Value]]] = {
    Function.JMES_PATH: _query,
    Function.JSON_TO_CLAIM_VALUE: _claim_values,
    Function.APPEND_STRING: _append,
    Function.NEGATE_BOOL: _negate,
}
