"""Step 3 of the verification: revocation."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from cryptography.hazmat.primitives.asymmetric import ec

from kloister.errors import Unverified
from kloister.formats.pki import Certificate, Crl
from kloister.trust.root import Root
from kloister.trust.verifier.chain import check_period
from kloister.trust.verifier.collateral import Collateral


@dataclass(frozen=True, slots=True)
class Revocations:
    """The two lists, their signatures verified. Dates and serial numbers are judged at each call."""

    of_root: Crl = field(repr=False)
    of_ca: Crl = field(repr=False)

    @classmethod
    def prove(cls, collateral: Collateral, ca: Certificate, root: Root) -> Self:
        """Verify who signed both lists.

        Raises:
            Unverified: `{list}-issuer`, `{list}-signature`, where list is `root-crl` or `pck-crl`.
        """
        of_root = _proven(collateral.root_ca_crl, root.subject, root.public_key, "root-crl")
        return cls(of_root, _proven(collateral.pck_crl, ca.subject, ca.public_key, "pck-crl"))

    @property
    def expires(self) -> datetime:
        """When the first of both lists ends."""
        return min(self.of_root.next_update, self.of_ca.next_update)

    @property
    def issued(self) -> datetime:
        """When the older of both lists was issued."""
        return min(self.of_root.this_update, self.of_ca.this_update)

    def check_dates(self, at: datetime) -> None:
        """Raises `Unverified`: `{list}-expired`, `{list}-not-yet-valid`."""
        for crl, code in ((self.of_root, "root-crl"), (self.of_ca, "pck-crl")):
            if not crl.this_update <= at <= crl.next_update:
                check_period(crl.this_update, crl.next_update, at, code, "revocation list")

    def check_by_root(self, certificate: Certificate, code: str) -> None:
        """Return unless the root revoked the certificate; `Unverified` with `{code}-revoked` otherwise."""
        _check(self.of_root, certificate, code)

    def check_by_ca(self, certificate: Certificate, code: str) -> None:
        """Return unless the PCK's CA revoked the certificate; `Unverified` with `{code}-revoked` otherwise."""
        _check(self.of_ca, certificate, code)


def _proven(text: str, issuer: bytes, key: ec.EllipticCurvePublicKey, code: str) -> Crl:
    crl = Crl.parse(text.encode("ascii"))
    if crl.issuer != issuer:
        raise Unverified(
            f"{code}-issuer",
            f"The revocation list ({code}) was issued by another CA.",
            "Fetch the list of the CA that issued this platform's certificate (platform or processor).",
        )
    crl.check_signed_by(key, f"{code}-signature", f"the revocation list ({code})")
    return crl


def _check(crl: Crl, certificate: Certificate, code: str) -> None:
    if crl.revokes(certificate.serial):
        raise Unverified(
            f"{code}-revoked",
            f'The certificate "{certificate.common_name}" (serial {certificate.serial:x}) is revoked.',
            "Its key may be in foreign hands; nothing that it vouches for can be trusted.",
        )
