"""Reads an appraisal policy strictly: whatever is unknown, unfit or ambiguous is refused, naming its path."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import date, timedelta
from typing import Any

from kloister.errors import Malformed
from kloister.formats.dcap import TcbStatus
from kloister.formats.policy import Waiver
from kloister.formats.wire import load_json
from kloister.trust.policy.appraisal.fields import SNP_TCB, TEES, Field, FlagField, HexField
from kloister.trust.policy.appraisal.model import AppraisalPolicy, Comparison, TeeRule, Wish

MAX_SIZE = 64 * 1024  # bytes of a policy document; real ones have some hundred
MAX_ITEMS = 256  # entries of one list; keeps the work of a judgement bounded
_MAX_TEXT = 1024  # characters of a waiver's reason
_MAX_DAYS = 3650  # collateral of ten years is as good as any
_U32 = 0xFFFFFFFF
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_ADVISORY = re.compile(r"[A-Z]+(-[A-Z0-9]+)+", re.ASCII)  # INTEL-SA-00615
_HINT = "docs/reference/appraisal-policy.md describes every field."
_DOCUMENT = {"tcb", "collateral", "simulated", *TEES}


def parse_appraisal(data: bytes) -> AppraisalPolicy:
    """Read a policy in JSON; `docs/reference/appraisal-policy.md` has its fields, each of which may be left out.

    Raises:
        Malformed: `appraisal-policy-size`, `appraisal-policy-json`, `appraisal-policy-field`.
    """
    return read_appraisal(load_json(data, "appraisal-policy", MAX_SIZE))


def read_appraisal(value: Any) -> AppraisalPolicy:
    """The policy in plain values, as a reader of JSON or YAML makes them.

    Raises:
        Malformed: `appraisal-policy-field`, naming the field by its path.
    """
    document = _object(value, "", _DOCUMENT)
    tcb = _object(document.get("tcb", {}), "tcb", {"accept", "waive", "minimumDate", "minimumEvaluationNumber"})
    collateral = _object(document.get("collateral", {}), "collateral", {"maximumAge"})
    age = _optional(collateral, "maximumAge", "collateral", lambda each, path: _number(each, path, _MAX_DAYS))
    number = "minimumEvaluationNumber"
    return AppraisalPolicy(
        accept=_statuses(tcb.get("accept", [TcbStatus.UP_TO_DATE.value])),
        waive=_waivers(tcb.get("waive", [])),
        minimum_date=_optional(tcb, "minimumDate", "tcb", _day),
        minimum_evaluation_number=_optional(tcb, number, "tcb", lambda each, path: _number(each, path, _U32)),
        maximum_age=None if age is None else timedelta(days=age),
        simulated=_simulated(document.get("simulated", "deny")),
        tees=tuple(_tee(tee, document[tee]) for tee in TEES if tee in document),
    )


def _tee(tee: str, value: Any) -> TeeRule:
    fields = TEES[tee]
    extra = {"debug", "minimumTcb"} if tee == "snp" else {"debug"}
    section = _object(value, tee, {*fields, *extra})
    minimum = section.get("minimumTcb", {})
    wishes = _wishes(section, tee, fields) + _wishes(
        _object(minimum, f"{tee}.minimumTcb", set(SNP_TCB)), f"{tee}.minimumTcb", SNP_TCB
    )
    return TeeRule(tee, _flag(section.get("debug", False), f"{tee}.debug"), wishes)


def _wishes(section: Mapping[str, Any], path: str, fields: Mapping[str, Field]) -> tuple[Wish, ...]:
    return tuple(_wish(section[name], f"{path}.{name}", field) for name, field in fields.items() if name in section)


def _wish(value: Any, path: str, field: Field) -> Wish:
    if isinstance(field, FlagField):
        return Wish(path, field.claim, field.code, Comparison.ONE_OF, (_flag(value, path),))
    if isinstance(field, HexField):
        wanted = tuple(_hex(each, where, field) for each, where in _one_or_many(value, path))
        return Wish(path, field.claim, field.code, Comparison.ONE_OF, wanted)
    if field.minimum:
        return Wish(path, field.claim, field.code, Comparison.AT_LEAST, (_number(value, path, field.limit),))
    numbers = tuple(_number(each, where, field.limit) for each, where in _one_or_many(value, path))
    return Wish(path, field.claim, field.code, Comparison.ONE_OF, numbers)


def _optional(section: Mapping[str, Any], name: str, path: str, read: Any) -> Any:
    return read(section[name], f"{path}.{name}") if name in section else None


def _object(value: Any, path: str, known: Collection[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _unfit(path or "the document", "an object")
    for name in value:
        if name not in known:
            where = f"{path}.{name}" if path else str(name)
            raise Malformed(
                "appraisal-policy-field",
                f"In the appraisal policy, {where[:128]!a} is no field; known here: {', '.join(sorted(known))}.",
                _HINT,
            )
    return value


def _one_or_many(value: Any, path: str) -> list[tuple[Any, str]]:
    if not isinstance(value, list):
        return [(value, path)]
    if not 0 < len(value) <= MAX_ITEMS:
        raise _unfit(path, f"one value, or a list of 1 to {MAX_ITEMS}")
    return [(each, f"{path}[{index}]") for index, each in enumerate(value)]


def _statuses(value: Any) -> frozenset[TcbStatus]:
    known = set(TcbStatus) - {TcbStatus.REVOKED}
    if not isinstance(value, list) or not all(isinstance(each, str) and each in known for each in value):
        raise _unfit("tcb.accept", f"a list of statuses: {', '.join(sorted(known))}")
    return frozenset(TcbStatus(each) for each in value)


def _waivers(value: Any) -> tuple[Waiver, ...]:
    if not isinstance(value, list) or len(value) > MAX_ITEMS:
        raise _unfit("tcb.waive", f"a list of at most {MAX_ITEMS} waivers")
    waivers = tuple(_waiver(each, f"tcb.waive[{index}]") for index, each in enumerate(value))
    names = [each.advisory for each in waivers]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise _unfit(f"tcb.waive[{index}].advisory", f"another one than {name}, which has its waiver already")
    return waivers


def _waiver(value: Any, path: str) -> Waiver:
    fields = _object(value, path, {"advisory", "until", "reason"})
    advisory, reason = fields.get("advisory"), fields.get("reason")
    if not isinstance(advisory, str) or not _ADVISORY.fullmatch(advisory):
        raise _unfit(f"{path}.advisory", "one advisory such as INTEL-SA-00615")
    if not isinstance(reason, str) or not reason.strip() or len(reason) > _MAX_TEXT:
        raise _unfit(f"{path}.reason", f"text of 1 to {_MAX_TEXT} characters: why the advisory can be borne")
    return Waiver(advisory, _day(fields.get("until"), f"{path}.until"), reason)


def _day(value: Any, path: str) -> date:
    try:
        if isinstance(value, str) and _DAY.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise _unfit(path, 'a day as "YYYY-MM-DD", in quotes')


def _flag(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise _unfit(path, "true or false")
    return value


def _simulated(value: Any) -> bool:
    if value not in ("allow", "deny"):
        raise _unfit("simulated", '"allow" or "deny"')
    return bool(value == "allow")


def _hex(value: Any, path: str, field: HexField) -> str:
    digits = 2 * field.size
    if isinstance(value, str) and len(value) % 2 == 0 and re.fullmatch(r"[0-9a-fA-F]+", value, re.ASCII):
        if len(value) == digits:
            return value.lower()
        if field.padded and len(value) < digits:
            return value.lower().ljust(digits, "0")
    at_most = "at most " if field.padded else ""
    raise _unfit(path, f"{at_most}{digits} hexadecimal digits, in quotes")


def _number(value: Any, path: str, limit: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
        raise _unfit(path, f"a number from 0 to {limit}")
    return value


def _unfit(path: str, wanted: str) -> Malformed:
    return Malformed("appraisal-policy-field", f"In the appraisal policy, {path} must be {wanted}.", _HINT)
