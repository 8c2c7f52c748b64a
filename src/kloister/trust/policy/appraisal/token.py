"""Judges what an attestation service says, by the policy for evidence: its issuer has judged already, by its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from kloister.formats.dcap import TcbStatus
from kloister.formats.tokens.reading import Form, Reading
from kloister.trust.evidence import TcbResult
from kloister.trust.policy.appraisal.judge import AppraisalRefused, debug, simulated, status, tee, wish_met
from kloister.trust.policy.appraisal.model import AppraisalPolicy, TeeRule
from kloister.trust.policy.decision import Condition
from kloister.trust.token_evidence import VerifiedToken

_UNSAID = "nothing: the token does not say it"
_ASK = "Give the evidence itself rather than a token about it, or loosen the policy."


def check_token(token: VerifiedToken, policy: AppraisalPolicy, at: datetime) -> None:
    """Return if what the token says is acceptable at the time `at`. Raises `AppraisalRefused`."""
    conditions = judge_token(token, policy, at)
    if conditions:
        raise AppraisalRefused(conditions)


def judge_token(token: VerifiedToken, policy: AppraisalPolicy, at: datetime) -> tuple[Condition, ...]:
    """Every condition that is not met. What the policy names and the token does not say is not met.

    A TCB status that the token leaves out is the one exception: Azure's tokens about SGX and SEV-SNP have none, because
    their issuer refuses what it does not accept.
    """
    reading = token.reading
    rule = next((each for each in policy.tees if each.tee == reading.tee), None)
    return (
        *_understood(reading),
        *simulated(policy, is_simulated=reading.simulated),
        *tee(reading.tee or "unknown", policy, rule),
        *_debug(reading, rule),
        *_tcb(reading, policy, at),
        *(condition for wish in (rule.wishes if rule else ()) for condition in wish_met(reading.claims, wish)),
    )


def _understood(reading: Reading) -> Iterator[Condition]:
    if reading.form is Form.OTHER:
        allow = "Nothing but --proof-only, which judges nothing."
        yield Condition("token-not-understood", "token", "claims of Azure Attestation or an EAR", "others", allow)
    if reading.ear_status not in (None, "affirming"):
        allow = "Ask the issuer why: its policy, not this one, decides it."
        yield Condition("ear-not-affirming", "ear.status", "affirming", str(reading.ear_status), allow)


def _debug(reading: Reading, rule: TeeRule | None) -> Iterator[Condition]:
    """An EAR need not say it: its status counts debugging in."""
    if reading.tee is not None and ("debug" in reading.claims or reading.form is not Form.EAR):
        yield from debug(reading.claims, rule or TeeRule(reading.tee))


def _tcb(reading: Reading, policy: AppraisalPolicy, at: datetime) -> Iterator[Condition]:
    if reading.status is not None:
        yield from _status(reading, reading.status, policy, at)
    date, least = policy.minimum_date, policy.minimum_evaluation_number
    if date is not None and (reading.date is None or reading.date.date() < date):
        seen = _UNSAID if reading.date is None else f"{reading.date:%Y-%m-%d}"
        yield Condition("tcb-too-old", "tcb.minimumDate", f"{date} or later", seen, _ASK)
    number = reading.evaluation_number
    if least is not None and (number is None or number < least):
        seen = _UNSAID if number is None else str(number)
        yield Condition("evaluation-number-too-low", "tcb.minimumEvaluationNumber", f"{least} or more", seen, _ASK)
    age = policy.maximum_age
    if age is not None and (reading.issued is None or at - reading.issued > age):
        seen = _UNSAID if reading.issued is None else f"issued {reading.issued:%Y-%m-%d}"
        yield Condition("collateral-too-old", "collateral.maximumAge", f"at most {age.days} days old", seen, _ASK)


def _status(reading: Reading, text: str, policy: AppraisalPolicy, at: datetime) -> Iterator[Condition]:
    known = next((each for each in TcbStatus if each == text), None)
    if known is None:
        accepted = ", ".join(sorted(policy.accept)) or "none"
        yield Condition("tcb-not-accepted", "tcb.accept", accepted, f"{text[:64]!a}", _ASK)
        return
    tcb = TcbResult(status=known, advisories=reading.advisories, date=at, evaluation_number=0)
    yield from status(tcb, policy, at)
