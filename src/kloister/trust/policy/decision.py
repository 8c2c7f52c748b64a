"""Decides whether a service may have its secrets. A decision is made here and nowhere else."""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from datetime import datetime
from typing import Any

from kloister.errors import Denied, Misused
from kloister.formats.policy import Alternative, Attestation, Policy, SgxExpectation
from kloister.formats.sgx import Flag
from kloister.trust.evidence import VerifiedSgx
from kloister.trust.policy import reasons

_SEAL = object()  # only this module makes a Decision

# Statuses whose advisories can be waived one by one; all others say more than a list of advisories
_WAIVABLE = frozenset(
    (
        "SWHardeningNeeded",
        "ConfigurationNeeded",
        "ConfigurationAndSWHardeningNeeded",
        "OutOfDate",
        "OutOfDateConfigurationNeeded",
    )
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of the policy that was not met.

    Attributes:
        code: stable reason code.
        path: where it stands in the document, for instance `attestation.any[0].sgx.mrenclave`.
        expected, seen: what the document wants and what the evidence says.
        allow: the lines or the command that would allow it.
    """

    code: str
    path: str
    expected: str
    seen: str
    allow: str

    def as_json(self) -> dict[str, str]:
        """For records and for people."""
        return {
            "code": self.code,
            "path": self.path,
            "expected": self.expected,
            "seen": self.seen,
            "allow": self.allow,
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a service may have its secrets; without failed conditions it may.

    Attributes:
        policy: the policy that was applied, None where there is none.
        service: the service asked for.
        failed: every condition that was not met, those of the closest alternative first.
        alternative: index in `attestation.any` that matched, None on refusal.
    """

    seal: InitVar[object]
    policy: Policy | None
    service: str
    failed: tuple[Condition, ...]
    alternative: int | None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise Misused("decision-made-elsewhere", "Only trust/policy makes a decision.")

    @property
    def allowed(self) -> bool:
        """Whether nothing failed."""
        return not self.failed and self.alternative is not None

    def enforce(self) -> Policy:
        """The policy that allowed it.

        Raises:
            Denied: with the code of the first failed condition.
        """
        if self.policy is not None and self.allowed:
            return self.policy
        first = self.failed[0]
        reason = reasons.describe(first.code)
        text = f"{reason.text} {first.path}: expected {first.expected}, seen {first.seen}."
        raise Denied(first.code, text, first.allow)


def decide(policy: Policy | None, verified: VerifiedSgx, service: str, now: datetime) -> Decision:
    """Judge genuine evidence by the policy for one of its services.

    Args:
        policy: the policy asked for, or None where no such policy exists.
        verified: what the verifier made of the quote.
        service: the service asked for.
        now: for waivers and alternatives that end; days are days in UTC.
    """
    if policy is None:
        unknown = _condition("policy-unknown", "metadata.name", "a policy of this name", "none")
        return Decision(_SEAL, None, service, (unknown,), None)
    failed = _service(policy, service)
    matching, unmatched = _alternatives(policy.attestation, verified, now)
    failed += unmatched + _tcb(policy.attestation, verified, now) + _simulated(policy.attestation, verified)
    return Decision(_SEAL, policy, service, failed, None if failed else matching)


def _condition(code: str, path: str, expected: Any, seen: Any, allow: str = "") -> Condition:
    return Condition(code, path, str(expected), str(seen), allow or reasons.describe(code).allow)


def _service(policy: Policy, service: str) -> tuple[Condition, ...]:
    if policy.service(service) is not None:
        return ()
    names = ", ".join(one.name for one in policy.services) or "no service"
    return (_condition("service-unknown", "services", names, service),)


def _alternatives(rule: Attestation, verified: VerifiedSgx, now: datetime) -> tuple[int | None, tuple[Condition, ...]]:
    if not rule.any:
        allow = f'Under attestation.any: - sgx: {{mrenclave: "{verified.report.mrenclave.hex()}"}}'
        seen = verified.report.mrenclave.hex()
        return None, (_condition("measurement-not-allowed", "attestation.any", "nobody", seen, allow),)
    results = [_alternative(one, index, verified, now) for index, one in enumerate(rule.any)]
    for index, failed in enumerate(results):
        if not failed:
            return index, ()
    return None, tuple(condition for failed in sorted(results, key=len) for condition in failed)


def _alternative(alternative: Alternative, index: int, verified: VerifiedSgx, now: datetime) -> list[Condition]:
    path = f"attestation.any[{index}]"
    failed = _sgx(alternative.sgx, f"{path}.sgx", verified)
    if alternative.retire is not None and now.date() > alternative.retire:
        failed.append(
            _condition("alternative-retired", f"{path}.retire", f"until {alternative.retire}", now.date().isoformat())
        )
    return failed


def _sgx(expected: SgxExpectation, path: str, verified: VerifiedSgx) -> list[Condition]:
    report = verified.report
    failed = []
    if expected.mrenclave is not None and expected.mrenclave != report.mrenclave:
        seen = report.mrenclave.hex()
        allow = f'Under attestation.any: - sgx: {{mrenclave: "{seen}"}}'
        failed.append(_condition("measurement-not-allowed", f"{path}.mrenclave", expected.mrenclave.hex(), seen, allow))
    if expected.mrsigner is not None:
        failed += _signer(expected, path, verified)
    if report.attributes.has(Flag.DEBUG) and not expected.debug:
        failed.append(_condition("debug-not-allowed", f"{path}.debug", "false", "true"))
    return failed


def _signer(expected: SgxExpectation, path: str, verified: VerifiedSgx) -> list[Condition]:
    report = verified.report
    failed = []
    if expected.mrsigner is not None and expected.mrsigner != report.mrsigner:
        seen = report.mrsigner.hex()
        failed.append(_condition("signer-not-allowed", f"{path}.mrsigner", expected.mrsigner.hex(), seen))
    if expected.isvprodid != report.isvprodid:
        failed.append(_condition("signer-product", f"{path}.isvprodid", expected.isvprodid, report.isvprodid))
    if expected.isvsvn is None or report.isvsvn < expected.isvsvn:
        failed.append(_condition("signer-svn", f"{path}.isvsvn", f"{expected.isvsvn} or more", report.isvsvn))
    return failed


def _tcb(rule: Attestation, verified: VerifiedSgx, now: datetime) -> tuple[Condition, ...]:
    status, today = str(verified.tcb_status), now.date()
    if status in rule.tcb.accept:
        return ()
    waivers = {waiver.advisory: (index, waiver) for index, waiver in enumerate(rule.tcb.waive)}
    open_advisories = [name for name in verified.advisories if name not in waivers or waivers[name][1].until < today]
    if status in _WAIVABLE and verified.advisories and not open_advisories:
        return ()
    listed = f" ({', '.join(verified.advisories)})" if verified.advisories else ""
    accepted = ", ".join(rule.tcb.accept) or "none"
    failed = [_condition("tcb-not-accepted", "attestation.tcb.accept", accepted, status + listed)]
    for name in open_advisories:
        if name in waivers:
            index, waiver = waivers[name]
            path = f"attestation.tcb.waive[{index}].until"
            failed.append(_condition("waiver-expired", path, f"until {waiver.until}", today.isoformat()))
    return tuple(failed)


def _simulated(rule: Attestation, verified: VerifiedSgx) -> tuple[Condition, ...]:
    if rule.simulated or not verified.simulated:
        return ()
    return (_condition("simulated-not-allowed", "attestation.simulated", "deny", "a simulated platform"),)
