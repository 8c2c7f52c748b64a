from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from kloister.errors import Malformed

MAX_FIELD = 8 * 1024 * 1024  # characters of one part; the largest real ones, CRLs, have some 10 thousand
_SHARED = (
    "tcb_info", "tcb_info_signature", "tcb_info_issuer_chain", "qe_identity", "qe_identity_signature",
    "qe_identity_issuer_chain", "pck_crl", "root_ca_crl",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Collateral:
    """What Intel publishes beside a quote, unparsed and untrusted: JSON texts, hexadecimal signatures, PEM, CRLs.

    CRLs are hexadecimal of DER, or PEM. `tcb_info` and `qe_identity` are the exact signed texts.
    """

    tcb_info: str = field(repr=False)
    tcb_info_signature: str
    tcb_info_issuer_chain: str = field(repr=False)
    qe_identity: str = field(repr=False)
    qe_identity_signature: str
    qe_identity_issuer_chain: str = field(repr=False)
    pck_crl: str = field(repr=False)
    pck_crl_issuer_chain: str = field(repr=False)
    root_ca_crl: str = field(repr=False)
    pck_certificate_chain: str | None = field(default=None, repr=False)  # for quotes that carry no certificates
    _digest: bytes = field(default=b"", init=False, repr=False, compare=False)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the parts that platforms share: all but the PCK's chain and its issuers. Computed once."""
        if not self._digest:
            state = hashlib.sha256()
            for name in _SHARED:
                part = getattr(self, name).encode("ascii")
                state.update(len(part).to_bytes(8, "big") + part)
            object.__setattr__(self, "_digest", state.digest())  # the parts never change
        return self._digest

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The parts out of one JSON object; other keys are left alone.

        Raises:
            Malformed: `collateral-field`, a part is missing, no text, or beyond the limit.
        """
        if not isinstance(document, Mapping):
            raise Malformed("collateral-field", "The collateral is not a JSON object.")
        parts: dict[str, Any] = {each.name: document.get(each.name) for each in fields(cls) if each.init}
        for name, value in parts.items():
            if value is None and name == "pck_certificate_chain":
                continue
            if not isinstance(value, str) or len(value) > MAX_FIELD or not value.isascii():
                raise Malformed(
                    "collateral-field",
                    f"The collateral's part {name} is missing, not text, or too large.",
                    "Collateral is one JSON object as `kloister simulator collateral` writes it.",
                )
        return cls(**parts)
