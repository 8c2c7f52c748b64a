from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Self, cast

from cryptography.hazmat.primitives.asymmetric import ec

from kloister.errors import Unverified
from kloister.formats.pki import Certificate, p256_key

SIMULATED_MARK = "Kloister Simulator"  # stands in the common name of every simulator's root


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A root of trust, pinned by subject and public key, because one key may have several certificates.

    Intel's root exists as 2018..2033 and as 2018..2049 with one key, and both occur in real evidence.
    """

    name: str
    subject: bytes  # DER of the name
    point: bytes  # 64: x and y of the P-256 key, big-endian
    certificates: frozenset[bytes] = field(
        default=frozenset(), compare=False, repr=False
    )  # SHA-256 of its genuine ones
    _key: ec.EllipticCurvePublicKey | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def from_der(cls, der: bytes) -> Self:
        """The root that a self-signed CA certificate describes.

        Raises:
            Malformed: not a certificate.
            Unverified: `root-certificate`, not signed by itself or not a CA.
        """
        certificate = Certificate.parse(der)
        certificate.check_signed_by(certificate.public_key, "root-certificate")
        if certificate.subject != certificate.issuer or not certificate.is_ca:
            raise Unverified("root-certificate", "The certificate given as a root is not a self-signed CA.")
        return cls(
            name=certificate.common_name,
            subject=certificate.subject,
            point=certificate.spki[-64:],
            certificates=frozenset({hashlib.sha256(der).digest()}),
        )

    @property
    def simulated(self) -> bool:
        """Whether this is the root of a simulated platform: its quotes prove nothing about hardware."""
        return SIMULATED_MARK in self.name

    @property
    def fingerprint(self) -> str:
        """SHA-256 of subject and key, hexadecimal: a short name for people to compare."""
        return hashlib.sha256(self.subject + self.point).hexdigest()

    def matches(self, certificate: Certificate) -> bool:
        """Whether the certificate has this subject and this key."""
        return certificate.subject == self.subject and certificate.spki[-64:] == self.point

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The key, ready for use. Raises `Malformed`: `root-point`."""
        if self._key is None:
            object.__setattr__(self, "_key", p256_key(self.point, "root"))  # derived from `point`, made once
        return cast("ec.EllipticCurvePublicKey", self._key)

    def check_own(self, certificate: Certificate, code: str) -> None:
        """Return if a certificate with this subject and key is one that is known, or is signed with the key.

        Raises:
            Unverified: `code`.
        """
        if hashlib.sha256(certificate.der).digest() not in self.certificates:
            self.check_signed(certificate, code)

    def check_signed(self, certificate: Certificate, code: str) -> None:
        """Return if this root signed the certificate; `Unverified` with `code` otherwise."""
        certificate.check_signed_by(self.public_key, code)


# "Intel SGX Root CA", C=US, ST=CA, L=Santa Clara, O=Intel Corporation: subject and key as they stand in
# https://certificates.trustedservices.intel.com/IntelSGXRootCA.der and at the end of every issuer chain of Intel's PCS;
# taken from the collateral of vectors/evidence (174 chains, all with this one key).
INTEL_ROOT = Root(
    name="Intel SGX Root CA",
    subject=bytes.fromhex(
        "3068311a301806035504030c11496e74656c2053475820526f6f74204341311a3018060355040a0c11496e74656c20436f72706f7261"
        "74696f6e3114301206035504070c0b53616e746120436c617261310b300906035504080c024341310b3009060355040613025553"
    ),
    point=bytes.fromhex(
        "0ba9c4c0c0c86193a3fe23d6b02cda10a8bbd4e88e48b4458561a36e705525f5"
        "67918e2edc88e40d860bd0cc4ee26aacc988e505a953558c453f6b0904ae7394"
    ),
    certificates=frozenset(
        bytes.fromhex(digest)
        for digest in (
            "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3",  # 2018 to 2049
            "fc64f8076d79a4fee9d1d473d74c89eb8d8fd55c5abafeabeba7366d20429404",  # 2018 to 2033
        )
    ),
)
