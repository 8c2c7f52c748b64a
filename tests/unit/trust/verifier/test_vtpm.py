from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from kloister.formats.tokens import jwk_of
from kloister.formats.tpm import TpmQuote
from kloister.trust.verifier.vtpm import VtpmEvidence, verify_vtpm
from tests.support.evidence import code_of
from tests.support.tokens import KEYS

REGISTERS = [bytes([number]) * 32 for number in range(24)]


KEY: Any = KEYS["RS256"]
RUNTIME = {"keys": [jwk_of(KEY.public_key(), "HCLAkPub")]}
ALL = hashlib.sha256(b"".join(REGISTERS)).digest()
SHA1 = 0x0004  # TPM_ALG_SHA1
Selection = tuple[tuple[int, tuple[int, ...]], ...]
EVERY: Selection = ((TpmQuote.SHA256, tuple(range(24))),)


def code(
    selection: Selection = EVERY,
    digest: bytes = ALL,
    registers: Sequence[bytes] = REGISTERS,
    runtime: dict[str, Any] = RUNTIME,
) -> str:
    quote = TpmQuote(nonce=b"n", selection=selection, pcr_digest=digest).build()
    signature = KEY.sign(quote, padding.PKCS1v15(), hashes.SHA256())
    return code_of(lambda: verify_vtpm(VtpmEvidence(quote, signature, registers), runtime))


def test_registers_that_are_divided_otherwise_are_refused_although_their_hash_is_the_same() -> None:
    shifted = [REGISTERS[0][:-1], REGISTERS[0][-1:] + REGISTERS[1], *REGISTERS[2:]]
    assert code() == "accepted"
    assert code(registers=shifted) == "vtpm-registers-size"


def test_only_registers_of_the_sha_256_bank_are_vouched_for() -> None:
    assert code((*EVERY, (SHA1, ()))) == code(((SHA1, ()), *EVERY)) == "accepted"
    for selection in ((*EVERY, (SHA1, (0,))), ((SHA1, (0,)), *EVERY), ((TpmQuote.SHA256, tuple(range(25))),)):
        assert code(selection) == "vtpm-registers"  # although the digest is that of the 24


def test_keys_that_are_none_are_passed_over() -> None:
    others = ["HCLAkPub", 5, None, {"kid": "another"}]
    assert code(runtime={"keys": [*others, *RUNTIME["keys"]]}) == "accepted"
    none: list[Any] = [others, {}, 5, None]
    assert {code(runtime={"keys": keys}) for keys in none} == {code(runtime={})} == {"vtpm-key"}
