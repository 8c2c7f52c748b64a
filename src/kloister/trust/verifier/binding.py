"""What genuine evidence was made for: a TLS key, a key broker's session. The quote's report data must say so."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from kloister.errors import Unverified
from kloister.formats.ratls import RatlsCertificate
from kloister.formats.wire import canonical_json

_REPORT_DATA = 64  # bytes
_SHORT = 32  # bytes of a nonce of a TPM, for which a longer hash is cut (KBS protocol, "Attestation")


class Binding(Protocol):
    """Something that evidence was delivered with and must speak of."""

    def check(self, report_data: bytes, at: datetime) -> None:
        """Return if the report data bind it and it holds at the time `at`; `Unverified` otherwise.

        The nonce of a TPM's quote stands in the place of report data, where that is what the asker gave it.
        """


@dataclass(frozen=True, slots=True)
class RatlsBinding:
    """The certificate in which the evidence stood. Source: Gramine RA-TLS; TCG DICE tagged evidence."""

    certificate: RatlsCertificate

    def check(self, report_data: bytes, at: datetime) -> None:
        """Whether the quote vouches for the certificate's key.

        Raises:
            Unverified: `ratls-key-mismatch`, `ratls-report-data`, `ratls-signature`, `ratls-not-yet-valid`,
                `ratls-expired`.
        """
        one = self.certificate
        if not one.evidence.binds_key(one.spki):
            raise Unverified(
                "ratls-key-mismatch",
                "The claims in the certificate are about another key than the certificate's.",
                "Somebody put foreign evidence into this certificate; do not trust its holder.",
            )
        if not hmac.compare_digest(one.evidence.report_data(one.spki), report_data):
            raise Unverified(
                "ratls-report-data",
                "The quote in the certificate was made for another key: its report data do not hold the key's hash.",
                "Somebody put foreign evidence into this certificate; do not trust its holder.",
            )
        one.check_signature()
        if at < one.not_before:
            raise Unverified("ratls-not-yet-valid", f"The certificate is valid from {one.not_before:%Y-%m-%d} on.")
        if at > one.not_after:
            raise Unverified("ratls-expired", f"The certificate was valid until {one.not_after:%Y-%m-%d}.")


@dataclass(frozen=True, slots=True)
class KbsBinding:
    """The session data of a key broker's attestation request. Source: KBS protocol 0.4.0, "Attestation"."""

    expected: bytes  # SHA-384, 48 bytes

    @classmethod
    def of(cls, runtime_data: dict[str, Any], additional_evidence: str) -> KbsBinding:
        """The hash of nonce, key and further evidence in canonical JSON (RFC 8785)."""
        bound = {
            "additional-evidence": additional_evidence,
            "nonce": runtime_data.get("nonce"),
            "tee-pubkey": runtime_data.get("tee-pubkey"),
        }
        return cls(hashlib.sha384(canonical_json(bound)).digest())

    def check(self, report_data: bytes, at: datetime) -> None:  # noqa: ARG002 -- a session has no dates of its own
        """Whether the quote was made for this session. Raises `Unverified`: `kbs-report-data`."""
        size = _SHORT if len(report_data) == _SHORT else _REPORT_DATA
        expected = self.expected.ljust(_REPORT_DATA, b"\0")[:size]
        if not hmac.compare_digest(expected, report_data.ljust(size, b"\0")):
            raise Unverified(
                "kbs-report-data",
                "The quote was made for another session: its report data do not hold the hash of nonce and key.",
                "Nothing allows another session's quote; attest again.",
            )
