from __future__ import annotations

import hashlib
import struct
import sys
from array import array
from typing import Final

from kloister.formats.sgx.pages import PAGE_SIZE, Run

EXTEND_SIZE: Final = 256  # bytes measured by one EEXTEND
_EXTENDS: Final = PAGE_SIZE // EXTEND_SIZE
_RECORD: Final = 64  # bytes of one ECREATE, EADD or EEXTEND record
_EXTENDED: Final = _RECORD + EXTEND_SIZE
_MEASURED: Final = _RECORD + _EXTENDS * _EXTENDED  # bytes hashed for one measured page
_BATCH: Final = 64  # pages per update of the hash: the records of a batch fit into the second-level cache

_ECREATE: Final = struct.Struct("<8sIQ44x")
_EADD: Final = struct.Struct("<8sQQ40x")
_EEXTEND: Final = struct.Struct("<8sQ48x")


class Measurement:
    """MRENCLAVE while an enclave is being built: SHA-256 over 64-byte records and the measured bytes.

    The records are those of ECREATE, EADD and EEXTEND in SDM 3D, chapter 38.

    Args:
        size: bytes of the enclave's address range.
        ssa_frame_pages: pages of one SSA frame.
    """

    def __init__(self, size: int, ssa_frame_pages: int) -> None:
        self._hash = hashlib.sha256(_ECREATE.pack(b"ECREATE", ssa_frame_pages, size))

    def eadd(self, offset: int, flags: int) -> None:
        """The page at `offset` was added; `flags` is its SECINFO.FLAGS."""
        self._hash.update(_EADD.pack(b"EADD", offset, flags))

    def eextend(self, offset: int, data: bytes) -> None:
        """The 256 bytes at `offset` are measured."""
        self._hash.update(_EEXTEND.pack(b"EEXTEND", offset) + data)

    def add_run(self, run: Run) -> None:
        """Every page of the run was added and, where the run is measured, extended: the same as page by page."""
        batch = _measured_records if run.measured else _added_records
        for first in range(0, run.count, _BATCH):
            self._hash.update(batch(run, first, min(_BATCH, run.count - first)))

    def digest(self) -> bytes:
        """MRENCLAVE as it stands, 32 bytes."""
        return self._hash.digest()


def _added_records(run: Run, first: int, count: int) -> bytearray:
    records = bytearray(_EADD.pack(b"EADD", 0, run.flags) * count)
    _put(records, 8, _RECORD, range(*_span(run, first, count)))
    return records


def _measured_records(run: Run, first: int, count: int) -> bytearray:
    extended = _EEXTEND.pack(b"EEXTEND", 0) + bytes(EXTEND_SIZE)
    records = bytearray((_EADD.pack(b"EADD", 0, run.flags) + extended * _EXTENDS) * count)
    start, end, step = _span(run, first, count)
    _put(records, 8, _MEASURED, range(start, end, step))
    for index in range(_EXTENDS):
        extend = index * EXTEND_SIZE
        _put(records, _RECORD + index * _EXTENDED + 8, _MEASURED, range(start + extend, end + extend, step))
    _fill(records, run.content[first * PAGE_SIZE : (first + count) * PAGE_SIZE])
    return records


def _span(run: Run, first: int, count: int) -> tuple[int, int, int]:
    start = run.offset + first * PAGE_SIZE
    return start, start + count * PAGE_SIZE, PAGE_SIZE


def _fill(records: bytearray, content: bytes) -> None:
    """Put the measured bytes behind their EEXTEND records; where content ends, the zeros of the template stay."""
    for at in range(0, len(content), EXTEND_SIZE):
        page, within = divmod(at, PAGE_SIZE)
        target = page * _MEASURED + 2 * _RECORD + within // EXTEND_SIZE * _EXTENDED
        chunk = content[at : at + EXTEND_SIZE]
        records[target : target + len(chunk)] = chunk


def _put(records: bytearray, at: int, stride: int, values: range) -> None:
    """Write the u64 values little-endian at `at`, `at + stride` and so on, without a loop in Python."""
    words = array("Q", values)
    if sys.byteorder == "big":  # pragma: no cover
        words.byteswap()
    memoryview(records).cast("Q")[at // 8 :: stride // 8] = memoryview(words)
