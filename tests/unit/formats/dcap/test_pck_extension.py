from __future__ import annotations

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
