"""The bit fields of a report (AMD 56860, ATTESTATION_REPORT): guest policy, platform information, flags.

The whole number is kept, and bits without a name are tolerated: firmware sets new ones before any verifier knows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

_BYTE = 0xFF
_POLICY_BITS: Mapping[str, int] = {
    "smt": 16,
    "migrate_ma": 18,
    "debug": 19,
    "single_socket": 20,
    "cxl": 21,
    "mem_aes_256_xts": 22,
    "rapl_disabled": 23,
    "ciphertext_hiding": 24,
    "page_swap_disabled": 25,
}
_RESERVED_ONE = 17
_PLATFORM_BITS: Mapping[str, int] = {
    "smt": 0,
    "tsme": 1,
    "ecc": 2,
    "rapl_disabled": 3,
    "ciphertext_hiding": 4,
    "alias_check_complete": 5,
    "tio": 7,
}
_AUTHOR_KEY, _MASK_CHIP_KEY = 1, 2
_SIGNING_KEY_SHIFT, _SIGNING_KEY_MASK = 2, 0b111


class SigningKey(IntEnum):
    """Which key of the chip signed a report: bits 4:2 of the flags."""

    VCEK = 0  # of this chip and TCB
    VLEK = 1  # of a cloud provider, loaded into the chip
    NONE = 7


@dataclass(frozen=True, slots=True)
class GuestPolicy:
    """POLICY, 64 bits: what the guest's owner allows of the platform."""

    value: int

    @property
    def well_formed(self) -> bool:
        """Whether bit 17, which must be one, is."""
        return _bit(self.value, _RESERVED_ONE)

    @property
    def abi(self) -> str:
        """The lowest version of the firmware's interface that may run the guest, for instance "0.31"."""
        return f"{self.value >> 8 & _BYTE}.{self.value & _BYTE}"

    @property
    def debug(self) -> bool:
        """Whether the host may read and write the guest's memory."""
        return _bit(self.value, _POLICY_BITS["debug"])

    def named(self) -> dict[str, bool]:
        """Every bit that has a name."""
        return {name: _bit(self.value, bit) for name, bit in _POLICY_BITS.items()}


@dataclass(frozen=True, slots=True)
class PlatformInfo:
    """PLATFORM_INFO, 64 bits: how the machine is set up."""

    value: int

    def named(self) -> dict[str, bool]:
        """Every bit that has a name."""
        return {name: _bit(self.value, bit) for name, bit in _PLATFORM_BITS.items()}


@dataclass(frozen=True, slots=True)
class Flags:
    """The 32 bits at 0x48."""

    value: int

    @property
    def author_key(self) -> bool:
        """Whether the digest of an author key is in the report."""
        return bool(self.value & _AUTHOR_KEY)

    @property
    def mask_chip_key(self) -> bool:
        """Whether the chip was told not to use its own key."""
        return bool(self.value & _MASK_CHIP_KEY)

    @property
    def signing_key(self) -> int:
        """Bits 4:2; a `SigningKey`, or a number that AMD has not given a meaning."""
        return self.value >> _SIGNING_KEY_SHIFT & _SIGNING_KEY_MASK


def _bit(value: int, bit: int) -> bool:
    return bool(value >> bit & 1)
