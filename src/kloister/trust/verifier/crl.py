"""Step 3 of the verification: revocation."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from cryptography.hazmat.primitives.asymmetric import ec

from kloister.errors import Unverified
from kloister.formats.pki import Certificate, Crl, p256_key
from kloister.trust.root import Root
from kloister.trust.verifier.chain import check_period
from kloister.trust.verifier.collateral import Collateral


@dataclass(frozen=True, slots=True)
class Revocations:
    """The two lists, verified: serial numbers that the root and the PCK's CA have revoked."""

    by_root: frozenset[int] = field(repr=False)
    by_ca: frozenset[int] = field(repr=False)
    expires: datetime
    issued: datetime

    @classmethod
    def verify(cls, collateral: Collateral, ca: Certificate, root: Root, at: datetime) -> Self:
        """Verify both lists.

        Raises:
            Unverified: `{list}-issuer`, `{list}-signature`, `{list}-expired`, `{list}-not-yet-valid`, where list is
                `root-crl` or `pck-crl`.
        """
        of_root = _verified(collateral.root_ca_crl, root.subject, p256_key(root.point, "root"), at, "root-crl")
        of_ca = _verified(collateral.pck_crl, ca.subject, ca.public_key, at, "pck-crl")
        return cls(
            of_root.revoked,
            of_ca.revoked,
            expires=min(of_root.next_update, of_ca.next_update),
            issued=min(of_root.this_update, of_ca.this_update),
        )

    def check_by_root(self, certificate: Certificate, code: str) -> None:
        """Return unless the root revoked the certificate; `Unverified` with `{code}-revoked` otherwise."""
        _check(self.by_root, certificate, code)

    def check_by_ca(self, certificate: Certificate, code: str) -> None:
        """Return unless the PCK's CA revoked the certificate; `Unverified` with `{code}-revoked` otherwise."""
        _check(self.by_ca, certificate, code)


def _verified(text: str, issuer: bytes, key: ec.EllipticCurvePublicKey, at: datetime, code: str) -> Crl:
    crl = Crl.parse(text.encode("ascii"))
    if crl.issuer != issuer:
        raise Unverified(
            f"{code}-issuer",
            f"The revocation list ({code}) was issued by another CA.",
            "Fetch the list of the CA that issued this platform's certificate (platform or processor).",
        )
    crl.check_signed_by(key, f"{code}-signature", f"the revocation list ({code})")
    check_period(crl.this_update, crl.next_update, at, code, "revocation list")
    return crl


def _check(revoked: frozenset[int], certificate: Certificate, code: str) -> None:
    if certificate.serial in revoked:
        raise Unverified(
            f"{code}-revoked",
            f'The certificate "{certificate.common_name}" (serial {certificate.serial:x}) is revoked.',
            "Its key may be in foreign hands; nothing that it vouches for can be trusted.",
        )
