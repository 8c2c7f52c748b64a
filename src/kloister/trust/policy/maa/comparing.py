"""Comparisons of values. Those with a literal are prepared once, when the policy is parsed."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from kloister.trust.policy.maa.failure import wrong
from kloister.trust.policy.maa.words import Operator, Property, Value

Test = Callable[[Any], bool]  # of a claim
_ORDER: dict[Operator, Callable[[int, int], bool]] = {
    Operator.LESS: operator.lt,
    Operator.AT_MOST: operator.le,
    Operator.MORE: operator.gt,
    Operator.AT_LEAST: operator.ge,
}
READ: dict[Property, Callable[[Any], Value]] = {
    Property.TYPE: operator.attrgetter("type"),
    Property.VALUE: operator.attrgetter("value"),
    Property.VALUE_TYPE: operator.attrgetter("value_type"),
    Property.ISSUER: operator.attrgetter("issuer"),
}


def value_type(value: Value) -> str:
    """`Boolean`, `Integer` or `String`."""
    if isinstance(value, bool):
        return "Boolean"
    return "Integer" if isinstance(value, int) else "String"


def same(one: Value, other: Value) -> bool:
    """Whether two values are equal; those of different types never are."""
    return one == other and isinstance(one, bool) is isinstance(other, bool)


def compare(seen: Value, sign: Operator, wanted: Value) -> bool:
    """Whether a comparison holds; values of different types are neither equal nor ordered.

    Raises:
        MaaPolicyError: `maa-evaluation`: texts or booleans are to be ordered.
    """
    if sign is Operator.EQUAL:
        return same(seen, wanted)
    if sign is Operator.UNEQUAL:
        return not same(seen, wanted)
    kind = value_type(seen)
    if kind != value_type(wanted):
        return False
    if not isinstance(seen, int) or not isinstance(wanted, int) or kind == "Boolean":
        raise wrong(f"{sign} compares integers only, and this is a {kind}.")
    return _ORDER[sign](seen, wanted)


def prepared(name: Property, sign: Operator, wanted: Value) -> Test:
    """The comparison of a claim's property with a literal."""
    read = READ[name]
    if isinstance(wanted, str) and sign is Operator.EQUAL:
        return lambda claim: read(claim) == wanted
    if isinstance(wanted, str) and sign is Operator.UNEQUAL:
        return lambda claim: read(claim) != wanted
    return lambda claim: compare(read(claim), sign, wanted)
