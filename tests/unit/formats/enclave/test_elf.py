from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.enclave.elf import Elf
from tests.support.enclaves import small_elf


def patched(offset: int, layout: str, value: int) -> bytes:
    data = bytearray(small_elf())
    struct.pack_into(layout, data, offset, value)
    return bytes(data)


def test_segments_are_widened_to_pages_and_filled_with_zeros() -> None:
    elf = Elf.parse(small_elf())
    headers, code = elf.segments
    assert (headers.address, headers.end, headers.executable) == (0, 0x1000, False)
    assert (code.address, code.end) == (0x1000, 0x3000)
    assert code.content == bytes(16) + b"\x90" * 32
    assert (code.readable, code.writable, code.executable) == (True, False, True)
    assert elf.entry == 0x1010
    assert elf.span == 0x3000


SECOND = 64 + 56  # offset of the second program header


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "elf-header"),
        (b"#!/bin/sh\n" * 10, "elf-header"),
        (patched(4, "<B", 1), "elf-header"),  # 32 bit
        (patched(16, "<H", 2), "elf-header"),  # ET_EXEC
        (patched(18, "<H", 183), "elf-header"),  # AArch64
        (patched(32, "<Q", 1 << 60), "elf-header"),  # headers outside the file
        (patched(54, "<H", 32), "elf-header"),
        (patched(56, "<H", 0), "elf-header"),
        (patched(56, "<H", 0xFFFF), "elf-header"),
        (patched(SECOND + 32, "<Q", 1 << 63), "elf-segment"),  # file size
        (patched(SECOND + 40, "<Q", 8), "elf-segment"),  # memory size below file size
        (patched(SECOND + 40, "<Q", 1 << 62), "elf-segment"),
        (patched(SECOND + 16, "<Q", (1 << 64) - 4096), "elf-segment"),
        (patched(SECOND + 16, "<Q", 0x800), "elf-segment"),  # shares page 0
        (patched(64 + 16, "<Q", 0x10000), "elf-segment"),  # nothing at address 0
        (patched(64, "<I", 6), "elf-segment"),
        (patched(24, "<Q", 0x10), "elf-entry"),
        (patched(24, "<Q", 0x3000), "elf-entry"),
    ],
)
def test_hostile_files_are_malformed(data: bytes, code: str) -> None:
    Elf.parse(small_elf())
    with pytest.raises(Malformed) as refused:
        Elf.parse(data)
    assert refused.value.code == code


def test_a_file_without_loadable_segments_is_malformed() -> None:
    data = bytearray(patched(64, "<I", 6))
    struct.pack_into("<I", data, SECOND, 6)
    with pytest.raises(Malformed) as refused:
        Elf.parse(bytes(data))
    assert refused.value.code == "elf-segment"


@given(st.data())
def test_a_damaged_file_is_malformed_or_parses(data: st.DataObject) -> None:
    changed = bytearray(small_elf())
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, 175))] = data.draw(st.integers(0, 255))
    try:
        elf = Elf.parse(bytes(changed))
    except Malformed:
        return
    assert all(segment.end > segment.address >= 0 for segment in elf.segments if segment.content)


@given(st.integers(0, len(small_elf()) - 1))
def test_a_cut_file_is_malformed(size: int) -> None:
    with pytest.raises(Malformed):
        Elf.parse(small_elf()[:size])
