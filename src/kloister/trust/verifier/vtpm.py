"""The quote of a confidential VM's virtual TPM on Azure, whose key the hardware's evidence vouches for.

Azure's blob holds the vTPM's attestation key (`HCLAkPub`) in its runtime data; the hardware report binds these. So
the key is as trustworthy as the paravisor that the report measures. The steps, each with its own reason code:

1. Parse the quote.                                           `formats/tpm/quote.py`
2. The attestation key is in the runtime data.                here
3. The signature over the quote by that key (RSASSA, SHA-256).
4. The registers that came with it are the ones it was made over.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from kloister.errors import Malformed, Unverified
from kloister.formats.tokens import Jwk
from kloister.formats.tpm import TpmQuote

_KEY = "HCLAkPub"
_REGISTERS = 24
_FOREIGN = "Somebody put the quote of another TPM, or of another moment, into this evidence; attest again."


@dataclass(frozen=True, slots=True)
class VtpmEvidence:
    """What came of the TPM: its quote, the signature over it, and registers; untrusted."""

    quote: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    registers: Sequence[bytes] = field(repr=False)  # all 24 of the SHA-256 bank, 32 bytes each


@dataclass(frozen=True, slots=True)
class VerifiedVtpm:
    """What the TPM vouches for: the asker's nonce, and the registers that were selected, by number."""

    nonce: bytes
    registers: tuple[tuple[int, bytes], ...]

    @property
    def claims(self) -> dict[str, str]:
        """`tpm_nonce` and `pcr0` and so on, hexadecimal."""
        return {"tpm_nonce": self.nonce.hex(), **{f"pcr{number}": value.hex() for number, value in self.registers}}


def verify_vtpm(evidence: VtpmEvidence, runtime: dict[str, Any]) -> VerifiedVtpm:
    """The TPM's quote, if the key in the runtime data, which somebody else vouches for, signed it.

    Raises:
        Malformed: `tpm-quote-*`, `jwk-*`.
        Unverified: `vtpm-key`, `vtpm-signature`, `vtpm-registers`.
    """
    quote = TpmQuote.parse(evidence.quote)  # step 1
    try:
        _attestation_key(runtime).verify(evidence.signature, evidence.quote, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise Unverified(
            "vtpm-signature", "The signature over the TPM's quote is not by the key of this VM's TPM.", _FOREIGN
        ) from None
    return VerifiedVtpm(quote.nonce, _checked(quote, evidence.registers))


def _attestation_key(runtime: dict[str, Any]) -> rsa.RSAPublicKey:
    keys = runtime.get("keys")
    for value in keys if isinstance(keys, list) else []:
        if isinstance(value, dict) and value.get("kid") == _KEY:
            key = Jwk.from_json({name: value[name] for name in ("kid", "kty", "n", "e") if name in value}).key
            if isinstance(key, rsa.RSAPublicKey):
                return key
    raise Unverified("vtpm-key", f"The runtime data hold no attestation key of a TPM ({_KEY}).", _FOREIGN)


def _checked(quote: TpmQuote, registers: Sequence[bytes]) -> tuple[tuple[int, bytes], ...]:
    """Step 4."""
    if len(registers) != _REGISTERS or any(len(one) != hashes.SHA256.digest_size for one in registers):
        raise Malformed("vtpm-registers-size", f"A TPM has {_REGISTERS} registers of 32 bytes in its SHA-256 bank.")
    numbers = [number for bank, selected in quote.selection if bank == TpmQuote.SHA256 for number in selected]
    others = [bank for bank, selected in quote.selection if bank != TpmQuote.SHA256 and selected]
    chosen = tuple((number, registers[number]) for number in numbers if number < _REGISTERS)
    digest = hashlib.sha256(b"".join(value for _, value in chosen)).digest()
    if others or len(chosen) != len(numbers) or not hmac.compare_digest(digest, quote.pcr_digest):
        raise Unverified(
            "vtpm-registers", "The registers are not the ones that the TPM's quote was made over.", _FOREIGN
        )
    return chosen
