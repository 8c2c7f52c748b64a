"""Verification of SEV-SNP reports, versions 2 to 5.

The steps, each with its own reason codes:

1. Parse the report.                                            `formats/snp/report.py`
2. VCEK or VLEK under ASK or ASVK under a pinned ARK, in date.  `endorsement.py`
3. The ARK's revocation list, if given; ASK not revoked.        `endorsement.py`
4. The product: by CPUID (version 3 and later), by the VEK certificate and by the ARK, one and the same.
5. The kind of key that the report says signed it is the kind of the certificate.
6. REPORTED_TCB is the TCB that the certificate was issued for, level by level.
7. CHIP_ID is the certificate's hardware id, for a VCEK and an unmasked CHIP_ID.
8. The report's signature by that key.

AMD defines no status of a TCB, and no relation of its four TCB versions is demanded here: policy judges levels.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime

from kloister.errors import Misused, Unverified
from kloister.formats.snp import HclBlob, Product, SigningKey, SnpReport, check_p384
from kloister.formats.snp.report import SIGNED_SIZE
from kloister.trust.amd_root import AmdRoot
from kloister.trust.evidence import _SEAL
from kloister.trust.snp_evidence import VerifiedSnp
from kloister.trust.verifier.cache import VerifierCache
from kloister.trust.verifier.endorsement import EndorsedKey, SnpEndorsement, endorsed_key

_FETCH = "Fetch the certificate again, for the chip id and REPORTED_TCB of this report."


def verify_snp(
    report: bytes,
    endorsement: SnpEndorsement,
    roots: Sequence[AmdRoot],
    at: datetime,
    cache: VerifierCache | None = None,
) -> VerifiedSnp:
    """The evidence in a report, if it is genuine at the time `at`. The steps are listed on top of this file.

    Args:
        report: the 1184 bytes.
        endorsement: certificates of the key that signed; untrusted.
        roots: who may vouch, for instance `AMD_ROOTS`.
        at: aware; every validity is judged at this instant, ends included.
        cache: the caller's, for calls that see the same endorsement again.

    Raises:
        Malformed: report or endorsement do not follow their formats.
        Unverified: not genuine.
    """
    return _verify(report, None, endorsement, roots, at, cache)


def verify_hcl(
    blob: bytes,
    endorsement: SnpEndorsement,
    roots: Sequence[AmdRoot],
    at: datetime,
    cache: VerifierCache | None = None,
) -> VerifiedSnp:
    """The evidence in an Azure HCL blob: its SNP report as in `verify_snp`, and the runtime data that this binds.

    Raises:
        Malformed: also `hcl-*`.
        Unverified: also `hcl-binding`, the report binds other runtime data.
    """
    parsed = HclBlob.parse(blob)
    parsed.claims()  # well-formed, before anybody relies on it
    verified = _verify(parsed.report, parsed.runtime, endorsement, roots, at, cache)
    if not hmac.compare_digest(parsed.binding, verified.report.report_data[: len(parsed.binding)]):
        raise Unverified(
            "hcl-binding",
            "The SNP report does not bind the runtime data that the HCL blob brings.",
            "The blob was put together from parts of others, or changed.",
        )
    return verified


def _verify(
    data: bytes,
    runtime: bytes | None,
    endorsement: SnpEndorsement,
    roots: Sequence[AmdRoot],
    at: datetime,
    cache: VerifierCache | None,
) -> VerifiedSnp:
    if at.tzinfo is None:
        raise Misused("time-naive", "The time of judgement must have a time zone.")
    report = SnpReport.parse(data)  # step 1
    digest = endorsement.digest
    endorsed = _endorsed(digest, endorsement, roots, cache)  # steps 2 and 3
    endorsed.check_periods(at)
    product = _product(report, endorsed)  # step 4
    _check_kind(report, endorsed)  # step 5
    _check_tcb(report, endorsed, product)  # step 6
    _check_chip(report, endorsed)  # step 7
    signed = data[:SIGNED_SIZE]
    check_p384(endorsed.key, report.r, report.s, signed, "snp-report-signature", "the report")  # step 8
    if cache is not None:
        cache.endorsements.put(digest, endorsed)
    return VerifiedSnp(
        seal=_SEAL,
        report=report,
        product=product,
        vek=endorsed.extensions,
        runtime=runtime,
        root=endorsed.root,
        collateral_expires=endorsed.expires,
    )


def _endorsed(
    digest: bytes, endorsement: SnpEndorsement, roots: Sequence[AmdRoot], cache: VerifierCache | None
) -> EndorsedKey:
    known = cache.endorsements.get(digest) if cache is not None else None
    if known is not None and known.root in roots:
        return known
    return endorsed_key(endorsement, roots)


def _product(report: SnpReport, endorsed: EndorsedKey) -> Product:
    """Step 4. A report of version 2 does not say its processor; the certificate does."""
    named = endorsed.extensions.product
    cpuid = report.cpuid
    product = named if cpuid is None else Product.of_cpuid(cpuid.family, cpuid.model)
    if product is None:
        seen = endorsed.extensions.product_name if cpuid is None else f"family {cpuid.family}, model {cpuid.model}"
        raise Unverified(
            "snp-product-unknown",
            f"The processor ({seen}) is of no product line that is known here.",
            "A newer processor needs a newer Kloister.",
        )
    if product != named or product != endorsed.root.product:
        raise Unverified(
            "snp-product",
            f"The report comes from {product}; its key was certified for {endorsed.extensions.product_name} "
            f"under {endorsed.root.name}.",
            "Fetch the certificates of this product line.",
        )
    return product


def _check_kind(report: SnpReport, endorsed: EndorsedKey) -> None:
    signing_key = report.flags.signing_key
    if signing_key == SigningKey.NONE:
        raise Unverified(
            "snp-report-unsigned", "The report says that no key signed it.", "The host masks the chip key."
        )
    if signing_key != endorsed.kind:
        names = {kind: kind.name for kind in SigningKey}
        raise Unverified(
            "snp-signing-key",
            f"The report says that its {names.get(SigningKey(signing_key)) if signing_key in names else signing_key} "
            f"signed it; the certificate is that of a {endorsed.kind.name}.",
            "Give the certificate of that kind of key, and its chain.",
        )


def _check_tcb(report: SnpReport, endorsed: EndorsedKey, product: Product) -> None:
    differences = endorsed.extensions.differences(report.reported_tcb, product)
    if differences:
        raise Unverified(
            "vek-tcb", f"The certificate is for another TCB than the report's: {', '.join(differences)}.", _FETCH
        )


def _check_chip(report: SnpReport, endorsed: EndorsedKey) -> None:
    if endorsed.kind is SigningKey.VLEK or not any(report.chip_id):
        return
    hwid = endorsed.extensions.hwid
    if hwid is None or not hmac.compare_digest(report.chip_id[: len(hwid)], hwid):
        raise Unverified("vek-hwid", "The certificate is for another chip than the report's.", _FETCH)
