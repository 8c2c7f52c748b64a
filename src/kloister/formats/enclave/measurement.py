"""What the pages of a Gramine enclave are, in which order they are measured, and the MRENCLAVE that follows.

The layout is Gramine's (versions 1.4 to 1.9; `pal/src/host/linux-sgx/host_main.c` of that project), MRENCLAVE follows
Intel SDM 3D, chapter 38.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from kloister.errors import Malformed
from kloister.formats.enclave.elf import Elf, Segment
from kloister.formats.enclave.manifest import MAX_THREADS
from kloister.formats.sgx.measurement import Measurement
from kloister.formats.sgx.pages import PAGE_SIZE, Page, PageFlag, Run
from kloister.formats.sgx.tcs import Tcs

SSA_FRAME_PAGES: Final = 4
_SSA_FRAME: Final = SSA_FRAME_PAGES * PAGE_SIZE
_NSSA: Final = 2
_SSA: Final = _NSSA * _SSA_FRAME  # bytes per thread
_STACK: Final = 0x40000  # bytes per thread
_SIGNAL_STACK: Final = 0x10000  # bytes per thread
_HEAP_MIN: Final = 0x10000  # the lowest address that is used
_GPRSGX: Final = 0xB8  # bytes at the end of an SSA frame (SDM 3D, 35.9.2)
_CANARY: Final = 0xBADBADBADBAD

_REG: Final = PageFlag.REG
_R, _W, _X = PageFlag.R, PageFlag.W, PageFlag.X


def gramine_pages(manifest: bytes, pal: bytes, size: int, threads: int, edmm: bool) -> Iterator[Page]:  # noqa: FBT001 -- the four numbers of a manifest, as docs/architecture.md names them
    """The pages of a Gramine enclave in measuring order; see `gramine_runs` for arguments and errors."""
    for run in gramine_runs(manifest, pal, size, threads, edmm):
        yield from run.pages()


def gramine_runs(manifest: bytes, pal: bytes, size: int, threads: int, edmm: bool) -> tuple[Run, ...]:  # noqa: FBT001 -- as above
    """The areas of a Gramine enclave in measuring order, allocated from the top down.

    Args:
        manifest: the manifest's exact bytes; a NUL follows them in the enclave.
        pal: the ELF file whose entry is the enclave's first instruction.
        size: bytes of the enclave's address range (`sgx.enclave_size`).
        threads: TCS pages (`sgx.max_threads`).
        edmm: whether the heap is added after EINIT, so that it is not part of the measurement.

    Raises:
        Malformed: `elf-*`, `enclave-threads`, or `enclave-too-small` if the areas do not fit.
    """
    if not 0 < threads <= MAX_THREADS:
        raise Malformed("enclave-threads", f"An enclave has 1 to {MAX_THREADS} threads, not {threads}.")
    elf = Elf.parse(pal)
    layout = _Layout.allocate(len(manifest) + 1, elf.span, size, threads)
    run_of = Run(layout.manifest, _pages(len(manifest) + 1), _REG | _R, manifest)
    runs = [run_of, *_thread_runs(layout, elf.entry, len(manifest) + 1), *_pal_runs(elf, layout.pal)]
    if not edmm and layout.pal > _HEAP_MIN:
        runs.append(Run(_HEAP_MIN, _pages(layout.pal - _HEAP_MIN), _REG | _R | _W | _X, measured=False))
    return tuple(runs)


def mrenclave(pages: Iterable[Page | Run], size: int, ssa_frame_pages: int = SSA_FRAME_PAGES) -> bytes:
    """MRENCLAVE of an enclave of `size` bytes built from `pages`, 32 bytes (SDM 3D, chapter 38)."""
    measurement = Measurement(size, ssa_frame_pages)
    for page in pages:
        measurement.add_run(page if isinstance(page, Run) else Run.of(page))
    return measurement.digest()


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the areas start, in bytes from the enclave's base."""

    size: int
    threads: int
    manifest: int
    ssa: int
    tcs: int
    tls: int
    stacks: tuple[int, ...]
    signal_stacks: tuple[int, ...]
    pal: int

    @classmethod
    def allocate(cls, manifest_size: int, pal_size: int, size: int, threads: int) -> _Layout:
        """Areas from the top of the address range downwards, in measuring order."""
        manifest = size - _pages(manifest_size) * PAGE_SIZE
        ssa = manifest - threads * _SSA
        tcs = ssa - threads * PAGE_SIZE
        tls = tcs - threads * PAGE_SIZE
        stacks = tuple(tls - (thread + 1) * _STACK for thread in range(threads))
        signal_stacks = tuple(stacks[-1] - (thread + 1) * _SIGNAL_STACK for thread in range(threads))
        pal = signal_stacks[-1] - pal_size
        if pal < _HEAP_MIN:
            raise Malformed(
                "enclave-too-small",
                f"{size} bytes of enclave are {_HEAP_MIN - pal} too few for {threads} threads, loader and manifest.",
                "Raise sgx.enclave_size or lower sgx.max_threads.",
            )
        return cls(size, threads, manifest, ssa, tcs, tls, stacks, signal_stacks, pal)


def _thread_runs(layout: _Layout, entry: int, manifest_size: int) -> Iterator[Run]:
    count = layout.threads
    tcs = b"".join(_tcs_page(layout, thread, entry) for thread in range(count))
    tls = b"".join(_tls_page(layout, thread, manifest_size) for thread in range(count))
    yield Run(layout.ssa, count * _SSA // PAGE_SIZE, _REG | _R | _W)
    yield Run(layout.tcs, count, PageFlag.TCS, tcs)
    yield Run(layout.tls, count, _REG | _R | _W, tls)
    for stack in layout.stacks:
        yield Run(stack, _STACK // PAGE_SIZE, _REG | _R | _W)
    for stack in layout.signal_stacks:
        yield Run(stack, _SIGNAL_STACK // PAGE_SIZE, _REG | _R | _W)


def _pal_runs(elf: Elf, base: int) -> Iterator[Run]:
    for segment in elf.segments:
        count = _pages(segment.end - segment.address)
        yield Run(base + segment.address, count, _segment_flags(segment), segment.content)


def _segment_flags(segment: Segment) -> int:
    return _REG | _R * segment.readable | _W * segment.writable | _X * segment.executable


def _tcs_page(layout: _Layout, thread: int, entry: int) -> bytes:
    return Tcs(
        ossa=layout.ssa + thread * _SSA,
        nssa=_NSSA,
        oentry=layout.pal + entry,
        ogsbase=layout.tls + thread * PAGE_SIZE,
    ).build()


def _tls_page(layout: _Layout, thread: int, manifest_size: int) -> bytes:
    """Gramine's `struct pal_enclave_tcb`; what is not listed is zero."""
    tls = layout.tls + thread * PAGE_SIZE
    ssa = layout.ssa + thread * _SSA
    fields = {
        0x000: tls,  # its own address
        0x008: _CANARY,
        0x110: layout.size,
        0x118: layout.tcs + thread * PAGE_SIZE,
        0x120: layout.stacks[thread] + _STACK,
        0x130: layout.signal_stacks[thread],
        0x138: layout.signal_stacks[thread] + _SIGNAL_STACK,
        0x148: ssa,
        0x150: ssa + _SSA_FRAME - _GPRSGX,
        0x1A0: manifest_size,  # with the NUL
        0x1A8: _HEAP_MIN,
        0x1B0: layout.pal,
    }
    page = bytearray(PAGE_SIZE)
    for offset, value in fields.items():
        struct.pack_into("<Q", page, offset, value)
    return bytes(page)


def _pages(size: int) -> int:
    """Pages that `size` bytes take."""
    return -(-size // PAGE_SIZE)
