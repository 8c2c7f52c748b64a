"""Kubernetes' resource quantities, as far as whole numbers go (apimachinery, resource.Quantity)."""

from __future__ import annotations

import re
from fractions import Fraction

from kloister.errors import Malformed

_FORM = re.compile(
    r"\+?(?=\.?\d)(\d{0,20})(?:\.(\d{0,9}))?(?:(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E)|[eE]([+-]?\d{1,2}))?", re.ASCII
)
_SCALE = {"": Fraction(1)} | {unit: Fraction(1, 1000**power) for power, unit in enumerate(("m", "u", "n"), 1)}
_SCALE |= {unit: Fraction(1000**power) for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), 1)}
_SCALE |= {unit: Fraction(1024**power) for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}
LARGEST = 2**63 - 1  # what the API server can hold


def whole(value: object) -> int:
    """The quantity as a whole number: `10Mi` is 10485760, `1.5Gi` is 1610612736, `1e3` is 1000.

    Raises:
        Malformed: `quantity`: not a quantity, negative, not a whole number, or too large.
    """
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    form = _FORM.fullmatch(text) if isinstance(text, str) else None
    if form is None:
        raise _refused(value)
    digits, fraction, unit, exponent = form.groups()
    number = Fraction(f"{digits or 0}.{fraction or 0}") * _SCALE[unit or ""] * Fraction(10) ** int(exponent or 0)
    if number.denominator != 1 or number > LARGEST:
        raise _refused(value)
    return int(number)


def _refused(value: object) -> Malformed:
    return Malformed(
        "quantity", f"{str(value)[:40]!r} is no whole quantity.", "Write whole bytes, for instance 10Mi or 1Gi."
    )
