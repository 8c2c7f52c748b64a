"""What kernel and device files of a machine say, read below a root folder: `/`, a mounted host, or a test's tree."""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kloister.kubernetes.node.detection.cpuid import Processor
from kloister.kubernetes.node.epc import EpcSection

_LONGEST = 1 << 20  # bytes that are read of a file of /proc; 512 processors make 0.8 MB, the first one is enough
_MOST_LINKS = 40  # symbolic links on one path, as the kernel has it (path_resolution(7))
_AUXV = struct.Struct("<2Q")  # getauxval(3): type, value
_HWCAP2, _FSGSBASE = 26, 1 << 1  # AT_HWCAP2, HWCAP2_FSGSBASE (linux/arch/x86/include/uapi/asm/hwcap2.h)
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})", re.ASCII)
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
NAMES = {
    "enclave": ("/dev/sgx_enclave", "/dev/sgx/enclave"),  # Linux 5.11 and newer; the DCAP driver's, links today
    "provision": ("/dev/sgx_provision", "/dev/sgx/provision"),
}
OLD_DRIVER = "/dev/isgx"  # without flexible launch control; nobody maintains it


@dataclass(frozen=True, slots=True)
class Node:
    """A name of a device.

    Attributes:
        name: as it was looked for.
        target: what it is, links resolved; None where they lead nowhere.
        character: whether that is a character device.
        mode: its permission bits.
    """

    name: str
    target: str | None
    character: bool
    mode: int


@dataclass(frozen=True, slots=True)
class Machine:
    """What was read; empty or None where it could not be."""

    processor: Processor | None
    vendor: str
    cpu_flags: frozenset[str]
    release: str
    sections: tuple[EpcSection, ...]
    nodes: dict[str, tuple[Node, ...]]  # by role, those names that exist
    old_driver: bool
    noexec: bool
    fsgsbase: bool
    tdx: bool
    snp: bool
    tsm: bool

    @property
    def version(self) -> tuple[int, int]:
        """Of the kernel; (0, 0) where it is unknown."""
        found = _VERSION.match(self.release)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    def device(self, role: str) -> Node | None:
        """The name of a role that is a real device."""
        return next((node for node in self.nodes[role] if node.character), None)


def is_character_device(path: Path) -> bool:
    """Whether a file is one, links not followed."""
    try:
        return stat.S_ISCHR(path.lstat().st_mode)
    except OSError:
        return False


def look(root: Path, processor: Processor | None, is_device: Callable[[Path], bool] = is_character_device) -> Machine:
    """Read everything."""
    vendor, flags = _cpuinfo(root)
    release = _text(root / "proc/sys/kernel/osrelease").strip()
    return Machine(
        processor=processor,
        vendor=vendor,
        cpu_flags=flags,
        release=release,
        sections=tuple(_sections(root)),
        nodes={role: tuple(_nodes(root, names, is_device)) for role, names in NAMES.items()},
        old_driver=_inside(root, OLD_DRIVER).exists(),
        noexec=_noexec(root),
        fsgsbase=_may_use_fsgsbase(root, flags, release),
        tdx="tdx_guest" in flags or _inside(root, "/dev/tdx_guest").exists(),
        snp=_inside(root, "/dev/sev-guest").exists(),
        tsm=_inside(root, "/sys/kernel/config/tsm/report").is_dir(),
    )


def resolve(root: Path, name: str) -> str | None:
    """What `name` is below `root` with all links followed as if `root` were `/`; None where they lead nowhere."""
    pending = list(reversed(PurePosixPath(name).parts[1:]))
    current, links = PurePosixPath("/"), 0
    while pending:
        part = pending.pop()
        if part == "..":
            current = current.parent
            continue
        here = _inside(root, str(current / part))
        if not here.is_symlink():
            current /= part
            continue
        links += 1
        target = here.readlink()
        if links > _MOST_LINKS:
            return None
        if target.is_absolute():
            current = PurePosixPath("/")
        pending.extend(reversed([one for one in target.parts if one != "/"]))
    return str(current) if _inside(root, str(current)).exists() else None


def _inside(root: Path, name: str) -> Path:
    return root / name.lstrip("/")


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST).decode("utf-8", "replace")
    except OSError:
        return ""


def _cpuinfo(root: Path) -> tuple[str, frozenset[str]]:
    """Vendor and flags of the first processor."""
    first = _text(root / "proc/cpuinfo").split("\n\n", 1)[0]
    lines = dict(line.split(":", 1) for line in first.splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in lines.items()}
    return fields.get("vendor_id", ""), frozenset(fields.get("flags", "").split())


def _sections(root: Path) -> Iterator[EpcSection]:
    """Since Linux 5.17; the folder x86 is not there without SGX."""
    for path in sorted((root / "sys/devices/system/node").glob("node[0-9]*/x86/sgx_total_bytes")):
        number, text = path.parent.parent.name.removeprefix("node"), _text(path).strip()
        if _NUMBER.fullmatch(number) and _NUMBER.fullmatch(text) and int(text):
            yield EpcSection(int(number), int(text), "unknown")


def _nodes(root: Path, names: tuple[str, ...], is_device: Callable[[Path], bool]) -> Iterator[Node]:
    for name in names:
        if not os.path.lexists(_inside(root, name)):
            continue
        target = resolve(root, name)
        if target is None:
            yield Node(name, None, character=False, mode=0)
            continue
        path = _inside(root, target)
        yield Node(name, target, character=is_device(path), mode=stat.S_IMODE(path.lstat().st_mode))


def _noexec(root: Path) -> bool:
    """Whether `/dev` forbids what enclaves do: to map a device file executable. The last mount there counts."""
    mounts = [line.split() for line in _text(root / "proc/self/mounts").splitlines()]
    options = {fields[1]: fields[3].split(",") for fields in mounts if len(fields) > 3}  # noqa: PLR2004 -- fstab(5)
    return "noexec" in options.get(str(root / "dev"), options.get("/dev", []))


def _may_use_fsgsbase(root: Path, flags: frozenset[str], release: str) -> bool:
    """The kernel says so in the auxiliary vector since 5.9; without one to read, flag and version tell."""
    try:
        data = (root / "proc/self/auxv").read_bytes()
    except OSError:
        data = b""
    values = dict(_AUXV.iter_unpack(data[: len(data) // _AUXV.size * _AUXV.size]))
    if _HWCAP2 in values:
        return bool(values[_HWCAP2] & _FSGSBASE)
    found = _VERSION.match(release)
    return "fsgsbase" in flags and found is not None and (int(found[1]), int(found[2])) >= (5, 9)
