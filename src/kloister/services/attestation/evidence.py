"""Evidence of each kind: verified, judged by what the operator accepts, and put into claims."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from kloister.errors import Denied
from kloister.formats.dcap import TcbStatus
from kloister.formats.dcap.open_enclave import quote_of
from kloister.formats.protocol.maa import AttestRequest, DataType, SnpEvidence
from kloister.formats.tokens import maa
from kloister.formats.wire import is_unicode
from kloister.services.attestation.collateral import Chosen, CollateralPort, Need, Needs
from kloister.services.attestation.kinds import Kind
from kloister.services.attestation.revocation import NoLists, RevocationList, RevocationPort
from kloister.services.attestation.tokens import json_text
from kloister.services.attestation.waiting import NeedsWaiting
from kloister.services.collateral import require_vouched
from kloister.trust.evidence import Verified, VerifiedSgx, VerifiedTdx
from kloister.trust.policy.maa import ATTESTATION_SERVICE, Claim
from kloister.trust.snp_evidence import VerifiedSnp
from kloister.trust.verifier import (
    AmdRoot,
    Root,
    SgxPrecedent,
    SnpEndorsement,
    VerifierCache,
    prove_sgx,
    verify_snp,
    verify_tdx,
)

_END = b"-----END CERTIFICATE-----"
Claims = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Precedent:
    """Evidence of an SGX enclave that was accepted, by which its next one is judged."""

    quote: SgxPrecedent
    need: Need
    chosen: Chosen = field(repr=False)
    hashes: str = field(repr=False)  # `x-ms-sgx-collateral` as JSON, with a place for the hash of the quote


@dataclass(frozen=True, slots=True)
class Judged:
    """Genuine evidence that the operator accepts.

    Attributes:
        claims: what Azure's tokens say of it, among them the client's data.
        own: what ours say beyond that, under names of our own.
        precedent: for what comes from the same enclave.
    """

    verified: Verified
    claims: Claims = field(repr=False)
    own: Claims = field(repr=False)
    precedent: Precedent | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """What evidence is judged by, the same for all instances.

    Attributes:
        roots, amd_roots: who may vouch.
        accept: TCB statuses of Intel's platforms.
        collateral: where it comes from.
        lists: AMD's revocations.
        at: a fixed time of judgement, to judge old evidence (dangerous); None: the present.
    """

    roots: Sequence[Root]
    amd_roots: Sequence[AmdRoot]
    accept: frozenset[TcbStatus]
    collateral: CollateralPort
    lists: RevocationPort = field(default_factory=NoLists)
    at: datetime | None = None
    cache: VerifierCache = field(default_factory=VerifierCache)
    needs: Needs = field(default_factory=Needs)

    def judge(
        self,
        kind: Kind,
        request: AttestRequest,
        *,
        simulated: bool | None,
        now: datetime,
        evaluation_number: Callable[[], int | None],
        wait: bool,
    ) -> Judged:
        """Verify the evidence, and put it into claims.

        Args:
            kind: of evidence.
            request: what the client sent.
            simulated: whether simulated platforms are accepted, or genuine ones, never both for one key; None: either.
            now: the present.
            evaluation_number: asked only where there is something to choose.
            wait: fetch collateral that is not at hand.

        Raises:
            NeedsWaiting: the collateral is not at hand, and `wait` is false.
            Malformed, Unverified: the evidence is not genuine; `client-data-*`, `collateral-none`, `oe-report-*`.
            Denied: `tcb-not-accepted`, `simulated-not-allowed`, `genuine-not-allowed`.
            Unavailable: the collateral could not be fetched.
        """
        at = self.at or now
        if kind is Kind.SEV_SNP_VM:
            return self._snp(request, at, simulated=simulated, wait=wait)
        quote = quote_of(request.evidence) if kind is Kind.OPEN_ENCLAVE else request.evidence
        need = self.needs.of(quote, evaluation_number())
        chosen = self.collateral.held(need, at)
        if chosen is None:
            if not wait:
                raise NeedsWaiting
            require_vouched(quote, self.roots)
            chosen = self.collateral.fetch(need, at)
        if kind is Kind.TDX_VM:
            return self._tdx(quote, request, chosen, at, simulated=simulated)
        judged, found = self._sgx(quote, request, chosen, at, simulated=simulated)
        if found is None:
            return judged
        hashes = json_text({**chosen.hashes, "quotehash": "%s"})
        return replace(judged, precedent=Precedent(found, need, chosen, hashes))

    def holds(self, precedent: Precedent, now: datetime) -> bool:
        """Whether evidence would be judged by the same collateral now, and no date is against it."""
        at, quote = self.at or now, precedent.quote
        return quote.start <= at <= quote.end and self.collateral.held(precedent.need, at) is precedent.chosen

    def again(self, precedent: Precedent, quote: bytes, request: AttestRequest) -> tuple[Claims, str]:
        """Judge a quote of the precedent's frame, while that holds.

        Returns:
            What the client's data make of claims; `x-ms-sgx-report-data`.

        Raises:
            Unverified: `quote-signature`, `client-data-binding`. Malformed: `client-data-json`.
        """
        report_data = precedent.quote.check(quote)
        configid = precedent.quote.verified.report.configid
        return _client_claims(request, report_data, configid, kind=maa.SGX), report_data.hex()

    def _sgx(
        self, quote: bytes, request: AttestRequest, chosen: Chosen, at: datetime, *, simulated: bool | None
    ) -> tuple[Judged, SgxPrecedent | None]:
        verified, precedent = prove_sgx(quote, chosen.collateral, self.roots, at, self.cache)
        self._accept(verified, simulated=simulated)
        report = verified.report
        hashes = {**chosen.hashes, "quotehash": hashlib.sha256(request.evidence).hexdigest()}
        claims = maa.sgx_claims(report)
        claims["x-ms-sgx-collateral"] = claims["maa-attestationcollateral"] = hashes
        claims |= _client_claims(request, report.report_data, report.configid, kind=maa.SGX)
        return Judged(verified, _common(claims, maa.SGX), _intel_claims(verified, chosen)), precedent

    def _tdx(
        self, quote: bytes, request: AttestRequest, chosen: Chosen, at: datetime, *, simulated: bool | None
    ) -> Judged:
        verified = verify_tdx(quote, chosen.collateral, self.roots, at, self.cache)
        self._accept(verified, simulated=simulated)
        report = verified.report
        claims = maa.tdx_claims(report, str(verified.tcb.status))
        claims |= _client_claims(request, report.report_data, report.mrconfigid, kind=maa.TDX)
        own = _intel_claims(verified, chosen)
        own["kloister-collateral"]["hashes"] = chosen.hashes
        return Judged(verified, _common(claims, maa.TDX), own)

    def _snp(self, request: AttestRequest, at: datetime, *, simulated: bool | None, wait: bool) -> Judged:
        evidence = SnpEvidence.parse(request.evidence)
        endorsement = endorsement_of(evidence)
        verified = verify_snp(evidence.report, endorsement, self.amd_roots, at, self.cache)
        revoked = self.lists.of(verified.root, wait=wait)  # asked for what is genuine alone
        if revoked is not None:
            endorsement = replace(endorsement, crl=revoked.data)
            verified = verify_snp(evidence.report, endorsement, self.amd_roots, at, self.cache)
        self._accept(verified, simulated=simulated)
        return judged_snp(verified, request, revoked)

    def _accept(self, verified: Verified, *, simulated: bool | None) -> None:
        """What the operator decides; debug and measurements are for the instance's policy."""
        if verified.simulated and simulated is False:
            raise Denied(
                "simulated-not-allowed",
                "The evidence is of a simulated platform, which proves nothing.",
                "Ask an instance that is declared simulated.",
            )
        if simulated and not verified.simulated:
            raise Denied(
                "genuine-not-allowed",
                "This instance is declared simulated: what its key signs must not be taken for more.",
                "Ask an instance that is not declared simulated.",
            )
        if verified.tcb is not None and verified.tcb.status not in self.accept:
            advisories = f" ({', '.join(verified.tcb.advisories)})" if verified.tcb.advisories else ""
            raise Denied(
                "tcb-not-accepted",
                f"The platform's TCB is {verified.tcb.status}{advisories}, which is not accepted here.",
                "Update the platform's firmware and microcode.",
            )


def endorsement_of(evidence: SnpEvidence) -> SnpEndorsement:
    """The certificates that came with a report: that of its key first."""
    end = evidence.certificates.find(_END) + len(_END)
    return SnpEndorsement(vek=evidence.certificates[:end], chain=evidence.certificates[end:])


def judged_snp(verified: VerifiedSnp, request: AttestRequest, revoked: RevocationList | None = None) -> Judged:
    """A genuine report in claims; `revoked` is the list that it was judged by. Raises `Unverified`: `client-data-*`."""
    report = verified.report
    claims = maa.snp_claims(report, verified.product)
    claims |= _client_claims(request, report.report_data, report.host_data, kind=maa.SNP)
    return Judged(verified, _common(claims, maa.SNP), _amd_claims(verified, revoked))


def _client_claims(request: AttestRequest, report_data: bytes, init_data: bytes, *, kind: str) -> Claims:
    """The client's data, which the evidence must bind, as tokens repeat it; and its nonce, which it need not."""
    claims: Claims = {}
    if request.runtime is not None:
        request.runtime.check_bound(report_data, "runtime data")
        if request.runtime.type is DataType.JSON:
            claims["x-ms-runtime"] = request.runtime.json
        elif kind == maa.SGX:
            claims |= maa.held_data(request.runtime.data)
    if request.inittime is not None:
        request.inittime.check_bound(init_data, "init time data")
        if request.inittime.type is DataType.JSON:
            claims["x-ms-inittime"] = request.inittime.json
    return claims if request.nonce is None else {**claims, "nonce": request.nonce}


def _common(claims: Claims, kind: str) -> Claims:
    return {**claims, "x-ms-attestation-type": kind, "x-ms-ver": "1.0"}


def _intel_claims(verified: VerifiedSgx | VerifiedTdx, chosen: Chosen) -> Claims:
    tcb, basis = verified.tcb, verified.basis
    own = {
        **_own(verified),
        "kloister-advisories": list(tcb.advisories),
        "kloister-collateral": {"issued": instant(chosen.issued), "expires": instant(verified.collateral_expires)},
        "kloister-fmspc": verified.fmspc,
        "kloister-tcb-date": instant(tcb.date),
        "kloister-tcb-evaluation-number": tcb.evaluation_number,
        "kloister-tcb-status": str(tcb.status),
    }
    if basis is not None:
        level = {"status": str(basis.level.status), "date": instant(basis.level.date), "pcesvn": basis.level.pcesvn}
        quoting = {"status": str(basis.qe_level.status), "isvsvn": basis.qe_level.isvsvn}
        own["kloister-tcb-level"] = {"platform": level, "qe": quoting}
        if basis.module_level is not None:
            module = {"status": str(basis.module_level.status), "isvsvn": basis.module_level.isvsvn}
            own["kloister-tcb-level"]["module"] = module
    return own


def _amd_claims(verified: VerifiedSnp, revoked: RevocationList | None) -> Claims:
    collateral: Claims = {"expires": instant(verified.collateral_expires)}
    if revoked is not None:
        collateral["hashes"] = {"crlhash": hashlib.sha256(revoked.data).hexdigest()}
        collateral["issued"] = instant(revoked.issued)
    return {**_own(verified), "kloister-collateral": collateral}


def _own(verified: Verified | VerifiedSnp) -> Claims:
    return {"kloister-root": verified.root.fingerprint, "kloister-simulated": verified.simulated}


@lru_cache(maxsize=4096)
def instant(at: datetime) -> str:
    """`2026-01-15T00:00:00Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def as_policy_claims(claims: Mapping[str, Any], wanted: frozenset[str] | None = None) -> list[Claim]:
    """Claims as a policy sees them: lists as several claims, objects as JSON text, fractions left out.

    Args:
        claims: of the evidence.
        wanted: the names that the policy asks for; None: it may ask for any.
    """
    found: list[Claim] = []
    for name, value in claims.items():
        if wanted is not None and name not in wanted:
            continue
        for each in value if isinstance(value, list) else [value]:
            one = json.dumps(each, separators=(",", ":"), sort_keys=True) if isinstance(each, dict) else each
            if isinstance(one, int) or (isinstance(one, str) and is_unicode(one)):
                found.append(Claim(name, one, ATTESTATION_SERVICE))
    return found
