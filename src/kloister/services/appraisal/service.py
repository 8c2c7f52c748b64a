from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from kloister.errors import KloisterError, Malformed, Misconfigured, Unverified
from kloister.formats.dcap import Quote, TeeType
from kloister.services.appraisal.recognise import SNP_KINDS, Kind, identify, unwrap
from kloister.trust import identifiers
from kloister.trust.evidence import TcbBasis, TcbRevoked, Verified
from kloister.trust.policy.appraisal import AppraisalPolicy, AppraisalRefused, check_appraisal
from kloister.trust.policy.decision import Condition
from kloister.trust.snp_evidence import VerifiedSnp
from kloister.trust.verifier import (
    AmdRoot,
    Collateral,
    Root,
    SnpEndorsement,
    VerifierCache,
    verify_hcl,
    verify_quote,
    verify_snp,
)

# For one who names the roots by hand: naming a simulator's root is what admits it, none is there by default.
OPERATOR_NAMED = AppraisalPolicy(simulated=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """What was found out about evidence; None is what is not known.

    Of evidence that is not genuine nothing is repeated but the kind of TEE that it claims.
    """

    genuine: bool
    accepted: bool
    kind: str | None = None  # in what form it came: `recognise.Kind`
    tee: str | None = None
    tcb_status: str | None = None
    advisories: tuple[str, ...] = ()
    tcb_date: datetime | None = None
    fmspc: str | None = None
    claims: Mapping[str, str | int | bool] | None = field(default=None, repr=False)
    simulated: bool | None = None
    reason: KloisterError | None = None
    conditions: tuple[Condition, ...] = ()  # of the policy, that are not met; `reason` is the first
    basis: TcbBasis | None = field(default=None, repr=False)  # for explanations
    expires: datetime | None = None  # when the first part of the collateral ends

    @property
    def identifiers(self) -> dict[str, str]:
        """What names this one machine, in hexadecimal: to be shown only to who asks for it."""
        found = {name: str(self.claims[name]) for name in identifiers.NAMES if self.claims and name in self.claims}
        if self.basis is not None:
            platform = self.basis.platform
            found["ppid"] = platform.ppid.hex()
            if platform.platform_instance_id is not None:
                found["platform_instance_id"] = platform.platform_instance_id.hex()
        return found

    def as_json(self, *, show_identifiers: bool = False) -> dict[str, Any]:
        """The object that `kloister verify --json` prints.

        Args:
            show_identifiers: say which machine it is; otherwise a hash stands for what names it.
        """
        claims = None if self.claims is None else dict(self.claims)
        return {
            "kind": self.kind,
            "genuine": self.genuine,
            "verdict": "accept" if self.accepted else "reject",
            "tee": self.tee,
            "tcb_status": self.tcb_status,
            "advisories": list(self.advisories),
            "tcb_date": self.tcb_date.strftime("%Y-%m-%dT%H:%M:%SZ") if self.tcb_date else None,
            "fmspc": self.fmspc,
            "claims": claims if claims is None or show_identifiers else identifiers.hide(claims),
            "simulated": self.simulated,
            **({"identifiers": self.identifiers} if show_identifiers else {}),
            **({"reason": self.reason.as_json()} if self.reason else {}),
            **({"conditions": [each.as_json() for each in self.conditions]} if self.conditions else {}),
        }


def appraise(
    data: bytes,
    collateral: Collateral | None,
    roots: Sequence[Root | AmdRoot],
    at: datetime,
    policy: AppraisalPolicy | None,
    cache: VerifierCache | None = None,
    endorsement: SnpEndorsement | None = None,
) -> Appraisal:
    """Recognise, verify, and judge by the policy; without one, genuine evidence is accepted whatever its status.

    A refusal is a result here, not an error: `reason` says why. Quotes need `collateral`, SNP reports `endorsement`.
    `cache` is the caller's, for many calls.

    Raises:
        Misconfigured: `collateral-missing`, `endorsement-missing`.
    """
    kind = tee = None
    try:
        kind, inner = identify(data)
        if kind in SNP_KINDS:
            tee = VerifiedSnp.tee
            snp = _verify_snp(kind, inner, endorsement, roots, at, cache)
            return replace(_judged(snp, policy, at), kind=kind)
        evidence = unwrap(kind, inner)
        tee = TeeType(Quote.parse(evidence.data).header.tee_type).name.lower()
        verified = verify_quote(evidence.data, _needed(collateral), _of_intel(roots), at, cache)
        if evidence.binding is not None:
            evidence.binding.check(verified.report.report_data, at)
    except TcbRevoked as reason:
        return replace(_revoked(reason), kind=kind)
    except (Malformed, Unverified) as reason:
        return Appraisal(genuine=False, accepted=False, kind=kind, tee=tee, reason=reason)
    return replace(_judged(verified, policy, at), kind=kind)


def _verify_snp(
    kind: Kind,
    data: bytes,
    endorsement: SnpEndorsement | None,
    roots: Sequence[Root | AmdRoot],
    at: datetime,
    cache: VerifierCache | None,
) -> VerifiedSnp:
    if endorsement is None:
        raise Misconfigured(
            "endorsement-missing",
            "Without the certificates of the chip's key an SNP report cannot be judged.",
            "Give the VCEK or VLEK with --vek FILE and its issuers with --chain FILE.",
        )
    verify = verify_hcl if kind is Kind.AZURE_HCL else verify_snp
    return verify(data, endorsement, [root for root in roots if isinstance(root, AmdRoot)], at, cache)


def _needed(collateral: Collateral | None) -> Collateral:
    if collateral is None:
        raise Misconfigured(
            "collateral-missing", "Without collateral a quote cannot be judged.", "Give it, or fetch it."
        )
    return collateral


def _of_intel(roots: Sequence[Root | AmdRoot]) -> list[Root]:
    return [root for root in roots if isinstance(root, Root)]


def _judged(verified: Verified, policy: AppraisalPolicy | None, at: datetime) -> Appraisal:
    if policy is None:
        return _genuine(verified, None)
    try:
        check_appraisal(verified, policy, at)
    except AppraisalRefused as reason:
        return replace(_genuine(verified, reason), conditions=reason.conditions)
    return _genuine(verified, None)


def _genuine(verified: Verified, reason: KloisterError | None) -> Appraisal:
    return Appraisal(
        genuine=True,
        accepted=reason is None,
        tee=verified.tee,
        tcb_status=verified.tcb_status,
        advisories=verified.advisories,
        tcb_date=verified.tcb_date,
        fmspc=verified.fmspc,
        claims=verified.claims,
        simulated=verified.simulated,
        reason=reason,
        basis=verified.basis,
        expires=verified.collateral_expires,
    )


def _revoked(reason: TcbRevoked) -> Appraisal:
    """Not genuine, but the status and its advisories are what the person needs."""
    return Appraisal(
        genuine=False,
        accepted=False,
        tee=reason.tee,
        tcb_status=reason.tcb.status,
        advisories=reason.tcb.advisories,
        tcb_date=reason.tcb.date,
        fmspc=reason.fmspc,
        simulated=reason.root.simulated,
        reason=reason,
        basis=reason.basis,
    )
