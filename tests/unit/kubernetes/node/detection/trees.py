"""Machines as trees of files: what /proc, /sys and /dev say of them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kloister.kubernetes.node.detection.cpuid import Registers

GIB = 1 << 30
FLAGS = "fpu fsgsbase sgx sgx_lc"


@dataclass
class Processor:
    """CPUID of a processor, by the registers' bits of the manual."""

    sgx: bool = True
    flc: bool = True
    capabilities: int = 0b11  # SGX1, SGX2
    kss: bool = True
    sections: tuple[tuple[int, int], ...] = ((32 * GIB, 2), (32 * GIB, 2))  # bytes, type of protection

    def __call__(self, leaf: int, sub: int) -> Registers | None:
        if leaf == 7:
            return 0, 1 | self.sgx << 2, self.flc << 30, 0
        if (leaf, sub) == (0x12, 0):
            return self.capabilities, 0, 0, 0
        if (leaf, sub) == (0x12, 1):
            return self.kss << 7 | 0x36, 0, 0, 0
        if not 0 <= sub - 2 < len(self.sections):
            return 0, 0, 0, 0
        size, kind = self.sections[sub - 2]
        return 0x80200000 | 1, 0, size & 0xFFFFF000 | kind, size >> 32


@dataclass
class Tree:
    """A machine with SGX, unless something is said to be otherwise."""

    root: Path
    devices: set[Path] = field(default_factory=set)

    def build(
        self,
        *,
        flags: str = FLAGS,
        release: str = "6.1.0-9-amd64",
        epc: Mapping[int, int] | None = None,
        devices: tuple[str, ...] = ("sgx_enclave", "sgx_provision"),
        mounts: str = "udev /dev devtmpfs rw,nosuid 0 0\n",
        hwcap2: int | None = 2,
    ) -> Tree:
        self.write("proc/cpuinfo", f"processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
        self.write("proc/sys/kernel/osrelease", f"{release}\n")
        self.write("proc/self/mounts", mounts)
        if hwcap2 is not None:
            vector = struct.pack("<6Q", 16, 0xBFEBFBFF, 26, hwcap2, 0, 0)
            (self.root / "proc/self/auxv").write_bytes(vector)
        for node, size in ({0: 32 * GIB, 1: 32 * GIB} if epc is None else epc).items():
            self.write(f"sys/devices/system/node/node{node}/x86/sgx_total_bytes", f"{size}\n")
        (self.root / "dev").mkdir(exist_ok=True)
        for name in devices:
            self.device(name)
        return self

    def device(self, name: str, mode: int = 0o666) -> None:
        """A file that stands for a device: an ordinary user can make none."""
        path = self.root / "dev" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(mode)
        self.devices.add(path)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def is_device(self, path: Path) -> bool:
        return path in self.devices
