"""What this machine can do of what Kloister needs, found out by trying it; and what mends the rest."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from kloister.errors import KloisterError
from kloister.kubernetes.node.detection import detect
from kloister.runtime.linux import landlock, process, seccomp
from kloister.runtime.runner import idmap, root
from kloister.serve.state import DEFAULT_ADDRESS
from kloister.tee.simulated import identity

_PYTHON = (3, 11)
_KERNEL = (5, 13)  # Landlock; detached mounts came with 5.12, CONTINUE of seccomp's listeners with 5.5
_TRUNCATE = 3  # Landlock's ABI that also covers truncate(2)
_SPACE_NEEDED, _SPACE_WANTED = 200 << 20, 2 << 30  # bytes: one small image and its pack; the demo's images
_MEMORY_WANTED = 1 << 30  # bytes
_APPARMOR = (
    "AppArmor allows user namespaces to named programs only: sudo sysctl "
    "kernel.apparmor_restrict_unprivileged_userns=0 (or write a profile with `userns,` for Python)."
)
_SYSCTL = {
    "kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        _APPARMOR,
    ),
    "kernel/unprivileged_userns_clone": ("0", "sudo sysctl kernel.unprivileged_userns_clone=1"),
    "user/max_user_namespaces": ("0", "sudo sysctl user.max_user_namespaces=15000"),
}


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `remedy` is empty where nothing has to be done."""

    name: str
    level: Level
    text: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        """For `--json`."""
        return {key: str(value) for key, value in asdict(self).items()}


def examine(checks: tuple[Callable[[], Finding], ...] | None = None) -> list[Finding]:
    """Every check's finding, in the order of `CHECKS`, and what the machine has of SGX."""
    return [check() for check in checks or CHECKS] + ([] if checks else confidential())


def is_fit(findings: list[Finding]) -> bool:
    """Whether nothing that is required is missing."""
    return all(finding.level is not Level.BAD for finding in findings)


def python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """The interpreter's version."""
    text = "Python " + ".".join(map(str, version))
    if version >= _PYTHON:
        return Finding("python", Level.OK, text)
    return Finding("python", Level.BAD, f"{text} is too old.", "Install Python 3.11 or newer.")


def processor(machine: str | None = None) -> Finding:
    """The processor's architecture: SGX and the numbers of the system calls are those of x86-64."""
    machine = machine or platform.machine()
    if machine == "x86_64":
        return Finding("processor", Level.OK, machine)
    return Finding("processor", Level.BAD, f"{machine} has no SGX.", "Use an x86-64 machine.")


def kernel(release: str | None = None) -> Finding:
    """The kernel's version."""
    release = release or platform.release()
    numbers = [int(part) for part in release.split("-")[0].split(".")[:2] if part.isdecimal()]
    if tuple(numbers) >= _KERNEL:
        return Finding("kernel", Level.OK, f"Linux {release}")
    wanted = ".".join(map(str, _KERNEL))
    return Finding("kernel", Level.BAD, f"Linux {release} is too old.", f"Use Linux {wanted} or newer.")


def user_namespaces(settings: Path = Path("/proc/sys")) -> Finding:
    """Makes a small sandbox's namespaces and root, and throws them away."""
    error = _in_child(_make_namespaces)
    if not error:
        return Finding("user-namespaces", Level.OK, "User, mount and pid namespaces can be made.")
    remedies = [remedy for name, (bad, remedy) in _SYSCTL.items() if _setting(settings / name) == bad]
    remedy = " ".join(remedies) or "In a container, allow it to make user namespaces and to mount /proc in them."
    return Finding("user-namespaces", Level.BAD, f"A sandbox cannot be made: {error}.", remedy)


def user_ids() -> Finding:
    """How many users a sandbox can have."""
    count = sum(size for _, _, size in idmap.choose(0, 0).users)
    if count > 1:
        return Finding("user-ids", Level.OK, f"A sandbox has {count} user ids.")
    missing = [helper for helper in ("newuidmap", "newgidmap") if shutil.which(helper) is None]
    text = "A sandbox has one user id: images that switch users, or need supplementary groups, are refused."
    ranges = "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER"
    return Finding("user-ids", Level.WARN, text, f"sudo apt install uidmap; {ranges}" if missing else ranges)


def write_protection() -> Finding:
    """Landlock."""
    abi = landlock.abi()
    if abi >= _TRUNCATE:
        return Finding("landlock", Level.OK, f"Landlock, ABI {abi}")
    if abi:
        text = f"Landlock has ABI {abi}: files outside writable places can be truncated."
        return Finding("landlock", Level.WARN, text, "Use Linux 6.2 or newer.")
    remedy = "Use a kernel with CONFIG_SECURITY_LANDLOCK, and name landlock in the boot parameter lsm=."
    return Finding("landlock", Level.BAD, "The kernel has no Landlock, or it is switched off.", remedy)


def system_call_filter() -> Finding:
    """Installs the filter, with its listener, in a child."""
    error = _in_child(_install_filter)
    if not error:
        return Finding("seccomp", Level.OK, "System calls can be filtered and reported.")
    remedy = "Use a kernel with CONFIG_SECCOMP_FILTER, 5.5 or newer; in a container, allow seccomp(2)."
    return Finding("seccomp", Level.BAD, f"System calls cannot be filtered: {error}.", remedy)


def caller_identity(mechanism: str | None = None) -> Finding:
    """How the platform knows who asks."""
    if (mechanism or identity.mechanism()) == identity.PIDFD:
        return Finding("caller-identity", Level.OK, "The kernel names the sender of each message by a pidfd.")
    text = "The kernel does not name senders: only the launcher's inherited socket is answered."
    return Finding("caller-identity", Level.WARN, text, "Use Linux 6.5 or newer (6.11 for nested namespaces).")


def fuse(device: Path = Path("/dev/fuse")) -> Finding:
    """FUSE, which encrypted volumes will use."""
    if os.access(device, os.R_OK | os.W_OK) and (os.geteuid() == 0 or shutil.which("fusermount3")):
        return Finding("fuse", Level.OK, "FUSE can be used.")
    text = "FUSE cannot be used; nothing needs it yet, encrypted volumes will."
    return Finding("fuse", Level.WARN, text, "sudo modprobe fuse; sudo apt install fuse3")


def swap(swaps: Path = Path("/proc/swaps")) -> Finding:
    """Swap: private memory must not reach a disk."""
    if not root.swap_is_on(swaps):
        return Finding("swap", Level.OK, "Swap is off: private memory is a tmpfs with a limit.")
    text = "Swap is on: private memory is a ramfs, which is never swapped, but what applications write has no limit."
    return Finding("swap", Level.WARN, text, "sudo swapoff -a")


def ports(address: str = DEFAULT_ADDRESS) -> Finding:
    """The broker's usual port."""
    host, port = address.rsplit(":", 1)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            text = f"{address} cannot be used: {error.strerror}; `kloister up` takes another port."
            return Finding("ports", Level.WARN, text, "Choose one with `kloister up --listen HOST:PORT`.")
    return Finding("ports", Level.OK, f"{address} is free.")


def space(free: int | None = None) -> Finding:
    """Room for temporary files."""
    place = tempfile.gettempdir()
    free = shutil.disk_usage(place).free if free is None else free
    text = f"{place} has {free >> 20} MiB free."
    remedy = "Free some space there, or set TMPDIR to another place."
    if free >= _SPACE_WANTED:
        return Finding("space", Level.OK, text)
    return Finding("space", Level.WARN if free >= _SPACE_NEEDED else Level.BAD, text, remedy)


def memory(meminfo: Path = Path("/proc/meminfo")) -> Finding:
    """Memory for the files of enclaves."""
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    available = int(lines.get("MemAvailable", "0 kB").split()[0]) << 10
    text = f"{available >> 20} MiB of memory are available."
    if available >= _MEMORY_WANTED:
        return Finding("memory", Level.OK, text)
    return Finding("memory", Level.WARN, text, "An enclave's files live in memory: end other programs.")


def confidential(root: Path = Path("/")) -> list[Finding]:
    """SGX and confidential guests, as a node of a cluster has them; nothing on one machine needs them."""
    return [
        Finding(one.code, Level.WARN if one.remedy else Level.OK, one.text, one.remedy) for one in detect(root).findings
    ]


CHECKS: tuple[Callable[[], Finding], ...] = (
    python, processor, kernel, user_namespaces, user_ids, write_protection, system_call_filter, caller_identity,
    fuse, swap, ports, space, memory,
)  # fmt: skip


def _setting(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _in_child(act: Callable[[], None]) -> str:
    """What `act` fails with in a child process; empty for success."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except (OSError, KloisterError) as error:
            reason = error.strerror if isinstance(error, OSError) else error.text
            os.write(writing, (reason or "refused").encode()[:500])
        except BaseException as error:  # noqa: BLE001 -- nothing of a child may climb into its parent's code
            os.write(writing, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said.decode("utf-8", "replace").rstrip(".")


def _make_namespaces() -> None:
    uid, gid = os.geteuid(), os.getegid()
    flags = process.NEW_USER | process.NEW_MOUNT | process.NEW_PID | process.NEW_IPC | process.NEW_UTS
    process.unshare(flags)
    for name, line in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        Path(f"/proc/self/{name}").write_text(line)
    error = _in_child(lambda: root.enter(1 << 20, swap=False))  # pid 1 of the new namespace
    if error:
        raise OSError(0, error)


def _install_filter() -> None:
    process.no_new_privileges()
    listener = seccomp.install(seccomp.program(notify=True), notify=True)
    if listener is not None:
        os.close(listener)
