from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from kloister.errors import Malformed, Misconfigured, Unverified
from kloister.formats.dcap import tee_type
from kloister.services.appraisal.bound import bound
from kloister.services.appraisal.kinds import SNP_KINDS, TOKEN_KINDS, Evidence, Kind
from kloister.services.appraisal.recognise import identify, unwrap
from kloister.services.appraisal.result import Appraisal
from kloister.services.appraisal.tokens import TokenKeys, appraise_token
from kloister.trust.evidence import TcbRevoked, TcbUnsupported, Verified
from kloister.trust.policy.appraisal import AppraisalPolicy, AppraisalRefused, judge
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


def appraise(
    data: bytes,
    collateral: Collateral | None,
    roots: Sequence[Root | AmdRoot],
    at: datetime,
    policy: AppraisalPolicy | None,
    cache: VerifierCache | None = None,
    endorsement: SnpEndorsement | None = None,
    token_keys: TokenKeys | None = None,
) -> Appraisal:
    """Recognise, verify, and judge by the policy; without one, genuine evidence is accepted whatever its status.

    A refusal is a result here, not an error: `reason` says why. Quotes need `collateral`, SNP reports `endorsement`,
    tokens `token_keys`. `cache` is the caller's, for many calls.

    Raises:
        Misconfigured: `collateral-missing`, `endorsement-missing`.
    """
    kind = evidence = None
    try:
        kind, inner = identify(data)
        if kind in TOKEN_KINDS:
            return appraise_token(kind, inner, token_keys, at, policy)
        evidence = unwrap(kind, inner)
        kind = evidence.kind
        if evidence.inner in SNP_KINDS:
            verified: Verified = _verify_snp(evidence, endorsement, roots, at, cache)
        else:
            verified = verify_quote(evidence.data, _needed(collateral), _of_intel(roots), at, cache)
        more = bound(evidence, verified, at)
    except TcbRevoked as reason:
        return _revoked(kind, reason)
    except (Malformed, Unverified) as reason:
        return _refused(kind, evidence, reason)
    return _judged(kind, verified, more, policy, at)


def unreadable(data: bytes, reason: Malformed) -> Appraisal:
    """The refusal of evidence that is not of its format, where this is found before anything vouches for it."""
    kind = evidence = None
    with contextlib.suppress(Malformed):
        kind, inner = identify(data)
        evidence = unwrap(kind, inner)
        kind = evidence.kind
    return _refused(kind, evidence, reason)


def _refused(kind: Kind | None, evidence: Evidence | None, reason: Malformed | Unverified) -> Appraisal:
    basis = reason.basis if isinstance(reason, TcbUnsupported) else None
    tee = None if evidence is None else _claimed(evidence)
    return Appraisal(genuine=False, accepted=False, kind=kind, tee=tee, reason=reason, basis=basis)


def _claimed(evidence: Evidence) -> str | None:
    """The kind of TEE that evidence says it is of; of a quote, its header does."""
    if evidence.inner in SNP_KINDS:
        return VerifiedSnp.tee
    tee = tee_type(evidence.data)
    return None if tee is None else tee.name.lower()


def _verify_snp(
    evidence: Evidence,
    given: SnpEndorsement | None,
    roots: Sequence[Root | AmdRoot],
    at: datetime,
    cache: VerifierCache | None,
) -> VerifiedSnp:
    endorsement = given or evidence.endorsement
    if endorsement is None:
        raise Misconfigured(
            "endorsement-missing",
            "Without the certificates of the chip's key an SNP report cannot be judged.",
            "Give the VCEK or VLEK with --vek FILE and its issuers with --chain FILE.",
        )
    verify = verify_hcl if evidence.inner is Kind.AZURE_HCL else verify_snp
    return verify(evidence.data, endorsement, [root for root in roots if isinstance(root, AmdRoot)], at, cache)


def _needed(collateral: Collateral | None) -> Collateral:
    if collateral is None:
        raise Misconfigured(
            "collateral-missing", "Without collateral a quote cannot be judged.", "Give it, or fetch it."
        )
    return collateral


def _of_intel(roots: Sequence[Root | AmdRoot]) -> list[Root]:
    return [root for root in roots if isinstance(root, Root)]


def _judged(
    kind: Kind, verified: Verified, more: Mapping[str, str], policy: AppraisalPolicy | None, at: datetime
) -> Appraisal:
    """What genuine evidence says, and whether the policy wants it. `more`: claims of what came with it."""
    conditions = judge(verified, policy, at) if policy is not None else ()
    claims = verified.claims
    return Appraisal(
        genuine=True,
        accepted=not conditions,
        kind=kind,
        tee=verified.tee,
        tcb_status=verified.tcb_status,
        advisories=verified.advisories,
        tcb_date=verified.tcb_date,
        fmspc=verified.fmspc,
        claims={**claims, **more} if more else claims,
        simulated=verified.simulated,
        reason=AppraisalRefused(conditions) if conditions else None,
        conditions=conditions,
        basis=verified.basis,
        expires=verified.collateral_expires,
    )


def _revoked(kind: Kind | None, reason: TcbRevoked) -> Appraisal:
    """Not genuine, but the status and its advisories are what the person needs."""
    return Appraisal(
        genuine=False,
        accepted=False,
        kind=kind,
        tee=reason.tee,
        tcb_status=reason.tcb.status,
        advisories=reason.tcb.advisories,
        tcb_date=reason.tcb.date,
        fmspc=reason.fmspc,
        simulated=reason.root.simulated,
        reason=reason,
        basis=reason.basis,
    )
