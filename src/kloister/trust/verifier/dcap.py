"""What SGX and TDX quotes have in common: the steps from the PCK's chain to the quote's signature.

The steps, in the order of Intel's quote verification library, so that reasons agree with it; step 13 is policy.

1. Parse the quote.                                   `formats/dcap/quote.py`
2. The PCK certificate's chain, to a pinned root.     `chain.py`
3. Both revocation lists; PCK and its CA not revoked. `crl.py`
4. TCB info and QE identity: signer, signature, date. `documents.py`
5. TCB info: this TEE, this FMSPC, this PCE.          `tcb.py`
6. QE report: signed by the PCK, binds the key.       `qe.py`
7. QE identity: this QE, and its level.               `qe.py`
8. The quote's signature by the attestation key.      here
9. The platform's level.                              `tcb.py`
10. TDX: the module, and its level.                   `tdx.py`
11. Convergence of the levels; Revoked is refused.    `tcb.py`
12. TDX 1.5: whether a new launch would help.         `tdx.py`

Within a step, what stays true (signatures) comes before what is judged at the time given (dates, revocation).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from cryptography.hazmat.primitives.asymmetric import ec

from kloister.errors import Malformed, Misused, Unverified
from kloister.formats.dcap import Authentication, CertificationType, PckExtension, QeLevel, Quote, TcbInfo, TcbStatus
from kloister.formats.dcap.pck_extension import OID as SGX_EXTENSION
from kloister.formats.pki import Certificate, check_signature, parse_chain, raw_signature
from kloister.formats.sgx import ReportBody
from kloister.trust.evidence import TcbBasis, TcbResult, TcbRevoked
from kloister.trust.root import Root
from kloister.trust.verifier.cache import Judgement, ProvenCollateral, ProvenPlatform, ProvenQe, VerifierCache
from kloister.trust.verifier.chain import PCK_CHAIN, check_dates, prove_chain
from kloister.trust.verifier.collateral import Collateral
from kloister.trust.verifier.crl import Revocations
from kloister.trust.verifier.documents import Documents
from kloister.trust.verifier.qe import match_qe, verify_qe_report
from kloister.trust.verifier.tcb import check_scope, match_platform

_REGISTER = "Register the platform (its manifest, type 7, at Intel's registration service); then let it quote anew."


@dataclass(frozen=True, slots=True)
class Request:
    """What a verification is about; the arguments of `verify_sgx` and `verify_tdx`, the quote parsed."""

    quote: Quote
    collateral: Collateral
    roots: Sequence[Root]
    at: datetime
    cache: VerifierCache

    @classmethod
    def of(
        cls, quote: bytes, collateral: Collateral, roots: Sequence[Root], at: datetime, cache: VerifierCache | None
    ) -> Request:
        """Step 1."""
        if at.tzinfo is None:
            raise Misused("time-naive", "The time of judgement must have a time zone.")
        return cls(Quote.parse(quote), collateral, roots, at, cache or _NO_CACHE)


_NO_CACHE = VerifierCache(collateral=0, platforms=0, quoting_enclaves=0)  # keeps nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Genuine:
    """A quote whose signatures all hold: what its levels are matched from."""

    platform: PckExtension
    collateral: ProvenCollateral
    qe_report: ReportBody
    qe_level: QeLevel

    @property
    def info(self) -> TcbInfo:
        """The TCB info."""
        return self.collateral.documents.info.content

    def basis(self, tee_tcb_svn: bytes | None = None, module_level: QeLevel | None = None) -> TcbBasis:
        """What the TCB result is judged from; step 9 on the way."""
        identity = self.collateral.documents.identity.content
        return TcbBasis(
            info=self.info,
            platform=self.platform,
            level=match_platform(self.info, self.platform, tee_tcb_svn),
            identity=identity,
            qe_isvsvn=self.qe_report.isvsvn,
            qe_level=self.qe_level,
            tee_tcb_svn=tee_tcb_svn,
            module_level=module_level,
            issued=min(self.collateral.revocations.issued, self.info.issue_date, identity.issue_date),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tee:
    """What tells SGX and TDX apart.

    Attributes:
        name: `Verified.tee`.
        info, identity: the `id` of the TCB info and of the QE identity.
    """

    name: str
    info: str
    identity: str


Judge = Callable[[Genuine], tuple[TcbResult, TcbBasis]]


@dataclass(frozen=True, slots=True)
class Proof:
    """What steps 2 to 12 have found."""

    judgement: Judgement
    platform: ProvenPlatform
    collateral: ProvenCollateral
    key: ec.EllipticCurvePublicKey = field(repr=False)  # the attestation key, which signed the quote

    @property
    def start(self) -> datetime:
        """From here to `end`, both included, no date of chains, lists and documents is against it."""
        return max(self.platform.start, self.collateral.start)

    @property
    def end(self) -> datetime:
        """See `start`."""
        return min(self.platform.end, self.collateral.end)


def verify_steps(request: Request, tee: Tee, judge: Judge, looked_at: bytes = b"") -> Proof:
    """Steps 2 to 12.

    Args:
        request: with the quote.
        tee: its kind.
        judge: steps 9 to 12.
        looked_at: all of the quote's body that `judge` looks at.

    Raises:
        Malformed: as each step says.
        Unverified: as each step says; `TcbRevoked`.
    """
    cache, authentication = request.cache, request.quote.authentication
    platform, proven, collateral_key = _platform_and_collateral(request)  # steps 2 to 4
    judged_by = platform.digest + collateral_key + _identity_of(authentication.qe_report) + looked_at
    known = cache.judgements.get(judged_by)  # of steps 5, 7 and 9 to 12
    if known is None:
        check_scope(proven.documents.info.content, platform.extension, tee.info)  # step 5
    qe_key = _qe_key(platform.digest, authentication)
    qe_known = cache.quoting_enclaves.get(qe_key)
    qe = qe_known or verify_qe_report(authentication, platform.chain[0])  # step 6
    genuine = None if known else _identified(platform, proven, qe, tee)  # step 7
    signature = raw_signature(authentication.signature)
    check_signature(qe.key, signature, request.quote.signed, "quote-signature", "the quote")  # step 8
    if qe_known is None:
        cache.quoting_enclaves.put(qe_key, qe)
    if genuine is not None:
        known = _judged(genuine, tee, judge, platform)
        cache.judgements.put(judged_by, known)
    return Proof(cast("Judgement", known), platform, proven, qe.key)


def _identified(platform: ProvenPlatform, collateral: ProvenCollateral, qe: ProvenQe, tee: Tee) -> Genuine:
    """Step 7. What it returns is genuine once step 8 has passed."""
    report = ReportBody.parse(qe.report)
    level = match_qe(report, collateral.documents.identity.content, tee.identity)
    return Genuine(platform=platform.extension, collateral=collateral, qe_report=report, qe_level=level)


def _judged(genuine: Genuine, tee: Tee, judge: Judge, platform: ProvenPlatform) -> Judgement:
    """Steps 9 to 12."""
    tcb, basis = judge(genuine)
    fmspc = platform.extension.fmspc.hex()
    if tcb.status is TcbStatus.REVOKED:
        raise TcbRevoked(tcb, fmspc, platform.root, basis, tee.name)
    return Judgement(tcb=tcb, basis=basis, fmspc=fmspc, expires=genuine.collateral.expires)


def _platform_and_collateral(request: Request) -> tuple[ProvenPlatform, ProvenCollateral, bytes]:
    """Steps 2 to 4, and the key of the collateral in the cache."""
    at, cache = request.at, request.cache
    platform, platform_known = _platform(request)  # step 2
    if not platform.start <= at <= platform.end:
        check_dates(platform.chain, PCK_CHAIN, at)

    pck, ca = platform.chain[0], platform.chain[1]
    key = request.collateral.digest + platform.issuer
    known = cache.collateral.get(key)
    revocations = known.revocations if known else Revocations.prove(request.collateral, ca, platform.root)  # step 3
    in_time = known is not None and known.start <= at <= known.end
    if not in_time:
        revocations.check_dates(at)
    revocations.check_by_root(ca, "pck-ca")
    revocations.check_by_ca(pck, "pck")
    if not platform_known:
        cache.platforms.put(platform.digest, platform)

    documents = (
        known.documents if known else Documents.prove(request.collateral, platform.root, platform.chain)
    )  # step 4
    if not in_time:
        documents.check(revocations, at)
    if known is None:
        known = ProvenCollateral(root=platform.root, revocations=revocations, documents=documents)
        cache.collateral.put(key, known)
    return platform, known, key


def _platform(request: Request) -> tuple[ProvenPlatform, bool]:
    """Step 2 without dates: from the cache (True), if the chain's root is one of this call's."""
    texts = _chain_texts(request.quote, request.collateral)
    digest = hashlib.sha256(b"\n".join(texts)).digest()
    known = request.cache.platforms.get(digest)
    if known is not None and known.root in request.roots:
        return known, True
    chain = parse_chain(texts[0], "pck-chain")
    if len(texts) > 1:  # the leaf alone, and its issuers from the collateral
        chain = chain[:1] + parse_chain(texts[1], "pck-crl-issuer-chain")
    root = prove_chain(chain, PCK_CHAIN, request.roots)
    return ProvenPlatform(digest=digest, chain=chain, root=root, extension=_extension(chain[0])), False


def _chain_texts(quote: Quote, collateral: Collateral) -> tuple[bytes, ...]:
    """Where the PCK's chain stands: in the quote, or in the collateral where the quote only names the platform."""
    certification = quote.authentication.certification
    if certification.type is CertificationType.PCK_CHAIN:
        return (certification.data,)
    if certification.type is CertificationType.PCK_LEAF:
        return certification.data, collateral.pck_crl_issuer_chain.encode("ascii")
    if certification.type in (CertificationType.QE_REPORT, CertificationType.PLATFORM_MANIFEST):
        raise Malformed(
            "certification-type", f"Certification data of type {certification.type} names no PCK.", _REGISTER
        )
    if collateral.pck_certificate_chain is None:
        raise Unverified(
            "pck-chain-missing",
            "The quote carries no certificates, and neither does the collateral.",
            "Add the platform's `pck_certificate_chain` to the collateral.",
        )
    return (collateral.pck_certificate_chain.encode("ascii"),)


def _extension(pck: Certificate) -> PckExtension:
    if SGX_EXTENSION not in pck.extensions:
        raise Malformed("pck-extension-missing", "The PCK certificate lacks the SGX extension.")
    return PckExtension.parse(pck.extensions[SGX_EXTENSION])


def _qe_key(platform: bytes, authentication: Authentication) -> bytes:
    """By which what is found in step 6 is kept: all that is looked at there."""
    parts = (
        platform,
        authentication.qe_report,
        authentication.qe_report_signature,
        authentication.attestation_key,
        authentication.qe_auth_data,
    )  # all but the last have one size, so that no two lists give the same bytes
    return hashlib.sha256(b"".join(parts)).digest()


def _identity_of(report: bytes) -> bytes:
    """All of a QE's report that step 7 looks at: MISCSELECT, ATTRIBUTES, MRSIGNER, ISVPRODID and ISVSVN."""
    return report[16:20] + report[48:64] + report[128:160] + report[256:260]
