"""Containers as Kubernetes' runtimes start them: runc, no privileges, the default seccomp profile's refusals."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from kloister import entropy
from kloister.images.sources import open_source

# What containerd's default profile refuses to a container without capabilities (contrib/seccomp, DefaultProfile).
_REFUSED = (
    "mount", "umount", "umount2", "pivot_root", "unshare", "setns", "open_tree", "move_mount", "fsopen",
    "fsconfig", "fsmount", "fspick", "mount_setattr", "bpf", "perf_event_open", "keyctl", "add_key", "request_key",
    "userfaultfd", "kexec_load", "init_module", "finit_module", "delete_module", "open_by_handle_at", "swapon",
    "swapoff", "reboot", "sethostname", "setdomainname", "quotactl", "syslog", "acct", "settimeofday", "chroot",
)  # fmt: skip
_NAMESPACES = ("pid", "ipc", "uts", "mount")  # the network is the machine's, where the broker listens
_PATIENCE = 60.0  # seconds


def mount(place: str, source: str, kind: str = "bind", *options: str) -> dict[str, Any]:
    """An entry of `mounts` in config.json."""
    more = ["rbind", "rprivate"] if kind == "bind" else []
    return {"destination": place, "type": kind, "source": source, "options": [*more, *options]}


def memory(place: str, owner: int) -> dict[str, Any]:
    """An emptyDir of medium Memory, but for its mode: runc takes that from the directory below."""
    return mount(place, "tmpfs", "tmpfs", "nosuid", "nodev", f"uid={owner}", f"gid={owner}", "size=8m")


@dataclass
class Ran:
    """What came out of a container."""

    status: int
    output: str
    log: str
    termination: str

    @property
    def refusal(self) -> str:
        """The code in the termination message, or empty."""
        code: str = json.loads(self.termination)["code"] if self.termination else ""
        return code


@dataclass
class Pod:
    """A container of an image that was unpacked to `root`.

    Attributes:
        base: a directory of its own, for the bundle.
        environment: what the pod's spec sets.
        arguments: what follows the image's entry point.
        mounts: besides those that every pod has.
    """

    base: Path
    root: Path
    allocation: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    mounts: list[dict[str, Any]] = field(default_factory=list)
    user: tuple[int, int] | None = None
    read_only: bool = True
    entrypoint: tuple[str, ...] = ()

    def run(self) -> Ran:
        """Start it, wait for its end, and take it away."""
        with self.started() as process:
            output, log = process.communicate(timeout=_PATIENCE)
        return Ran(process.returncode, output, log, (self.base / "termination-log").read_text())

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[str]]:
        """The container, running; it is killed at the end."""
        self._prepare()
        runc = ["runc", "--root", str(self.base / "runc")]
        name = f"kloister-test-{entropy.identifier()}"
        process = subprocess.Popen(
            [*runc, "run", "--bundle", str(self.base), name],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            subprocess.run([*runc, "delete", "--force", name], capture_output=True, check=False, timeout=_PATIENCE)
            process.communicate(timeout=_PATIENCE)

    def _prepare(self) -> None:
        self.base.mkdir(parents=True, exist_ok=True)
        for name, text in {"termination-log": "", "hosts": "127.0.0.1 localhost\n", "resolv.conf": ""}.items():
            (self.base / name).write_text(text)
        (self.base / "termination-log").chmod(0o666)
        (self.base / "config.json").write_text(json.dumps(self._config()))

    def _config(self) -> dict[str, Any]:
        config = json.loads((self.root.parent / "image.json").read_bytes())["config"]
        uid, gid = self.user or tuple(int(number) for number in config["User"].split(":"))
        environment = [*config.get("Env", []), "KUBERNETES_PORT=tcp://10.0.0.1:443"]
        nothing: dict[str, list[str]] = {name: [] for name in ("bounding", "effective", "permitted", "inheritable")}
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": uid, "gid": gid},
                "args": [*(self.entrypoint or config["Entrypoint"]), *self.arguments],
                "env": [*environment, *(f"{name}={value}" for name, value in self.environment.items())],
                "cwd": "/",
                "capabilities": nothing,
                "noNewPrivileges": True,
            },
            "root": {"path": str(self.root), "readonly": self.read_only},
            "hostname": "pod",
            "mounts": [*self._usual_mounts(), *self.mounts, *self._allocated()],
            "linux": {
                "namespaces": [{"type": kind} for kind in _NAMESPACES],
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
                "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
                "seccomp": {
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "architectures": ["SCMP_ARCH_X86_64"],
                    "syscalls": [
                        {"names": list(_REFUSED), "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM},
                        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS},
                    ],
                },
            },
        }

    def _usual_mounts(self) -> list[dict[str, Any]]:
        here = str(self.base)
        return [
            mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
            mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
            mount("/dev/shm", "shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),  # noqa: S108 (in the container)
            mount("/sys", "/sys", "bind", "nosuid", "noexec", "nodev", "ro"),
            mount("/dev/termination-log", f"{here}/termination-log"),
            mount("/etc/hosts", f"{here}/hosts"),
            mount("/etc/resolv.conf", f"{here}/resolv.conf"),
        ]

    def _allocated(self) -> list[dict[str, Any]]:
        return [] if self.allocation is None else [mount("/run/kloister", str(self.allocation), "bind", "ro")]


def unpack(reference: str, base: Path) -> Path:
    """The root of an image without deletions, as a container runtime lays it out; its configuration beside it."""
    root = base / "root"
    root.mkdir(parents=True)
    root.chmod(0o755)
    with open_source(reference) as image:
        (base / "image.json").write_bytes(image.config.build())
        for index in range(len(image.layers)):
            with tarfile.open(fileobj=BytesIO(b"".join(image.layer(index)))) as layer:
                layer.extractall(root, numeric_owner=True, filter="fully_trusted")  # noqa: S202 (our own image)
    return root


def available() -> bool:
    """Whether this machine can start such containers."""
    return shutil.which("runc") is not None
