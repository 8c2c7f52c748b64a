from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.sgx import Attributes, Flag, KeyRequest, Report, ReportBody, Secs, TargetInfo, Tcs


def uint(size: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << 8 * size) - 1)


def raw(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


attributes = st.builds(Attributes, uint(8), uint(8))
bodies = st.builds(
    ReportBody,
    cpusvn=raw(16),
    attributes=attributes,
    mrenclave=raw(32),
    mrsigner=raw(32),
    isvprodid=uint(2),
    isvsvn=uint(2),
    report_data=raw(64),
    miscselect=uint(4),
    cet_attributes=uint(1),
    isvextprodid=raw(16),
    configid=raw(64),
    configsvn=uint(2),
    isvfamilyid=raw(16),
)
structures: dict[type, st.SearchStrategy[Any]] = {
    Attributes: attributes,
    ReportBody: bodies,
    Report: st.builds(Report, bodies, raw(32), raw(16)),
    TargetInfo: st.builds(TargetInfo, raw(32), attributes, uint(1), uint(2), uint(4), raw(64)),
    KeyRequest: st.builds(
        KeyRequest, uint(2), uint(2), uint(2), uint(1), raw(16), attributes, raw(32), uint(4), uint(2)
    ),
    Tcs: st.builds(Tcs, uint(8), uint(4), uint(8), uint(8), uint(8), uint(4), uint(4), uint(8), uint(4)),
    Secs: st.builds(
        Secs,
        size=uint(8),
        attributes=attributes,
        base=uint(8),
        ssa_frame_pages=uint(4),
        miscselect=uint(4),
        cet_legacy_bitmap=uint(8),
        cet_attributes=uint(1),
        mrenclave=raw(32),
        mrsigner=raw(32),
        configid=raw(64),
        isvprodid=uint(2),
        isvsvn=uint(2),
        configsvn=uint(2),
    ),
}
SIZES = {Attributes: 16, ReportBody: 384, Report: 432, TargetInfo: 512, KeyRequest: 512, Tcs: 4096, Secs: 4096}
RESERVED = [
    (ReportBody, 21, 32),
    (ReportBody, 96, 128),
    (ReportBody, 160, 192),
    (ReportBody, 262, 304),
    (TargetInfo, 49, 50),
    (TargetInfo, 56, 64),
    (TargetInfo, 128, 512),
    (KeyRequest, 7, 8),
    (KeyRequest, 78, 512),
    (Tcs, 0, 8),
    (Tcs, 40, 48),
    (Tcs, 72, 4096),
    (Secs, 33, 48),
    (Secs, 96, 128),
    (Secs, 160, 192),
    (Secs, 262, 4096),
]
kinds = pytest.mark.parametrize("kind", structures, ids=lambda kind: kind.__name__)


@kinds
@given(data=st.data())
def test_what_was_built_parses_to_the_same(kind: Any, data: st.DataObject) -> None:
    value = data.draw(structures[kind])
    built = value.build()
    assert len(built) == SIZES[kind] == kind.SIZE
    assert kind.parse(built) == value


@kinds
@given(data=st.data())
def test_any_other_size_is_malformed(kind: Any, data: st.DataObject) -> None:
    built = data.draw(structures[kind]).build()
    cut = data.draw(st.integers(0, len(built) - 1))
    for wrong in (built[:cut], built + b"\0"):
        with pytest.raises(Malformed) as refused:
            kind.parse(wrong)
        assert refused.value.code.endswith(("-truncated", "-trailing", "-reserved"))


@kinds
@given(data=st.data())
def test_a_flipped_bit_is_malformed_or_another_value(kind: Any, data: st.DataObject) -> None:
    value = data.draw(structures[kind])
    changed = bytearray(value.build())
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        parsed = kind.parse(bytes(changed))
    except Malformed as refused:
        assert refused.code.endswith("-reserved")  # noqa: PT017 -- a field's flip parses, a reserved one's does not
    else:
        assert parsed != value
        assert parsed.build() == changed


@pytest.mark.parametrize(("kind", "start", "end"), RESERVED)
def test_reserved_bytes_must_be_zero(kind: Any, start: int, end: int) -> None:
    zero = kind.parse(bytes(kind.SIZE))
    for at in (start, end - 1):
        data = bytearray(zero.build())
        data[at] = 1
        with pytest.raises(Malformed, match="must be zero"):
            kind.parse(bytes(data))


@pytest.mark.parametrize(
    ("make", "offset", "size"),
    [
        (lambda: ReportBody.parse(bytes(384)), 320, 64),
        (lambda: Report.parse(bytes(432)), 416, 16),
    ],
)
def test_the_last_field_stands_where_the_specification_says(
    make: Callable[[], ReportBody | Report], offset: int, size: int
) -> None:
    value = make()
    name = {64: "report_data", 16: "mac"}[size]
    changed = type(value).parse(bytes(offset) + b"\xab" * size)
    assert getattr(changed, name) == b"\xab" * size
    assert getattr(value, name) == bytes(size)


def test_attributes_are_masked_bit_by_bit_and_know_their_flags() -> None:
    both = Attributes(Flag.DEBUG | Flag.MODE64BIT, 0xE7)
    assert both & Attributes(Flag.DEBUG, 0x3) == Attributes(Flag.DEBUG, 0x3)
    assert both.has(Flag.DEBUG)
    assert not both.has(Flag.DEBUG | Flag.KSS)
