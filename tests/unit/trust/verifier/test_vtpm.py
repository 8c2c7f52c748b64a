from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from kloister.formats.tokens import jwk_of
from kloister.formats.tpm import TpmQuote
from kloister.trust.verifier.vtpm import VtpmEvidence, verify_vtpm
from tests.support.evidence import code_of
from tests.support.tokens import KEYS

REGISTERS = [bytes([number]) * 32 for number in range(24)]


def test_registers_that_are_divided_otherwise_are_refused_although_their_hash_is_the_same() -> None:
    key: Any = KEYS["RS256"]
    digest = hashlib.sha256(b"".join(REGISTERS)).digest()
    quote = TpmQuote(nonce=b"n", selection=((TpmQuote.SHA256, tuple(range(24))),), pcr_digest=digest).build()
    signature = key.sign(quote, padding.PKCS1v15(), hashes.SHA256())
    runtime = {"keys": [jwk_of(key.public_key(), "HCLAkPub")]}
    shifted = [REGISTERS[0][:-1], REGISTERS[0][-1:] + REGISTERS[1], *REGISTERS[2:]]
    for registers, code in ((REGISTERS, "accepted"), (shifted, "vtpm-registers-size")):
        assert code_of(partial(verify_vtpm, VtpmEvidence(quote, signature, registers), runtime)) == code
