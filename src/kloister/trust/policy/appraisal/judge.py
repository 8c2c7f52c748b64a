"""Judges genuine evidence by a policy; every condition that fails is reported, not the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import cached_property

from kloister.errors import Denied
from kloister.formats.dcap import TcbStatus
from kloister.formats.policy import Waiver
from kloister.trust import identifiers
from kloister.trust.evidence import TcbResult, Verified
from kloister.trust.policy import reasons
from kloister.trust.policy.appraisal.model import AppraisalPolicy, TeeRule, Wish
from kloister.trust.policy.decision import Condition

Claims = Mapping[str, str | int | bool]
# Statuses whose advisories can be waived one by one; all others say more than a list of advisories
_WAIVABLE = frozenset({
    TcbStatus.SW_HARDENING_NEEDED,
    TcbStatus.CONFIGURATION_NEEDED,
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    TcbStatus.OUT_OF_DATE,
    TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
})  # fmt: skip
_RELAUNCH = frozenset({TcbStatus.TD_RELAUNCH_ADVISED, TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED})
_ABSENT = "nothing: this evidence does not say it"


class AppraisalRefused(Denied):
    """Genuine evidence that the policy does not accept: the first condition's code, and all of them."""

    def __init__(self, conditions: tuple[Condition, ...]) -> None:
        Exception.__init__(self, conditions)  # the sentence is made when it is read: many refusals are only counted
        self.code, self.hint = conditions[0].code, conditions[0].allow
        self.conditions = conditions

    @cached_property
    def text(self) -> str:  # type: ignore[override]  # of an error others may write it; nobody does
        """What the first condition is about, and how many more failed."""
        first, more = self.conditions[0], len(self.conditions) - 1
        text = f"{reasons.describe(first.code).text} {first.path}: expected {first.expected}, seen {first.seen}."
        return text + (f" {more} more condition{'s' if more > 1 else ''} failed." if more else "")


def check_appraisal(verified: Verified, policy: AppraisalPolicy, at: datetime) -> None:
    """Return if the evidence is acceptable at the time `at`.

    Raises:
        AppraisalRefused: a `Denied` with the code of the first condition of `judge` and all of them.
    """
    conditions = judge(verified, policy, at)
    if conditions:
        raise AppraisalRefused(conditions)


def judge(verified: Verified, policy: AppraisalPolicy, at: datetime) -> tuple[Condition, ...]:
    """Every condition of the policy that the evidence does not meet; none where it is acceptable.

    Args:
        verified: genuine evidence.
        policy: what is wanted.
        at: aware; for waivers, whose days are days in UTC, and for the collateral's age.
    """
    rule = next((each for each in policy.tees if each.tee == verified.tee), None)
    claims = verified.claims
    return (
        *simulated(policy, is_simulated=verified.simulated),
        *tee(verified.tee, policy, rule),
        *debug(claims, rule or TeeRule(verified.tee)),
        *_tcb(verified.tcb, policy, at),
        *_age(verified, policy, at),
        *(condition for wish in (rule.wishes if rule else ()) for condition in wish_met(claims, wish)),
    )


def simulated(policy: AppraisalPolicy, *, is_simulated: bool) -> Iterator[Condition]:
    """A simulated platform proves nothing."""
    if is_simulated and not policy.simulated:
        allow = 'For tests, allow it in the policy: "simulated": "allow".'
        yield Condition("simulated-not-allowed", "simulated", "deny", "a simulated platform", allow)


def tee(name: str, policy: AppraisalPolicy, rule: TeeRule | None) -> Iterator[Condition]:
    """Where the policy names kinds of TEEs, others are not wanted."""
    if policy.tees and rule is None:
        named = " or ".join(each.tee for each in policy.tees)
        allow = f'If this evidence is wanted, add a section "{name}" to the policy.'
        yield Condition("tee-not-allowed", name, named, name, allow)


def debug(claims: Claims, rule: TeeRule) -> Iterator[Condition]:
    """What may be debugged keeps no secret; evidence that does not say it may be."""
    if claims.get("debug") is not False and not rule.debug:
        allow = f'For tests, allow it in the policy: "{rule.tee}": {{"debug": true}}.'
        yield Condition("debug-not-allowed", f"{rule.tee}.debug", "false", "true", allow)


def _tcb(tcb: TcbResult | None, policy: AppraisalPolicy, at: datetime) -> Iterator[Condition]:
    if tcb is None:  # AMD's reports carry versions, which `snp.minimumTcb` judges, and no status
        return
    yield from status(tcb, policy, at)
    if policy.minimum_date is not None and tcb.date.date() < policy.minimum_date:
        allow = "Update the platform's firmware and microcode, or lower tcb.minimumDate."
        seen = f"{tcb.date:%Y-%m-%d}"
        yield Condition("tcb-too-old", "tcb.minimumDate", f"{policy.minimum_date} or later", seen, allow)
    least = policy.minimum_evaluation_number
    if least is not None and tcb.evaluation_number < least:
        allow = "Fetch newer collateral, or lower tcb.minimumEvaluationNumber."
        path, seen = "tcb.minimumEvaluationNumber", str(tcb.evaluation_number)
        yield Condition("evaluation-number-too-low", path, f"{least} or more", seen, allow)


def status(tcb: TcbResult, policy: AppraisalPolicy, at: datetime) -> Iterator[Condition]:
    """The status, or a waiver for every advisory of one that can be waived."""
    if tcb.status in policy.accept:
        return
    today = at.date()
    waivers: dict[str, tuple[int, Waiver]] = {each.advisory: (index, each) for index, each in enumerate(policy.waive)}
    still_open = [name for name in tcb.advisories if name not in waivers or waivers[name][1].until < today]
    if tcb.status in _WAIVABLE and tcb.advisories and not still_open:
        return
    listed = f" ({', '.join(tcb.advisories)})" if tcb.advisories else ""
    accepted = ", ".join(sorted(policy.accept)) or "none"
    allow = "Update the platform's firmware and microcode; or, after reading them, waive the advisories in tcb.waive."
    if tcb.status in _RELAUNCH:
        allow = "Start the trust domain again: the platform has been updated since it was launched."
    yield Condition("tcb-not-accepted", "tcb.accept", accepted, f"{tcb.status}{listed}", allow)
    for name in still_open:
        if name in waivers:
            index, waiver = waivers[name]
            allow = "Update the platform, or move the waiver's until."
            path = f"tcb.waive[{index}].until"
            yield Condition("waiver-expired", path, f"until {waiver.until}", f"{today} ({name})", allow)


def _age(verified: Verified, policy: AppraisalPolicy, at: datetime) -> Iterator[Condition]:
    if policy.maximum_age is None or verified.basis is None:
        return
    issued = verified.basis.issued
    if at - issued > policy.maximum_age:
        allow = "Fetch newer collateral, or raise collateral.maximumAge."
        seen = f"issued {issued:%Y-%m-%d}, {(at - issued).days} days before"
        expected = f"at most {policy.maximum_age.days} days old"
        yield Condition("collateral-too-old", "collateral.maximumAge", expected, seen, allow)


def wish_met(claims: Claims, wish: Wish) -> Iterator[Condition]:
    """One claim that the evidence must make."""
    seen = claims.get(wish.claim)
    if seen is None or not wish.met(seen):
        wanted, shown = wish.wanted, _ABSENT if seen is None else str(seen).lower()
        if wish.claim in identifiers.NAMES:
            wanted = tuple(identifiers.hidden(str(each)) for each in wanted)
            shown = shown if seen is None else identifiers.hidden(shown)
        allow = f"If this evidence is wanted, say so in the policy's {wish.path}."
        yield Condition(wish.code, wish.path, replace(wish, wanted=wanted).expected, shown, allow)
