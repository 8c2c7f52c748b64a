"""The SGX extension of PCK certificates. Source: Intel SGX PCK Certificate and CRL Profile, section 1.3.5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from kloister.errors import Malformed
from kloister.formats.pki import der

OID = "1.2.840.113741.1.13.1"
_OID = bytes.fromhex("2a864886f84d010d01")  # the same, as DER content
_WHAT = "pck-extension"
_PCESVN, _CPUSVN = 17, 18  # below .2; 1 to 16 are the components
COMPONENTS = 16
_MAX_SVN, _MAX_PCESVN = 0xFF, 0xFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class PckExtension:
    """What a PCK certificate says about its platform. Numbers behind fields are the last arcs of their identifiers."""

    ppid: bytes  # .1: 16
    components: tuple[int, ...]  # .2.1 to .2.16: SVNs 0..255; levels are matched on these, never on `cpusvn`
    pcesvn: int  # .2.17: u16
    cpusvn: bytes  # .2.18: 16
    pceid: bytes  # .3: 2
    fmspc: bytes  # .4: 6
    sgx_type: int  # .5: 0 standard, 1 scalable, 2 scalable with integrity
    platform_instance_id: bytes | None = None  # .6: 16, Platform CA only
    dynamic_platform: bool | None = None  # .7.1, Platform CA only, as the next two
    cached_keys: bool | None = None  # .7.2
    smt_enabled: bool | None = None  # .7.3

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the extension's content.

        Raises:
            Malformed: `pck-extension-der`, `pck-extension-field`.
        """
        fields = _table(der.single(data, der.SEQUENCE, _WHAT), _OID)
        tcb = _table(_content(fields, 2, der.SEQUENCE), _OID + b"\x02")
        configuration = _table(_content(fields, 7, der.SEQUENCE), _OID + b"\x07") if 7 in fields else {}  # noqa: PLR2004 -- arc .7
        components = tuple(_svn(tcb, arc, _MAX_SVN) for arc in range(1, COMPONENTS + 1))
        return cls(
            ppid=_octets(fields, 1, 16),
            components=components,
            pcesvn=_svn(tcb, _PCESVN, _MAX_PCESVN),
            cpusvn=_octets(tcb, _CPUSVN, 16),
            pceid=_octets(fields, 3, 2),
            fmspc=_octets(fields, 4, 6),
            sgx_type=der.unsigned(_element(fields, 5), der.ENUMERATED, _WHAT),
            platform_instance_id=_octets(fields, 6, 16) if 6 in fields else None,  # noqa: PLR2004 -- arc .6
            dynamic_platform=_flag(configuration, 1),
            cached_keys=_flag(configuration, 2),
            smt_enabled=_flag(configuration, 3),
        )

    def build(self) -> bytes:
        """The extension's content in DER."""
        tcb = [
            *(
                _field(b"\x02", arc, der.encode_unsigned(der.INTEGER, svn))
                for arc, svn in enumerate(self.components, 1)
            ),
            _field(b"\x02", _PCESVN, der.encode_unsigned(der.INTEGER, self.pcesvn)),
            _field(b"\x02", _CPUSVN, der.encode(der.OCTET_STRING, self.cpusvn)),
        ]
        fields = [
            _field(b"", 1, der.encode(der.OCTET_STRING, self.ppid)),
            _field(b"", 2, der.encode(der.SEQUENCE, b"".join(tcb))),
            _field(b"", 3, der.encode(der.OCTET_STRING, self.pceid)),
            _field(b"", 4, der.encode(der.OCTET_STRING, self.fmspc)),
            _field(b"", 5, der.encode_unsigned(der.ENUMERATED, self.sgx_type)),
        ]
        if self.platform_instance_id is not None:
            fields.append(_field(b"", 6, der.encode(der.OCTET_STRING, self.platform_instance_id)))
        flags = [
            _field(b"\x07", arc, der.encode_boolean(flag))
            for arc, flag in enumerate((self.dynamic_platform, self.cached_keys, self.smt_enabled), 1)
            if flag is not None
        ]
        if flags:
            fields.append(_field(b"", 7, der.encode(der.SEQUENCE, b"".join(flags))))
        return der.encode(der.SEQUENCE, b"".join(fields))


def _field(prefix: bytes, arc: int, value: bytes) -> bytes:
    return der.encode(der.SEQUENCE, der.encode(der.OBJECT_IDENTIFIER, _OID + prefix + bytes([arc])) + value)


def _table(content: bytes, prefix: bytes) -> Mapping[int, der.Element]:
    """A sequence of {identifier, value} by the last arc; identifiers must be below `prefix` and occur once."""
    table: dict[int, der.Element] = {}
    head = bytes((der.OBJECT_IDENTIFIER, len(prefix) + 1)) + prefix
    value_at, at = len(head) + 1, 0
    while at < len(content):
        start, end = der.content(content, at, _WHAT)
        row = content[start:end]
        if content[at] != der.SEQUENCE or not row.startswith(head):
            raise _unfit_row(content[at], row)
        start, last = der.content(row, value_at, _WHAT)
        arc = row[value_at - 1]
        if last != len(row) or arc in table:
            raise _unfit_row(content[at], row)
        table[arc] = der.Element(row[value_at], row[start:last])
        at = end
    return table


def _unfit_row(tag: int, row: bytes) -> Malformed:
    """What is wrong with a row that is not a pair, or whose identifier is foreign or stands there twice."""
    pair = der.split(der.expect(der.Element(tag, row), der.SEQUENCE, _WHAT), _WHAT)
    if len(pair) != 2:  # noqa: PLR2004 -- identifier and value
        return Malformed("pck-extension-field", "A field of the SGX extension is not a pair of identifier and value.")
    der.expect(pair[0], der.OBJECT_IDENTIFIER, _WHAT)
    return Malformed("pck-extension-field", "The SGX extension has a field that is foreign or stands there twice.")


def _element(table: Mapping[int, der.Element], arc: int) -> der.Element:
    if arc not in table:
        raise Malformed("pck-extension-field", f"The SGX extension lacks its field .{arc}.")
    return table[arc]


def _content(table: Mapping[int, der.Element], arc: int, tag: int) -> bytes:
    return der.expect(_element(table, arc), tag, _WHAT)


def _octets(table: Mapping[int, der.Element], arc: int, size: int) -> bytes:
    content = _content(table, arc, der.OCTET_STRING)
    if len(content) != size:
        raise Malformed(
            "pck-extension-field", f"Field .{arc} of the SGX extension has {len(content)} bytes, not {size}."
        )
    return content


def _svn(table: Mapping[int, der.Element], arc: int, limit: int) -> int:
    value = der.unsigned(_element(table, arc), der.INTEGER, _WHAT)
    if value > limit:
        raise Malformed("pck-extension-field", f"The SVN .2.{arc} of the SGX extension is above {limit}.")
    return value


def _flag(table: Mapping[int, der.Element], arc: int) -> bool | None:
    return der.boolean(table[arc], _WHAT) if arc in table else None
