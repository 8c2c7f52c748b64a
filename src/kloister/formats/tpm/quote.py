"""A TPM's quote: TPMS_ATTEST of the type TPM_ST_ATTEST_QUOTE.

Source: TCG, TPM 2.0 Library, Part 2 (structures): 10.12.8 TPMS_ATTEST, 10.12.1 TPMS_QUOTE_INFO, 10.9.7
TPML_PCR_SELECTION. All integers are big-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import ClassVar, Self

from kloister.errors import Malformed
from kloister.formats.wire import Cursor

_WHAT = "tpm-quote"
_MAGIC, _TYPE = 0xFF544347, 0x8018
_HEAD = struct.Struct(">IH")
_CLOCK = 17 + 8  # TPMS_CLOCK_INFO and the firmware's version
_MAX_SELECTIONS = 16  # a TPM has a handful of banks
_MAX_SELECT = 32  # bytes of a selection; 3 are 24 registers


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmQuote:
    """A quote, parsed; nothing about it has been verified. What is not looked at stays bytes, as it was signed."""

    SHA256: ClassVar[int] = 0x000B  # TPM_ALG_SHA256

    signer: bytes = b""  # qualifiedSigner
    nonce: bytes  # extraData: what the asker gave
    clock: bytes = field(default=bytes(_CLOCK), repr=False)  # and the firmware's version
    selection: tuple[tuple[int, tuple[int, ...]], ...]  # bank (algorithm) and numbers of its registers
    pcr_digest: bytes  # of the selected registers, one behind the other

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read all of it.

        Raises:
            Malformed: `tpm-quote-truncated`, `tpm-quote-trailing`, `tpm-quote-type`, `tpm-quote-selection`.
        """
        cursor = Cursor(data, _WHAT)
        magic, kind = _HEAD.unpack(cursor.take(_HEAD.size, "the head"))
        if (magic, kind) != (_MAGIC, _TYPE):
            raise Malformed("tpm-quote-type", "This is something else than a quote that a TPM made.")
        signer, nonce = _sized(cursor, "qualifiedSigner"), _sized(cursor, "extraData")
        clock = cursor.take(_CLOCK, "clockInfo")
        count = int.from_bytes(cursor.take(4, "the selection"), "big")
        if count > _MAX_SELECTIONS:
            raise Malformed("tpm-quote-selection", f"A TPM's quote selects registers of {count} banks.")
        selection = tuple(_selected(cursor) for _ in range(count))
        digest = _sized(cursor, "pcrDigest")
        cursor.finish()
        return cls(signer=signer, nonce=nonce, clock=clock, selection=selection, pcr_digest=digest)

    def build(self) -> bytes:
        """The bytes that a TPM signs."""
        banks = b"".join(
            bank.to_bytes(2, "big") + bytes([len(bits)]) + bits
            for bank, bits in ((bank, _bits(registers)) for bank, registers in self.selection)
        )
        sized = [len(part).to_bytes(2, "big") + part for part in (self.signer, self.nonce, self.pcr_digest)]
        head = _HEAD.pack(_MAGIC, _TYPE)
        return head + sized[0] + sized[1] + self.clock + len(self.selection).to_bytes(4, "big") + banks + sized[2]


def _sized(cursor: Cursor, name: str) -> bytes:
    return cursor.take(int.from_bytes(cursor.take(2, name), "big"), name)


def _selected(cursor: Cursor) -> tuple[int, tuple[int, ...]]:
    bank, size = int.from_bytes(cursor.take(2, "a bank"), "big"), cursor.take(1, "a selection")[0]
    if size > _MAX_SELECT:
        raise Malformed("tpm-quote-selection", f"A TPM's quote selects registers by {size} bytes.")
    bits = int.from_bytes(cursor.take(size, "a selection"), "little")
    return bank, tuple(number for number in range(8 * size) if bits >> number & 1)


def _bits(registers: tuple[int, ...]) -> bytes:
    size = max(3, max(registers, default=0) // 8 + 1)
    return sum(1 << number for number in registers).to_bytes(size, "little")
