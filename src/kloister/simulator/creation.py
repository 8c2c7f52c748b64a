"""What ECREATE and EADD refuse (Intel SDM 3D, chapter 38): SECS, address range, SECINFO and the content of a TCS."""

from __future__ import annotations

from typing import Final

from kloister.errors import Malformed
from kloister.formats.sgx import PAGE_SIZE, Flag, Misc, PageFlag, Run, Secs, Tcs

# Plain integers: the complement of an IntFlag has only the bits that the flag knows, and would let others pass.
# A SIGSTRUCT with KSS fields needs the flag; CET and AEX-Notify are not modelled.
FLAGS: Final = int(Flag.DEBUG | Flag.MODE64BIT | Flag.PROVISIONKEY | Flag.EINITTOKEN | Flag.KSS)
MISC: Final = int(Misc.EXINFO)
_MAX_SIZE: Final = 1 << 47  # bytes: what a user process can address
_LEGACY: Final = 0x3  # x87 and SSE must be on
# XFRM bits that stand or fall together, and the end in bytes of their part of the XSAVE area (SDM 1, 13.5; CPUID 0DH)
_XSAVE: Final = ((0x3, 576), (0x4, 832), (0x18, 1088), (0xE0, 2688), (0x200, 2696), (0x60000, 11008))
_GPRSGX: Final = 184  # bytes (SDM 3D, 35.9.2)
_EXINFO: Final = 16  # bytes (SDM 3D, 35.9.3)
_RWX: Final = int(PageFlag.R | PageFlag.W | PageFlag.X)


def check_secs(secs: Secs, xfrm: int) -> None:
    """What ECREATE checks; `xfrm` is what the processor supports.

    Raises:
        Malformed: `ecreate-size`, `ecreate-base`, `ecreate-attributes`, `ecreate-xfrm`, `ecreate-miscselect`,
            `ecreate-ssa`, `ecreate-config`.
    """
    if secs.size & (secs.size - 1) or not 2 * PAGE_SIZE <= secs.size <= _MAX_SIZE:
        raise Malformed("ecreate-size", f"An enclave's size is a power of two from 8 KiB up, not {secs.size}.")
    if secs.base % secs.size:
        raise Malformed("ecreate-base", f"The base {secs.base:#x} is no multiple of the enclave's size.")
    if secs.attributes.flags & ~FLAGS or secs.cet_attributes or secs.cet_legacy_bitmap:
        raise Malformed("ecreate-attributes", f"The processor has not all of ATTRIBUTES {secs.attributes.flags:#x}.")
    if not secs.attributes.has(Flag.MODE64BIT):
        raise Malformed("ecreate-attributes", "Enclaves here run in 64-bit mode only.")
    if secs.miscselect & ~MISC:
        raise Malformed("ecreate-miscselect", f"The processor has not all of MISCSELECT {secs.miscselect:#x}.")
    if not secs.attributes.has(Flag.KSS) and (any(secs.configid) or secs.configsvn):
        raise Malformed("ecreate-config", "CONFIGID and CONFIGSVN need ATTRIBUTES.KSS.")
    _check_xfrm(secs, xfrm)


def check_run(run: Run, secs: Secs) -> None:
    """What EADD checks for each page of the run, other than whether it is there already.

    Raises:
        Malformed: `eadd-alignment`, `eadd-range`, `eadd-secinfo`, `eadd-tcs`.
    """
    if run.offset % PAGE_SIZE:
        raise Malformed("eadd-alignment", f"The page offset {run.offset:#x} is not page-aligned.")
    if run.offset < 0 or run.end > secs.size:
        raise Malformed("eadd-range", f"Pages {run.offset:#x} to {run.end:#x} are not inside the enclave.")
    kind, permissions = run.flags & ~_RWX, run.flags & _RWX
    if kind == PageFlag.TCS and permissions:
        raise Malformed("eadd-secinfo", "A TCS page has no permissions of its own.")
    if kind not in (PageFlag.TCS, PageFlag.REG) or permissions & _RWX in (PageFlag.W, PageFlag.W | PageFlag.X):
        raise Malformed("eadd-secinfo", f"EADD takes no page with SECINFO.FLAGS {run.flags:#x}.")
    if kind == PageFlag.TCS:
        for page in run.pages():
            _check_tcs(Tcs.parse(page.content))


def _check_xfrm(secs: Secs, supported: int) -> None:
    xfrm = secs.attributes.xfrm
    torn = any(xfrm & bits not in (0, bits) for bits, _ in _XSAVE)
    if xfrm & ~supported or xfrm & _LEGACY != _LEGACY or torn or (xfrm & 0xE0 and not xfrm & 0x4):
        raise Malformed("ecreate-xfrm", f"The processor cannot run an enclave with XFRM {xfrm:#x}.")
    area = max(end for bits, end in _XSAVE if xfrm & bits)
    wanted = area + _GPRSGX + (_EXINFO if secs.miscselect else 0)
    if secs.ssa_frame_pages * PAGE_SIZE < wanted:
        raise Malformed("ecreate-ssa", f"{secs.ssa_frame_pages} pages of SSA frame hold no {wanted} bytes of state.")


def _check_tcs(tcs: Tcs) -> None:
    aligned = not any(offset % PAGE_SIZE for offset in (tcs.ossa, tcs.ofsbase, tcs.ogsbase))
    limits = tcs.fslimit & 0xFFF == tcs.gslimit & 0xFFF == 0xFFF  # noqa: PLR2004 -- a page less one, as the SDM writes it
    if tcs.flags or tcs.cssa or not aligned or not limits:
        raise Malformed(
            "eadd-tcs", "The TCS page has flags, a frame in use, or an offset or limit that is not page-aligned."
        )
