from __future__ import annotations

import io
import tarfile
from contextlib import suppress
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Misused
from kloister.formats.oci.tar import BLOCK, END, TarHeader, TarKind, build_header, parse_header, parse_pax, with_pax

names = st.binary(min_size=1, max_size=300).filter(lambda raw: b"\0" not in raw and not raw.endswith(b"/"))
headers = st.builds(
    TarHeader,
    names,
    st.sampled_from([TarKind.FILE, TarKind.SYMLINK, TarKind.HARDLINK, TarKind.DIRECTORY]),
    st.integers(0, 0o7777),
    st.integers(0, 2**40),
    st.integers(0, 2**40),
    st.integers(0, 2**50),
    st.integers(-(2**40), 2**50),
    names,
)

FORMATS: list[Literal[0, 1]] = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT]


def read(data: bytes) -> TarHeader:
    header = parse_header(data[:BLOCK])
    if header.kind is not TarKind.PAX:
        assert len(data) == BLOCK
        return header
    return with_pax(parse_header(data[-BLOCK:]), parse_pax(data[BLOCK : BLOCK + header.size]))


@given(headers)
def test_a_header_reads_back_as_itself(header: TarHeader) -> None:
    assert read(build_header(header)) == header


@given(headers)
def test_python_reads_the_same(header: TarHeader) -> None:
    data = build_header(header) + END * 20
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
        member = archive.next()
    assert member is not None
    assert member.name.encode("utf-8", "surrogateescape") == header.name.rstrip(b"/")
    assert (member.mode, member.uid, member.gid, member.size) == (header.mode, header.uid, header.gid, header.size)
    assert int(member.mtime) == header.mtime


@given(headers, st.sampled_from(FORMATS))
def test_what_python_writes_is_read(header: TarHeader, form: Literal[0, 1]) -> None:
    info = tarfile.TarInfo("a/" * 20 + "file")
    info.uid, info.size, info.mtime, info.mode = (
        header.uid % 8**7,
        header.size % 8**11,
        abs(header.mtime) % 8**11,
        header.mode,
    )
    if form == tarfile.GNU_FORMAT:
        info.uid, info.size, info.mtime = header.uid, header.size, header.mtime  # base 256, where octal does not fit
    parsed = parse_header(info.tobuf(form)[-BLOCK:])
    assert (parsed.name, parsed.uid, parsed.size, parsed.mtime) == (info.name.encode(), info.uid, info.size, info.mtime)


@given(headers, st.integers(0, BLOCK - 1), st.integers(1, 255))
def test_a_flipped_byte_is_found_by_the_checksum(header: TarHeader, at: int, flip: int) -> None:
    block = bytearray(build_header(header)[-BLOCK:])
    before = parse_header(bytes(block))
    block[at] ^= flip
    with suppress(Malformed):
        assert parse_header(bytes(block)) == before  # the checksum's own spaces and zeros have several forms
        assert 148 <= at < 156


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read_as_pax(data: bytes) -> None:
    with suppress(Malformed):
        with_pax(TarHeader(b"a", TarKind.FILE), parse_pax(data))


@pytest.mark.parametrize("data", [b"5 a=\n", b"6 a=b\n", b"12 path=abc\n\n"[:12], b"20 mtime=1234567890.5\n"[:0]])
def test_whole_records_are_read_and_cut_ones_refused(data: bytes) -> None:
    parse_pax(data)
    if data:
        with pytest.raises(Malformed):
            parse_pax(data[:-1])


@pytest.mark.parametrize(
    ("records", "code"),
    [
        ({b"size": b"-1"}, "layer-pax"),
        ({b"uid": b"x"}, "layer-pax"),
        ({b"gid": b"9" * 30}, "layer-pax"),
        ({b"mtime": b"1.x"}, "layer-pax"),
        ({b"mtime": b"now"}, "layer-pax"),
        ({b"GNU.sparse.major": b"1"}, "layer-entry-type"),
    ],
)
def test_wrong_records_are_refused(records: dict[bytes, bytes], code: str) -> None:
    header = TarHeader(b"a", TarKind.FILE)
    assert with_pax(header, {b"mtime": b"-1.5"}).mtime == -2
    assert with_pax(header, {b"mtime": b"7.999"}).mtime == 7
    with pytest.raises(Malformed) as caught:
        with_pax(header, records)
    assert caught.value.code == code


def _sealed(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    ("offset", "value", "code"),
    [
        (156, b"S", "layer-entry-type"),
        (156, b"M", "layer-entry-type"),
        (257, b"tar!!\0", "layer-header"),
        (124, b"99999999999\0", "layer-header"),
        (124, b"\xff" * 12, "layer-header"),
        (136, b"\x80" + b"\x7f" * 11, "layer-header"),
    ],
)
def test_wrong_fields_are_refused(offset: int, value: bytes, code: str) -> None:
    block = bytearray(build_header(TarHeader(b"a", TarKind.FILE)))
    assert parse_header(_sealed(block)).name == b"a"
    block[offset : offset + len(value)] = value
    with pytest.raises(Malformed) as caught:
        parse_header(_sealed(block))
    assert caught.value.code == code


def test_old_conventions() -> None:
    block = bytearray(build_header(TarHeader(b"d/", TarKind.FILE)))
    block[156] = 0
    assert parse_header(_sealed(block)).kind is TarKind.DIRECTORY
    block[257:265] = bytes(8)
    block[124:136] = bytes(12)
    assert parse_header(_sealed(block)).size == 0
    with pytest.raises(Malformed) as caught:
        parse_header(bytes(block[:100]))
    assert caught.value.code == "layer-truncated"


def test_what_no_header_holds_is_a_bug() -> None:
    for wrong in (
        TarHeader(b"", TarKind.FILE),
        TarHeader(b"a\0", TarKind.FILE),
        TarHeader(b"a", TarKind.FILE, 0o10000),
    ):
        with pytest.raises(Misused):
            build_header(wrong)
