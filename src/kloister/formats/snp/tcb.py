"""Products and the TCB numbers of each (AMD 57230, chapter 3; AMD 56860, TCB_VERSION)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Self

from kloister.errors import Malformed

_FAMILY_19H, _FAMILY_1AH = 0x19, 0x1A
# family -> (first model, last model, product line)
_MODELS = (
    (_FAMILY_19H, 0x00, 0x0F, "Milan"),
    (_FAMILY_19H, 0x10, 0x1F, "Genoa"),
    (_FAMILY_19H, 0xA0, 0xAF, "Genoa"),  # Bergamo and Siena
    (_FAMILY_1AH, 0x00, 0x11, "Turin"),
)


class Product(StrEnum):
    """A product line: what has an ARK of its own."""

    MILAN = "Milan"
    GENOA = "Genoa"
    TURIN = "Turin"

    @classmethod
    def of_cpuid(cls, family: int, model: int) -> Product | None:
        """The product line of a processor, by the combined family and model of CPUID."""
        found = [name for of, first, last, name in _MODELS if of == family and first <= model <= last]
        return cls(found[0]) if found else None

    @classmethod
    def of_name(cls, name: str) -> Product | None:
        """The product line in a product name with or without stepping: "Milan-B0", "Genoa"."""
        line = name.partition("-")[0]
        return cls(line) if line in set(cls) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tcb:
    """The security patch levels of a platform's firmware, each 0 to 255. Reserved bytes are not repeated here."""

    SIZE: ClassVar[int] = 8

    bootloader: int
    tee: int
    snp: int
    microcode: int
    fmc: int | None = None  # Turin only

    @classmethod
    def parse(cls, raw: bytes, product: Product) -> Self:
        """Read TCB_VERSION, 8 bytes, whose places depend on the product. Raises `Malformed`: `snp-tcb-size`."""
        if len(raw) != cls.SIZE:
            raise Malformed("snp-tcb-size", f"A TCB version has {cls.SIZE} bytes, not {len(raw)}.")
        if product is Product.TURIN:
            return cls(fmc=raw[0], bootloader=raw[1], tee=raw[2], snp=raw[3], microcode=raw[7])
        return cls(bootloader=raw[0], tee=raw[1], snp=raw[6], microcode=raw[7])

    def build(self) -> bytes:
        """The 8 bytes, reserved ones zero; with an FMC it is Turin's layout."""
        if self.fmc is not None:
            return bytes([self.fmc, self.bootloader, self.tee, self.snp, 0, 0, 0, self.microcode])
        return bytes([self.bootloader, self.tee, 0, 0, 0, 0, self.snp, self.microcode])

    def named(self) -> dict[str, int]:
        """The levels by name, the FMC only where there is one."""
        levels = {"bootloader": self.bootloader, "tee": self.tee, "snp": self.snp, "microcode": self.microcode}
        return levels if self.fmc is None else {"fmc": self.fmc, **levels}
