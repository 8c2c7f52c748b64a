"""AMD's extensions in VCEK and VLEK certificates. Sources: AMD 57230, chapter 3; AMD's definition of the VLEK."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from kloister.errors import Malformed
from kloister.formats.pki import der
from kloister.formats.snp.tcb import Product

OID = bytes.fromhex("2b060104019c7801")  # 1.3.6.1.4.1.3704.1, as DER content; .3.N below are the patch levels
HWID_SIZES = (64, 8)  # bytes; 8 on Turin
_WHAT = "vek-extension"
_STRUCTURE, _PRODUCT, _LEVELS, _HWID, _CSP = b"\1", b"\2", b"\3", b"\4", b"\5"
_IA5_STRING = 0x16
_MAX_TEXT = 255  # bytes of a product name or CSP id; the longest seen has 29
_MAX_LEVEL = 0xFF
# Last arcs below .3 of the eight bytes of TCB_VERSION, in their order; what AMD has not named yet has an arc too.
_ARCS = (1, 2, 4, 5, 6, 7, 3, 8)
_ARCS_TURIN = (9, 1, 2, 3, 5, 6, 7, 8)
_NAMES = {1: "bootloader", 2: "TEE", 3: "SNP", 8: "microcode", 9: "FMC"}


@dataclass(frozen=True, slots=True, kw_only=True)
class VekExtensions:
    """What a VCEK or VLEK certificate says of the chip and its firmware. Numbers behind fields are the last arcs."""

    structure_version: int  # .1
    product_name: str  # .2
    levels: Mapping[int, int]  # .3.N: arc -> patch level, 0 to 255
    hwid: bytes | None = field(default=None, repr=False)  # .4: 64 bytes, on Turin 8; VCEK only
    csp_id: str | None = None  # .5: VLEK only

    @classmethod
    def parse(cls, extensions: Mapping[bytes, bytes]) -> Self:
        """Read them out of a certificate's extensions.

        Raises:
            Malformed: `vek-extension-field`, `vek-extension-der`.
        """
        if OID + _STRUCTURE not in extensions or OID + _PRODUCT not in extensions:
            raise _field("lacks its structure version or product name")
        return cls(
            structure_version=_unsigned(extensions[OID + _STRUCTURE]),
            product_name=_text(extensions[OID + _PRODUCT]),
            levels={oid[-1]: _unsigned(content) for oid, content in extensions.items() if oid[:-1] == OID + _LEVELS},
            hwid=_hwid(extensions[OID + _HWID]) if OID + _HWID in extensions else None,
            csp_id=_text(extensions[OID + _CSP]) if OID + _CSP in extensions else None,
        )

    def build(self) -> dict[bytes, bytes]:
        """The extensions' contents by identifier (DER contents); a HWID is written raw, as AMD does."""
        built = {
            OID + _STRUCTURE: der.encode_unsigned(der.INTEGER, self.structure_version),
            OID + _PRODUCT: der.encode(_IA5_STRING, self.product_name.encode("ascii")),
        }
        for arc, level in self.levels.items():
            built[OID + _LEVELS + bytes([arc])] = der.encode_unsigned(der.INTEGER, level)
        if self.hwid is not None:
            built[OID + _HWID] = self.hwid
        if self.csp_id is not None:
            built[OID + _CSP] = der.encode(_IA5_STRING, self.csp_id.encode("ascii"))
        return built

    @property
    def product(self) -> Product | None:
        """The product line that the name names, if it is known."""
        return Product.of_name(self.product_name)

    def differences(self, tcb: bytes, product: Product) -> list[str]:
        """The levels in which an 8-byte TCB version differs from this certificate, as words; an absent one is 0."""
        arcs = arcs_of(product)
        return [
            f"{_NAMES.get(arc, f'byte {at}')} {tcb[at]} (certificate: {self.levels.get(arc, 0)})"
            for at, arc in enumerate(arcs)
            if tcb[at] != self.levels.get(arc, 0)
        ]


def arcs_of(product: Product) -> tuple[int, ...]:
    """The last arcs below .3 of the eight bytes of a product's TCB version."""
    return _ARCS_TURIN if product is Product.TURIN else _ARCS


def _unsigned(content: bytes) -> int:
    value = der.unsigned(der.one(der.split(content, _WHAT), _WHAT), der.INTEGER, _WHAT)
    if value > _MAX_LEVEL:
        raise _field(f"holds the number {value}, above {_MAX_LEVEL}")
    return value


def _text(content: bytes) -> str:
    text = der.single(content, _IA5_STRING, _WHAT)
    if not 0 < len(text) <= _MAX_TEXT or not text.isascii() or not text.decode("ascii").isprintable():
        raise _field("holds a text that is empty, too long or not printable")
    return text.decode("ascii")


def _hwid(content: bytes) -> bytes:
    """Raw, or in an OCTET STRING: both occur."""
    if len(content) not in HWID_SIZES:
        content = der.single(content, der.OCTET_STRING, _WHAT)
    if len(content) not in HWID_SIZES:
        raise _field(f"holds a hardware id of {len(content)} bytes; 64 or 8 are known")
    return content


def _field(what: str) -> Malformed:
    return Malformed("vek-extension-field", f"The VEK certificate {what}.")
