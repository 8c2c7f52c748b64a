"""Steps 2 and 3 of the verification of SNP reports: who vouches for the key that signed, and is it revoked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import ec

from kloister.errors import Unverified
from kloister.formats.snp import AmdCertificate, AmdCrl, SigningKey, VekExtensions, check_pss, parse_certificates
from kloister.formats.wire import length_prefixed
from kloister.trust.amd_root import AmdRoot
from kloister.trust.verifier.chain import check_period

_ROLES = {"SEV-VCEK": SigningKey.VCEK, "SEV-VLEK": SigningKey.VLEK}
_ISSUERS = {SigningKey.VCEK: "SEV-", SigningKey.VLEK: "SEV-VLEK-"}  # and the product line


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpEndorsement:
    """What AMD publishes for the key of a chip, unparsed and untrusted; certificates in DER or PEM.

    Attributes:
        vek: the VCEK or VLEK certificate.
        chain: ASK (or ASVK) and ARK in any order; the ARK may be absent, others may be there too.
        crl: the ARK's revocation list, DER or PEM; None: revocation is not judged.
    """

    vek: bytes = field(repr=False)
    chain: bytes = field(repr=False)
    crl: bytes | None = field(default=None, repr=False)

    @property
    def digest(self) -> bytes:
        """SHA-256 over every part: the key of a cache."""
        return hashlib.sha256(length_prefixed([self.vek, self.chain, self.crl or b""])).digest()


@dataclass(frozen=True, slots=True)
class Period:
    """When a part of the endorsement is valid, and what to call it."""

    start: datetime
    end: datetime
    code: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndorsedKey:
    """A key that AMD vouches for, whatever the time; `check_periods` judges the time."""

    key: ec.EllipticCurvePublicKey = field(repr=False, compare=False)
    kind: SigningKey
    extensions: VekExtensions = field(repr=False)
    root: AmdRoot
    periods: tuple[Period, ...] = field(repr=False)

    def check_periods(self, at: datetime) -> None:
        """Return if every part is valid at `at`; `Unverified` with `{part}-expired`, `{part}-not-yet-valid`."""
        for period in self.periods:
            check_period(period.start, period.end, at, period.code, period.what)

    @property
    def expires(self) -> datetime:
        """When the first part ends."""
        return min(period.end for period in self.periods)


def endorsed_key(endorsement: SnpEndorsement, roots: Sequence[AmdRoot]) -> EndorsedKey:
    """The key that the endorsement vouches for, at a time that its periods allow.

    Raises:
        Malformed: `vek-*`, `ask-chain-*`, `amd-*`, `vek-extension-*`.
        Unverified: `{part}-role`, `{part}-issuer`, `{part}-signature`, `{part}-usage`, where part is `vek`, `ask` or
            `ark`; `root-untrusted`; `ark-crl-issuer`, `ark-crl-signature`; `ask-revoked`.
    """
    vek = _single(parse_certificates(endorsement.vek, "vek"))
    chain = parse_certificates(endorsement.chain, "ask-chain")
    kind = _kind(vek)
    ask = _issuer_of(vek, chain)
    root, arks = _root_of(ask, chain, roots)
    _check_role(ask, kind, root)
    _check_ca(ask, "ask", "ASK")
    check_pss(root.key, ask.signature, ask.tbs, "ask-signature", f'the certificate "{ask.common_name}"')
    check_pss(ask.rsa_key, vek.signature, vek.tbs, "vek-signature", f'the certificate "{vek.common_name}"')
    if vek.is_ca:
        raise Unverified("vek-usage", "The VEK certificate is that of an issuer; it may not sign reports.")
    periods = [_period(vek, "vek", "VEK certificate"), _period(ask, "ask", "ASK certificate")]
    periods += [_period(ark, "ark", "ARK certificate") for ark in arks]
    if endorsement.crl is not None:
        periods.append(_check_revocation(AmdCrl.parse(endorsement.crl), ask, root))
    return EndorsedKey(
        key=vek.p384_key,
        kind=kind,
        extensions=VekExtensions.parse(vek.extensions),
        root=root,
        periods=tuple(periods),
    )


def _single(certificates: Sequence[AmdCertificate]) -> AmdCertificate:
    if len(certificates) != 1:
        raise Unverified(
            "vek-single",
            f"{len(certificates)} certificates stand where the one of the VCEK or VLEK belongs.",
            "Give the issuers' certificates as the chain.",
        )
    return certificates[0]


def _kind(vek: AmdCertificate) -> SigningKey:
    if vek.common_name not in _ROLES:
        raise Unverified(
            "vek-role",
            f'The certificate "{vek.common_name}" stands where a VCEK or VLEK belongs.',
            "Give the certificate of the chip's key (--vek), and its issuers as the chain.",
        )
    return _ROLES[vek.common_name]


def _issuer_of(vek: AmdCertificate, chain: Sequence[AmdCertificate]) -> AmdCertificate:
    for certificate in chain:
        if certificate.subject == vek.issuer:
            return certificate
    raise Unverified(
        "vek-issuer",
        "The chain does not hold the certificate that issued the VEK.",
        "Fetch the chain of this product line and kind of key (vcek or vlek).",
    )


def _root_of(
    ask: AmdCertificate, chain: Sequence[AmdCertificate], roots: Sequence[AmdRoot]
) -> tuple[AmdRoot, list[AmdCertificate]]:
    """The pinned root that the ASK names, and its certificate where the chain holds it."""
    arks = [certificate for certificate in chain if certificate.subject == ask.issuer]
    for root in roots:
        if root.subject == ask.issuer and all(root.matches(ark) for ark in arks):
            for ark in arks:
                _check_ark(ark, root)
            return root, arks
    raise Unverified(
        "root-untrusted",
        f'The issuer of "{ask.common_name}" is not a root that is trusted here.',
        "If this root is to be trusted, name its certificate (--root FILE).",
    )


def _check_ark(ark: AmdCertificate, root: AmdRoot) -> None:
    if ark.issuer != root.subject:
        raise Unverified("ark-issuer", "The ARK certificate was issued by another than itself.")
    _check_ca(ark, "ark", "ARK")
    check_pss(root.key, ark.signature, ark.tbs, "ark-signature", f'the certificate "{ark.common_name}"')


def _check_role(ask: AmdCertificate, kind: SigningKey, root: AmdRoot) -> None:
    wanted = _ISSUERS[kind] + (root.product or "?")
    if ask.common_name != wanted:
        raise Unverified("ask-role", f'The certificate "{ask.common_name}" stands where one named "{wanted}" belongs.')


def _check_ca(certificate: AmdCertificate, code: str, what: str) -> None:
    if not (certificate.is_ca and certificate.may_sign_certificates):
        raise Unverified(f"{code}-usage", f"The {what} certificate may not be used to sign certificates.")


def _period(certificate: AmdCertificate, code: str, what: str) -> Period:
    return Period(certificate.not_before, certificate.not_after, code, what)


def _check_revocation(crl: AmdCrl, ask: AmdCertificate, root: AmdRoot) -> Period:
    """Step 3: the ARK signed the list, and the ASK is not on it. VEKs, all of serial number 0, cannot be."""
    if crl.issuer != root.subject:
        raise Unverified("ark-crl-issuer", "The revocation list was issued by another than the ARK.")
    crl.check_signed_by(root.key, "ark-crl-signature")
    if ask.serial in crl.revoked:
        raise Unverified(
            "ask-revoked",
            f'The certificate "{ask.common_name}" (serial {ask.serial:x}) is revoked.',
            "Its key may be in foreign hands; nothing that it vouches for can be trusted.",
        )
    return Period(crl.this_update, crl.next_update, "ark-crl", "revocation list")
