from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.dcap import PckExtension
from kloister.formats.pki import der
from tests.support.evidence import code_of

flags = st.none() | st.booleans()
extensions = st.builds(
    PckExtension,
    ppid=st.binary(min_size=16, max_size=16),
    components=st.tuples(*[st.integers(0, 255)] * 16),
    pcesvn=st.integers(0, 65535),
    cpusvn=st.binary(min_size=16, max_size=16),
    pceid=st.binary(min_size=2, max_size=2),
    fmspc=st.binary(min_size=6, max_size=6),
    sgx_type=st.integers(0, 2),
    platform_instance_id=st.none() | st.binary(min_size=16, max_size=16),
    dynamic_platform=flags,
    cached_keys=flags,
    smt_enabled=flags,
)
PLAIN = PckExtension(
    ppid=bytes(16),
    components=(255, *range(15)),
    pcesvn=13,
    cpusvn=bytes(16),
    pceid=bytes(2),
    fmspc=bytes.fromhex("00906ea10000"),
    sgx_type=0,
)


@given(extensions)
def test_parse_reads_what_build_wrote(extension: PckExtension) -> None:
    assert PckExtension.parse(extension.build()) == extension


@given(extensions, st.data())
def test_a_cut_or_flipped_byte_is_malformed_or_read(extension: PckExtension, data: st.DataObject) -> None:
    damaged = bytearray(extension.build())
    at = data.draw(st.integers(0, len(damaged) - 1))
    if data.draw(st.booleans()):
        damaged = damaged[:at]
    else:
        damaged[at] ^= data.draw(st.integers(1, 255))
    try:
        read = PckExtension.parse(bytes(damaged))
    except Malformed:
        return
    assert read != extension


def _without(arc: int) -> bytes:
    fields = der.split(der.single(PLAIN.build(), der.SEQUENCE, "x"), "x")
    return der.encode(der.SEQUENCE, b"".join(der.encode(f.tag, f.content) for i, f in enumerate(fields, 1) if i != arc))


@pytest.mark.parametrize("arc", [1, 2, 3, 4, 5])
def test_no_field_may_be_missing(arc: int) -> None:
    assert code_of(lambda: PckExtension.parse(PLAIN.build())) == "accepted"
    assert code_of(lambda: PckExtension.parse(_without(arc))) == "pck-extension-field"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("04020000", "04010000"),  # PCEID of one byte, and a byte too many
        ("060a2a864886f84d010d0104", "060a2a864886f84d010d0103"),  # two fields .3, no .4
        ("060a2a864886f84d010d0105", "060a2a864886f84d010e0105"),  # a foreign identifier
        ("020200ff", "02020100"),  # component 1 of 256
    ],
)
def test_odd_fields_are_malformed(old: str, new: str) -> None:
    raw = PLAIN.build().hex()
    assert raw.count(old) == 1
    assert code_of(lambda: PckExtension.parse(bytes.fromhex(raw.replace(old, new)))) in (
        "pck-extension-field",
        "pck-extension-der",
    )


def test_fields_of_the_wrong_size_or_shape_are_malformed() -> None:
    short = PckExtension.build(PLAIN).replace(
        bytes.fromhex("040600906ea10000"), bytes.fromhex("040500906ea100") + b"\x05"
    )
    assert code_of(lambda: PckExtension.parse(short)) == "pck-extension-der"
    triple = der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, der.encode(der.INTEGER, b"\1") * 3))
    assert code_of(lambda: PckExtension.parse(triple)) == "pck-extension-field"
    field = bytes.fromhex("060a2a864886f84d010d0103")
    wrong_size = der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, field + der.encode(der.OCTET_STRING, b"\0")))
    whole = der.split(der.single(_without(3), der.SEQUENCE, "x"), "x")
    rest = b"".join(der.encode(each.tag, each.content) for each in whole)
    inner = der.single(wrong_size, der.SEQUENCE, "x")
    assert code_of(lambda: PckExtension.parse(der.encode(der.SEQUENCE, rest + inner))) == "pck-extension-field"


FULL = PckExtension(
    ppid=bytes(range(16)),
    components=tuple(range(0x21, 0x31)),
    pcesvn=0x1234,
    cpusvn=bytes(range(16, 32)),
    pceid=b"\x41\x42",
    fmspc=bytes(range(0x51, 0x57)),
    sgx_type=1,
    platform_instance_id=bytes(range(0x60, 0x70)),
    dynamic_platform=True,
    cached_keys=False,
    smt_enabled=True,
)


def test_each_field_stands_under_its_identifier() -> None:
    raw = FULL.build().hex()
    fields = {
        "01": "0410000102030405060708090a0b0c0d0e0f",
        "03": "04024142",
        "04": "0406515253545556",
        "05": "0a0101",
        "06": "0410606162636465666768696a6b6c6d6e6f",
    }
    inner = {f"02{arc:02x}": f"0201{0x20 + arc:02x}" for arc in range(1, 17)}
    inner |= {"0211": "02021234", "0212": "0410101112131415161718191a1b1c1d1e1f"}
    inner |= {"0701": "0101ff", "0702": "010100", "0703": "0101ff"}
    for arc, value in fields.items():
        assert raw.count(f"060a2a864886f84d010d01{arc}{value}") == 1
    for arcs, value in inner.items():
        assert raw.count(f"060b2a864886f84d010d01{arcs}{value}") == 1


@pytest.mark.parametrize(
    ("name", "size"), [("ppid", 16), ("cpusvn", 16), ("pceid", 2), ("fmspc", 6), ("platform_instance_id", 16)]
)
def test_octets_have_their_size(name: str, size: int) -> None:
    def code(length: int) -> str:
        changes: dict[str, Any] = {name: bytes(length)}
        return code_of(lambda: PckExtension.parse(replace(FULL, **changes).build()))

    found = [code(length) for length in (size - 1, size, size + 1)]
    assert found == ["pck-extension-field", "accepted", "pck-extension-field"]


@pytest.mark.parametrize("arc", range(16))
def test_a_component_is_one_byte(arc: int) -> None:
    def of(svn: int) -> bytes:
        components = FULL.components
        return replace(FULL, components=(*components[:arc], svn, *components[arc + 1 :])).build()

    assert PckExtension.parse(of(255)).components[arc] == 255
    assert code_of(lambda: PckExtension.parse(of(256))) == "pck-extension-field"


def test_the_pcesvn_is_two_bytes() -> None:
    assert PckExtension.parse(replace(FULL, pcesvn=0xFFFF).build()).pcesvn == 0xFFFF
    assert code_of(lambda: PckExtension.parse(replace(FULL, pcesvn=0x10000).build())) == "pck-extension-field"


def _row(arc: int, value: bytes, tag: int = der.SEQUENCE, kind: int = der.OBJECT_IDENTIFIER) -> bytes:
    identifier = bytes.fromhex("2a864886f84d010d01") + bytes([arc])
    return der.encode(tag, der.encode(kind, identifier) + value)


PPID = der.encode(der.OCTET_STRING, bytes(16))


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (_row(1, PPID), "accepted"),
        (_row(1, PPID) * 2, "pck-extension-field"),
        (_row(1, PPID + PPID), "pck-extension-field"),  # no pair
        (_row(1, b""), "pck-extension-der"),
        (_row(1, PPID[:-1]), "pck-extension-der"),
        (_row(1, PPID, tag=0x31), "pck-extension-der"),  # a SET
        (_row(1, PPID, kind=der.OCTET_STRING), "pck-extension-der"),
    ],
    ids=["fit", "twice", "three", "one", "cut", "tag", "identifier"],
)
def test_each_row_is_one_identifier_and_one_value(row: bytes, code: str) -> None:
    rest = der.single(_without(1), der.SEQUENCE, "x")
    assert code_of(lambda: PckExtension.parse(der.encode(der.SEQUENCE, row + rest))) == code


def test_a_flag_is_00_or_ff() -> None:
    raw = FULL.build().hex()
    flag = "060b2a864886f84d010d01070101"
    for value, read in (("ff", True), ("00", False)):
        changed = bytes.fromhex(raw.replace(f"{flag}01ff", f"{flag}01{value}"))
        assert PckExtension.parse(changed).dynamic_platform is read
    changed = bytes.fromhex(raw.replace(f"{flag}01ff", f"{flag}0101"))
    assert code_of(lambda: PckExtension.parse(changed)) == "pck-extension-der"
