"""The part of an ELF file that an enclave is built from: loadable segments and the entry (System V gABI, chapter 5)."""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from typing import Final, Self

from kloister.errors import Malformed
from kloister.formats.sgx.pages import PAGE_SIZE

MAX_SPAN: Final = 256 << 20  # bytes of address space: a loader has under 1 MiB, Gramine's with debug data a few
_MAX_HEADERS: Final = 64  # program headers; linkers write about a dozen

_EHDR: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR: Final = struct.Struct("<IIQQQQQQ")
_IDENT: Final = b"\x7fELF\x02\x01\x01"  # 64 bit, little-endian, version 1
_ET_DYN: Final = 3
_EM_X86_64: Final = 62
_PT_LOAD: Final = 1
_PF_X, _PF_W, _PF_R = 1, 2, 4


@dataclass(frozen=True, slots=True)
class Segment:
    """One PT_LOAD segment, widened to whole pages and filled with zeros."""

    address: int  # bytes from the load address, page-aligned
    content: bytes  # from `address`; zeros follow up to `end`
    end: int  # page-aligned
    readable: bool
    writable: bool
    executable: bool


@dataclass(frozen=True, slots=True)
class Elf:
    """A position-independent x86-64 program: what of it is loaded, and where it starts."""

    entry: int  # bytes from the load address
    segments: tuple[Segment, ...]  # ascending, no page in two of them

    @property
    def span(self) -> int:
        """Bytes of address space from the load address to the end of the last segment."""
        return self.segments[-1].end

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads the program headers of an ET_DYN file.

        Raises:
            Malformed: `elf-header`, `elf-segment` (outside the file, overlapping, too large), `elf-entry`.
        """
        entry, headers = _headers(data)
        segments = tuple(_segment(data, header) for header in headers if header[0] == _PT_LOAD)
        _check_order(segments)
        if not any(part.executable and part.address <= entry < part.end for part in segments):
            raise Malformed("elf-entry", "The ELF file's entry is in no executable segment.")
        return cls(entry=entry, segments=segments)


def _headers(data: bytes) -> tuple[int, list[tuple[int, ...]]]:
    if len(data) < _EHDR.size:
        raise Malformed("elf-header", "The file is shorter than an ELF header.")
    ident, kind, machine, _, entry, phoff, _, _, _, phentsize, phnum, *_ = _EHDR.unpack_from(data)
    if not ident.startswith(_IDENT) or (kind, machine) != (_ET_DYN, _EM_X86_64):
        raise Malformed("elf-header", "The file is no position-independent ELF program for x86-64.")
    if phentsize != _PHDR.size or not 0 < phnum <= _MAX_HEADERS or phoff + phnum * _PHDR.size > len(data):
        raise Malformed("elf-header", "The ELF file's program headers are not where its header says.")
    return entry, [_PHDR.unpack_from(data, phoff + index * _PHDR.size) for index in range(phnum)]


def _segment(data: bytes, header: tuple[int, ...]) -> Segment:
    _, flags, offset, vaddr, _, filesz, memsz, _ = header
    if filesz > memsz or offset + filesz > len(data) or memsz > MAX_SPAN or vaddr > MAX_SPAN - memsz:
        raise Malformed("elf-segment", f"The segment at address {vaddr:#x} does not fit file or memory.")
    address = vaddr - vaddr % PAGE_SIZE
    return Segment(
        address=address,
        content=bytes(vaddr - address) + data[offset : offset + filesz],
        end=vaddr + memsz + -(vaddr + memsz) % PAGE_SIZE,
        readable=bool(flags & _PF_R),
        writable=bool(flags & _PF_W),
        executable=bool(flags & _PF_X),
    )


def _check_order(segments: tuple[Segment, ...]) -> None:
    if not segments or segments[0].address != 0:
        raise Malformed("elf-segment", "The ELF file has no loadable segment at address 0.")
    for lower, upper in itertools.pairwise(segments):
        if upper.address < lower.end:
            raise Malformed("elf-segment", f"The segment at {upper.address:#x} shares a page with the one before.")
