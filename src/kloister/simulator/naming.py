"""How a quote names its platform: by the PCK certificate that it carries, or by what a PCCS knows that one under.

Source: Intel SGX ECDSA QuoteLib API A.4, certification data 1. What a quote is signed over ends before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from kloister.formats.dcap import CertificationData, CertificationType, PckExtension, Quote
from kloister.formats.dcap.pck_extension import OID as SGX_EXTENSION
from kloister.formats.pki import parse_chain

_QE_ID = 16  # bytes at the start of the header's user data


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformName:
    """The PCK certificate of a platform, and what it is asked for by."""

    qe_id: bytes  # 16
    pem: str = field(repr=False)  # the certificate
    issuers: str = field(repr=False)  # CA and root, PEM
    extension: PckExtension = field(repr=False)

    @classmethod
    def of(cls, quote: bytes) -> Self:
        """Of a simulated platform's quote, which carries the chain."""
        parsed = Quote.parse(quote)
        pck, *issuers = parse_chain(parsed.authentication.certification.data, "pck-chain")
        return cls(
            qe_id=parsed.header.user_data[:_QE_ID],
            pem=pck.pem(),
            issuers="".join(each.pem() for each in issuers),
            extension=PckExtension.parse(pck.extensions[SGX_EXTENSION]),
        )

    @property
    def ca(self) -> str:
        """Who issued it: the processor CA knows no platform instance."""
        return "processor" if self.extension.platform_instance_id is None else "platform"

    @property
    def svns(self) -> bytes:
        """CPUSVN (16) and PCESVN (2, little-endian)."""
        return self.extension.cpusvn + self.extension.pcesvn.to_bytes(2, "little")


def without_certificate(quote: bytes) -> bytes:
    """The same quote with PPID, CPUSVN, PCESVN and PCEID in the place of the PCK chain (certification data 1)."""
    parsed, name = Quote.parse(quote), PlatformName.of(quote)
    data = name.extension.ppid + name.svns + name.extension.pceid
    certification = CertificationData(type=CertificationType.PPID_PLAIN, data=data)
    return replace(parsed, authentication=replace(parsed.authentication, certification=certification)).build()
