"""Verification of SGX quotes (versions 3, and 4 and 5 with an SGX body).

The steps, in the order of Intel's quote verification library, so that reasons agree with it. The TDX steps 10 and 12 of
the same list belong to `verify_tdx`, which is not written yet; step 13 is policy.

1. Parse the quote.                                   `formats/dcap/quote.py`
2. The PCK certificate's chain, to a pinned root.     `chain.py`
3. Both revocation lists; PCK and its CA not revoked. `crl.py`
4. TCB info and QE identity: signer, signature, date. `documents.py`
5. TCB info: this TEE, this FMSPC, this PCE.          `tcb.py`
6. QE report: signed by the PCK, binds the key.       `qe.py`
7. QE identity: this QE, and its level.               `qe.py`
8. The quote's signature by the attestation key.      here
9. The platform's level.                              `tcb.py`
11. Convergence of both levels; Revoked is refused.   `tcb.py`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from kloister.errors import Malformed, Misused, Unverified
from kloister.formats.dcap import BodyType, CertificationType, PckExtension, Quote, TcbStatus
from kloister.formats.dcap.pck_extension import OID as SGX_EXTENSION
from kloister.formats.pki import Certificate, check_signature, p256_key, parse_chain, raw_signature
from kloister.formats.sgx import Flag, ReportBody
from kloister.trust.evidence import _SEAL, TcbBasis, TcbResult, TcbRevoked, Verified
from kloister.trust.root import Root
from kloister.trust.verifier.chain import PCK_CHAIN, verify_chain
from kloister.trust.verifier.collateral import Collateral
from kloister.trust.verifier.crl import Revocations
from kloister.trust.verifier.documents import verify_qe_identity, verify_tcb_info
from kloister.trust.verifier.qe import match_qe, verify_qe_report
from kloister.trust.verifier.tcb import check_scope, converge, match_platform


def verify_sgx(quote: bytes, collateral: Collateral, roots: Sequence[Root], at: datetime) -> Verified:
    """The evidence in a quote, if it is genuine at the time `at`. The steps are listed on top of this file.

    Args:
        quote: raw bytes; padding after the signature data is accepted.
        collateral: documents for this platform's family; untrusted.
        roots: who may vouch: one of them must be at the end of every chain.
        at: aware; every validity is judged at this instant, ends included.

    Raises:
        Malformed: quote or collateral do not follow their formats.
        Unverified: not genuine; `TcbRevoked` if only because the TCB level is revoked.
    """
    if at.tzinfo is None:
        raise Misused("time-naive", "The time of judgement must have a time zone.")
    parsed = Quote.parse(quote)  # step 1
    if parsed.body_type is not BodyType.SGX:
        raise Unverified(
            "tee-not-supported",
            "This is a TDX quote; this version verifies SGX quotes only.",
            "Use a verifier for TDX until `kloister verify` has learnt it.",
        )
    chain = _pck_chain(parsed, collateral)
    root = verify_chain(chain, PCK_CHAIN, roots, at)  # step 2
    pck, ca = chain[0], chain[1]
    platform = _extension(pck)

    revocations = Revocations.verify(collateral, ca, root, at)  # step 3
    revocations.check_by_root(ca, "pck-ca")
    revocations.check_by_ca(pck, "pck")

    info = verify_tcb_info(collateral, [root], revocations, at)  # step 4: under the same root as the PCK
    identity = verify_qe_identity(collateral, [root], revocations, at)
    check_scope(info, platform, "SGX")  # step 5

    qe_report = verify_qe_report(parsed.authentication, pck)  # step 6
    qe_level = match_qe(qe_report, identity, "QE")  # step 7
    _verify_quote_signature(parsed)  # step 8

    level = match_platform(info, platform)  # step 9
    tcb = converge(info, level, [qe_level])  # step 11
    basis = TcbBasis(
        info=info,
        platform=platform,
        level=level,
        identity=identity,
        qe_isvsvn=qe_report.isvsvn,
        qe_level=qe_level,
        issued=min(revocations.issued, info.issue_date, identity.issue_date),
    )
    expires = min(revocations.expires, info.next_update, identity.next_update)
    return _result(parsed.report, basis, tcb, root, expires)


def _pck_chain(quote: Quote, collateral: Collateral) -> tuple[Certificate, ...]:
    """The PCK's chain: from the quote, or from the collateral where the quote only names the platform."""
    certification = quote.authentication.certification
    if certification.type is CertificationType.PCK_CHAIN:
        return parse_chain(certification.data, "pck-chain")
    if certification.type is CertificationType.PCK_LEAF:
        issuers = parse_chain(collateral.pck_crl_issuer_chain.encode("ascii"), "pck-crl-issuer-chain")
        return parse_chain(certification.data, "pck-chain")[:1] + issuers
    if certification.type in (CertificationType.QE_REPORT, CertificationType.PLATFORM_MANIFEST):
        raise Malformed("certification-type", f"Certification data of type {certification.type} names no PCK.")
    if collateral.pck_certificate_chain is None:
        raise Unverified(
            "pck-chain-missing",
            "The quote carries no certificates, and neither does the collateral.",
            "Add the platform's `pck_certificate_chain` to the collateral.",
        )
    return parse_chain(collateral.pck_certificate_chain.encode("ascii"), "pck-chain")


def _extension(pck: Certificate) -> PckExtension:
    if SGX_EXTENSION not in pck.extensions:
        raise Malformed("pck-extension-missing", "The PCK certificate lacks the SGX extension.")
    return PckExtension.parse(pck.extensions[SGX_EXTENSION])


def _verify_quote_signature(quote: Quote) -> None:
    key = p256_key(quote.authentication.attestation_key, "attestation-key")
    signature = raw_signature(quote.authentication.signature)
    check_signature(key, signature, quote.signed, "quote-signature", "the quote")


def _result(report: ReportBody, basis: TcbBasis, tcb: TcbResult, root: Root, expires: datetime) -> Verified:
    fmspc = basis.platform.fmspc.hex()
    if tcb.status is TcbStatus.REVOKED:
        raise TcbRevoked(tcb, fmspc, root, basis)
    return Verified(
        seal=_SEAL,
        tee="sgx",
        tcb=tcb,
        fmspc=fmspc,
        claims=_claims(report),
        report=report,
        root=root,
        collateral_expires=expires,
        basis=basis,
    )


def _claims(report: ReportBody) -> Mapping[str, str | int | bool]:
    return MappingProxyType(
        {
            "mrenclave": report.mrenclave.hex(),
            "mrsigner": report.mrsigner.hex(),
            "isvprodid": report.isvprodid,
            "isvsvn": report.isvsvn,
            "isvextprodid": report.isvextprodid.hex(),
            "isvfamilyid": report.isvfamilyid.hex(),
            "configid": report.configid.hex(),
            "configsvn": report.configsvn,
            "cpusvn": report.cpusvn.hex(),
            "miscselect": report.miscselect,
            "attributes": report.attributes.build().hex(),
            "debug": report.attributes.has(Flag.DEBUG),
            "report_data": report.report_data.hex(),
        }
    )
