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
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from kloister.errors import Malformed, Misused, Unverified
from kloister.formats.dcap import CertificationType, PckExtension, QeLevel, Quote
from kloister.formats.dcap.pck_extension import OID as SGX_EXTENSION
from kloister.formats.pki import Certificate, check_signature, parse_chain, raw_signature
from kloister.formats.sgx import ReportBody
from kloister.trust.evidence import TcbBasis
from kloister.trust.root import Root
from kloister.trust.verifier.cache import ProvenCollateral, ProvenPlatform, ProvenQe, VerifierCache
from kloister.trust.verifier.chain import PCK_CHAIN, check_dates, prove_chain
from kloister.trust.verifier.collateral import Collateral
from kloister.trust.verifier.crl import Revocations
from kloister.trust.verifier.documents import Documents
from kloister.trust.verifier.qe import match_qe, verify_qe_report
from kloister.trust.verifier.tcb import check_scope, match_platform


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
    root: Root
    qe_report: ReportBody
    qe_level: QeLevel

    @property
    def expires(self) -> datetime:
        """When the first part of the collateral ends."""
        documents = self.collateral.documents
        return min(
            self.collateral.revocations.expires,
            documents.info.content.next_update,
            documents.identity.content.next_update,
        )

    def basis(self, tee_tcb_svn: bytes | None = None, module_level: QeLevel | None = None) -> TcbBasis:
        """What the TCB result is judged from."""
        revocations, documents = self.collateral.revocations, self.collateral.documents
        info, identity = documents.info.content, documents.identity.content
        return TcbBasis(
            info=info,
            platform=self.platform,
            level=match_platform(info, self.platform, tee_tcb_svn),
            identity=identity,
            qe_isvsvn=self.qe_report.isvsvn,
            qe_level=self.qe_level,
            tee_tcb_svn=tee_tcb_svn,
            module_level=module_level,
            issued=min(revocations.issued, info.issue_date, identity.issue_date),
        )


def verify_signatures(request: Request, tee: str, identity_id: str) -> Genuine:
    """Steps 2 to 8.

    Args:
        request: what is asked.
        tee: the TCB info's `id`.
        identity_id: the QE identity's `id`.
    """
    platform, proven = _platform_and_collateral(request)  # steps 2 to 4
    documents = proven.documents
    check_scope(documents.info.content, platform.extension, tee)  # step 5
    key, qe = _quoting_enclave(request, platform)  # step 6
    level = match_qe(qe.report, documents.identity.content, identity_id)  # step 7
    request.cache.quoting_enclaves.put(key, qe)
    signature = raw_signature(request.quote.authentication.signature)
    check_signature(qe.key, signature, request.quote.signed, "quote-signature", "the quote")  # step 8
    return Genuine(
        platform=platform.extension, collateral=proven, root=platform.root, qe_report=qe.report, qe_level=level
    )


def _platform_and_collateral(request: Request) -> tuple[ProvenPlatform, ProvenCollateral]:
    at, cache = request.at, request.cache
    platform = _platform(request)  # step 2
    check_dates(platform.chain, PCK_CHAIN, at)

    pck, ca = platform.chain[0], platform.chain[1]
    key = request.collateral.digest + hashlib.sha256(ca.der).digest()
    known = cache.collateral.get(key)
    if known is not None and known.root != platform.root:
        known = None
    revocations = known.revocations if known else Revocations.prove(request.collateral, ca, platform.root)  # step 3
    revocations.check_dates(at)
    revocations.check_by_root(ca, "pck-ca")
    revocations.check_by_ca(pck, "pck")
    cache.platforms.put(platform.digest, platform)

    documents = known.documents if known else Documents.prove(request.collateral, platform.root)  # step 4
    documents.check(revocations, at)
    proven = known or ProvenCollateral(root=platform.root, revocations=revocations, documents=documents)
    cache.collateral.put(key, proven)
    return platform, proven


def _platform(request: Request) -> ProvenPlatform:
    """Step 2 without dates: from the cache, if the chain's root is one of this call's."""
    texts = _chain_texts(request.quote, request.collateral)
    digest = hashlib.sha256(b"\n".join(texts)).digest()
    known = request.cache.platforms.get(digest)
    if known is not None and known.root in request.roots:
        return known
    chain = parse_chain(texts[0], "pck-chain")
    if len(texts) > 1:  # the leaf alone, and its issuers from the collateral
        chain = chain[:1] + parse_chain(texts[1], "pck-crl-issuer-chain")
    root = prove_chain(chain, PCK_CHAIN, request.roots)
    return ProvenPlatform(digest=digest, chain=chain, root=root, extension=_extension(chain[0]))


def _chain_texts(quote: Quote, collateral: Collateral) -> tuple[bytes, ...]:
    """Where the PCK's chain stands: in the quote, or in the collateral where the quote only names the platform."""
    certification = quote.authentication.certification
    if certification.type is CertificationType.PCK_CHAIN:
        return (certification.data,)
    if certification.type is CertificationType.PCK_LEAF:
        return certification.data, collateral.pck_crl_issuer_chain.encode("ascii")
    if certification.type in (CertificationType.QE_REPORT, CertificationType.PLATFORM_MANIFEST):
        raise Malformed("certification-type", f"Certification data of type {certification.type} names no PCK.")
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


def _quoting_enclave(request: Request, platform: ProvenPlatform) -> tuple[bytes, ProvenQe]:
    """Step 6: from the cache, or verified; with the key to keep it by."""
    authentication = request.quote.authentication
    parts = (
        platform.digest,
        authentication.qe_report,
        authentication.qe_report_signature,
        authentication.attestation_key,
        authentication.qe_auth_data,
    )  # all but the last have one size, so that no two lists give the same bytes
    key = hashlib.sha256(b"".join(parts)).digest()
    return key, request.cache.quoting_enclaves.get(key) or verify_qe_report(authentication, platform.chain[0])
