"""What the processor says of SGX (Intel SDM volume 2A, CPUID; volume 3D, 35.7)."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kloister.kubernetes.node.epc import EpcSection

_REGISTERS = struct.Struct("<4I")  # EAX, EBX, ECX, EDX, as /dev/cpu/N/cpuid gives them (cpuid(4))
_FEATURES, _SGX = 0x07, 0x12  # leaves
_HAS_SGX, _HAS_FLC, _HAS_FSGSBASE = 1 << 2, 1 << 30, 1 << 0  # leaf 7.0: EBX, ECX, EBX
_SGX1, _SGX2 = 1 << 0, 1 << 1  # leaf 12.0, EAX
_KSS = 1 << 7  # leaf 12.1, EAX: the attribute bits that an enclave may set
_FIRST_SECTION = 2  # sub-leaf of leaf 12
_MOST_SECTIONS = 64  # sub-leaves; one per NUMA node, and a wrong table must end
_VALID = 1  # type of a sub-leaf, EAX[3:0]
_KINDS = {1: "integrity", 2: "tme"}  # ECX[3:0]; readers who knew 1 only saw no EPC on Ice Lake

Registers = tuple[int, int, int, int]
Cpuid = Callable[[int, int], Registers | None]
"""The registers of a leaf and sub-leaf, or None where nobody tells."""


@dataclass(frozen=True, slots=True)
class Processor:
    """SGX as the processor has it, whatever BIOS and kernel make of it."""

    sgx: bool
    flc: bool
    fsgsbase: bool
    sgx1: bool
    sgx2: bool
    kss: bool
    sections: tuple[EpcSection, ...]


def from_device(root: Path) -> Cpuid:
    """CPUID by /dev/cpu/0/cpuid of a root folder: the kernel's `cpuid` module, readable for root."""
    path = root / "dev" / "cpu" / "0" / "cpuid"

    def ask(leaf: int, sub: int) -> Registers | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            data = os.pread(descriptor, _REGISTERS.size, sub << 32 | leaf)  # cpuid(4): the offset is leaf and sub-leaf
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return _REGISTERS.unpack(data) if len(data) == _REGISTERS.size else None

    return ask


def read(ask: Cpuid) -> Processor | None:
    """What CPUID says, or None where it cannot be asked."""
    features = ask(_FEATURES, 0)
    if features is None:
        return None
    _, ebx, ecx, _ = features
    sgx = bool(ebx & _HAS_SGX)
    capabilities = (ask(_SGX, 0) if sgx else None) or (0, 0, 0, 0)
    attributes = (ask(_SGX, 1) if sgx else None) or (0, 0, 0, 0)
    return Processor(
        sgx=sgx,
        flc=bool(ecx & _HAS_FLC),
        fsgsbase=bool(ebx & _HAS_FSGSBASE),
        sgx1=bool(capabilities[0] & _SGX1),
        sgx2=bool(capabilities[0] & _SGX2),
        kss=bool(attributes[0] & _KSS),
        sections=_sections(ask) if sgx else (),
    )


def _sections(ask: Cpuid) -> tuple[EpcSection, ...]:
    found: list[EpcSection] = []
    for sub in range(_FIRST_SECTION, _FIRST_SECTION + _MOST_SECTIONS):
        registers = ask(_SGX, sub)
        if registers is None or registers[0] & 0xF != _VALID:
            break
        _, _, ecx, edx = registers
        size = (ecx & 0xFFFFF000) | (edx & 0xFFFFF) << 32
        found.append(EpcSection(None, size, _KINDS.get(ecx & 0xF, "unknown")))
    return tuple(found)
