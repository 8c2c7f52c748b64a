"""What packing a shared object needs of ELF-64 (System V gABI, chapters 4 and 5): its needs, and where it ends."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from kloister.errors import Malformed

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_DYN = struct.Struct("<qQ")
_ET_EXEC, _ET_DYN = 2, 3
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_RPATH, _DT_RUNPATH = 0, 1, 5, 10, 15, 29
_MAX_NAME = 4096  # bytes of one string of the dynamic section: a path list


@dataclass(frozen=True, slots=True)
class Segment:
    """One program header: type, offset in the file, address, size in the file."""

    type: int
    offset: int
    address: int
    size: int


@dataclass(frozen=True, slots=True)
class SharedObject:
    """A program or library as the dynamic loader sees it.

    Attributes:
        machine: e_machine (62 = x86-64, 183 = AArch64).
        interpreter: path of the dynamic loader (PT_INTERP), empty for a library.
        needed: names of the libraries that it needs (DT_NEEDED), in order.
        rpath, runpath: directories, unexpanded; DT_RPATH counts only without DT_RUNPATH.
        end: bytes of the file that are ever loaded; behind them are debug parts and section headers.
        relocatable: ET_DYN with its lowest segment at address 0.
    """

    machine: int
    interpreter: str
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]
    end: int
    relocatable: bool

    @classmethod
    def parse(cls, data: bytes) -> SharedObject:
        """Read the headers and the dynamic section.

        Raises:
            Malformed: `elf-header`, `elf-truncated`.
        """
        try:
            return _parse(data)
        except (struct.error, IndexError, UnicodeDecodeError):
            raise Malformed("elf-truncated", "The program's ELF headers point outside of the file.") from None


def trimmed(data: bytes) -> bytes:
    """The file without what is never loaded: cut behind the last PT_LOAD, section headers struck from the header."""
    end = SharedObject.parse(data).end
    header = list(_EHDR.unpack_from(data))
    header[6] = header[12] = header[13] = 0  # e_shoff, e_shnum, e_shstrndx
    return (_EHDR.pack(*header) + data[_EHDR.size :])[: max(end, _EHDR.size)]


def _parse(data: bytes) -> SharedObject:
    ident, kind, machine, _, _, phoff, _, _, _, phsize, phnum, *_ = _EHDR.unpack_from(data)
    if ident[:6] != b"\x7fELF\x02\x01" or kind not in (_ET_EXEC, _ET_DYN) or phsize != _PHDR.size:
        raise Malformed("elf-header", "This is not a little-endian 64-bit ELF program or shared object.")
    segments = [_segment(data, phoff + index * phsize) for index in range(phnum)]
    loads = [segment for segment in segments if segment.type == _PT_LOAD]
    needed, rpath, runpath = _dynamic(data, segments, loads)
    interpreter = next((_string(data, s.offset) for s in segments if s.type == _PT_INTERP), "")
    relocatable = kind == _ET_DYN and min((s.address for s in loads), default=1) == 0
    end = max([phoff + phnum * phsize, *(s.offset + s.size for s in loads)])
    if end > len(data):
        raise Malformed("elf-truncated", "The program's ELF segments reach outside of the file.")
    return SharedObject(machine, interpreter, needed, () if runpath else rpath, runpath, end, relocatable)


def _segment(data: bytes, offset: int) -> Segment:
    kind, _, start, address, _, size, _, _ = _PHDR.unpack_from(data, offset)
    return Segment(kind, start, address, size)


def _dynamic(
    data: bytes, segments: list[Segment], loads: list[Segment]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    table = next((s for s in segments if s.type == _PT_DYNAMIC), None)
    if table is None:
        return (), (), ()
    entries: list[tuple[int, int]] = []
    for offset in range(table.offset, table.offset + table.size, _DYN.size):
        tag, value = _DYN.unpack_from(data, offset)
        if tag == _DT_NULL:
            break
        entries.append((tag, value))
    address = next((value for tag, value in entries if tag == _DT_STRTAB), 0)
    strings = next((s.offset + address - s.address for s in loads if s.address <= address < s.address + s.size), 0)
    named = [(tag, _string(data, strings + value)) for tag, value in entries if tag in _NAMED]
    return (
        tuple(text for tag, text in named if tag == _DT_NEEDED),
        tuple(part for tag, text in named if tag == _DT_RPATH for part in text.split(":")),
        tuple(part for tag, text in named if tag == _DT_RUNPATH for part in text.split(":")),
    )


_NAMED = frozenset({_DT_NEEDED, _DT_RPATH, _DT_RUNPATH})


def _string(data: bytes, offset: int) -> str:
    end = data.index(b"\0", offset, offset + _MAX_NAME) if b"\0" in data[offset : offset + _MAX_NAME] else -1
    if end < 0:
        raise Malformed("elf-truncated", "A string of the program's dynamic section does not end.")
    return data[offset:end].decode("utf-8")
