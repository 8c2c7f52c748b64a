"""What a program sees from inside: a static probe as the application of a converted image, attested like any other."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kloister import clock
from kloister.errors import Unverified
from kloister.formats.dcap import Quote
from kloister.formats.protocol.events import Log
from kloister.formats.wire import b64url, unb64url
from kloister.images.importer import ImportOptions, import_image
from kloister.images.samples.root import EPOCH, Root
from kloister.runtime.runner import idmap
from kloister.serve import launch
from kloister.serve.demo.apps import App
from kloister.serve.demo.world import World
from kloister.tee.simulated.client import PlatformClient
from kloister.trust.verifier import INTEL_ROOT, Collateral, verify_sgx
from kloister.trust.verifier import Root as TrustRoot
from tests.support.policies import release_policy

pytestmark = pytest.mark.e2e

_SOURCE = Path(__file__).with_name("probe.c")
_TMP = "/tmp"  # noqa: S108 -- the sandbox's own
_UNMAPPED = 65534  # the kernel's overflowuid: owners of the host's devices
_DATA = bytes(range(64))
_POLICY = ("lab", "probe")
_TEMPLATE = release_policy(
    *_POLICY,
    """\
secrets: [{name: token, kind: value}]
services:
  - name: app
    environment: {TOKEN: "{{ secrets.token.value }}", HOST_PID: "@PID@"}
""",
)
_USER = 1234
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OPTIONS = ImportOptions(
    entrypoint=("/probe", "first"),
    environment=(_PATH, "COLOUR=blue"),
    user="app",
    workdir="/data",
    volumes=("/data",),
    owner=(0, 0),
    owners={b"/data": (_USER, _USER)},
    epoch=EPOCH,
)
_REFUSED = {
    errno.EACCES: {
        "write /etc", "write /open", "write the program", "write /proc/sys", "environment of pid 1", "memory of pid 1",
        "root of pid 1", "descriptors of pid 1",
    },
    errno.EPERM: {
        "chmod", "ptrace the parent", "kill the parent", "mount", "umount", "unshare user", "unshare mount",
        "clone a namespace", "join a namespace", "chroot", "become root", "set groups", "make a device", "io_uring",
        "bpf", "type on the terminal",
    },
    errno.ESRCH: {"signal the host"},
    0: {"write /tmp", "write /data", "write /dev/stdout"},
}  # fmt: skip


def _image(reference: str, scratch: Path) -> set[str]:
    """Import the probe's image; its paths, two levels deep."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc: the probe cannot be compiled")
    root = scratch / "root"
    image = Root(root)
    image.users({"app": (_USER, _USER)})
    image.directory("data")
    image.directory("open", 0o777)
    command = [
        "gcc",
        "-static",
        "-O1",
        "-w",
        f'-DREPORT_DATA="{b64url(_DATA)}"',
        "-o",
        str(root / "probe"),
        str(_SOURCE),
    ]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("gcc makes no static programs here: the C library's static archive is missing")
    (root / "open").chmod(0o777)
    import_image(root, reference, _OPTIONS)
    return {f"/{path.relative_to(root)}" for path in [*root.glob("*"), *root.glob("*/*")]}


@dataclass(frozen=True)
class Seen:
    """What the probe said, and what was said of it."""

    world: World
    image: set[str]
    report: dict[str, Any]
    logs: list[str]
    mounts_before: str

    @property
    def status(self) -> dict[str, str]:
        """/proc/self/status."""
        return dict(line.split(":\t", 1) for line in self.report["status"].splitlines())


@pytest.fixture(scope="module")
def seen(stage: World, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """The probe, converted, approved, and run once."""
    image = _image(f"oci:{stage.base}/plain-probe:probe", tmp_path_factory.mktemp("probe"))
    stage.convert("probe", "probe", _POLICY, _TEMPLATE.replace("@PID@", str(os.getpid())))
    stage.approve("probe", _POLICY, {"token": b"open sesame"})
    mounts = Path("/proc/self/mountinfo").read_text()
    app = App(stage.state, stage.pack(stage.layout("probe"), "probe"), launch.RunOptions(broker=stage.address))
    with app:
        assert app.wait() == 7
    logs = [event.text for event in app.events if isinstance(event, Log)]
    return Seen(stage, image, json.loads(app.output), logs, mounts)


def test_the_root_is_only_the_image(seen: Seen) -> None:
    tree = {path: about for path, about in seen.report["tree"].items() if not path.startswith("/proc/")}
    made = {"/.kloister", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run", _TMP, "/data"}
    assert {path for path in tree if not path.startswith(("/dev/", "/.kloister/"))} == seen.image | made
    documents = {path for path in tree if path.startswith("/.kloister/")}
    assert documents == {"/.kloister/enclave", "/.kloister/runtime", "/.kloister/host.json"}
    assert tree["/data"] == ["40755", _USER, _USER]
    assert {uid for _, uid, _ in tree.values()} <= {0, _USER, _UNMAPPED}


def test_devices(seen: Seen) -> None:
    tree = seen.report["tree"]
    kinds = {path: stat.S_IFMT(int(mode, 8)) for path, (mode, _, _) in tree.items()}
    devices = {path for path, kind in kinds.items() if kind in (stat.S_IFCHR, stat.S_IFBLK)}
    assert devices == {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")}
    others = {path.removeprefix("/dev/") for path in tree if path.startswith("/dev/")} - {
        path.removeprefix("/dev/") for path in devices
    }
    assert others == {"attestation", "fd", "ptmx", "pts", "shm", "stderr", "stdin", "stdout"}


def test_users(seen: Seen) -> None:
    assert (seen.report["uids"], seen.report["gids"], seen.report["groups"]) == ([_USER] * 3, [_USER] * 3, 0)


def test_environment_and_arguments(seen: Seen) -> None:
    assert seen.report["arguments"] == ["/probe", "first"]
    assert sorted(seen.report["environment"]) == sorted(
        [_PATH, "COLOUR=blue", "HOME=/", "TOKEN=open sesame", f"HOST_PID={os.getpid()}"]
    )


def test_namespaces(seen: Seen) -> None:
    """Its own, but for the network and the control groups, which are the host's, as the documentation says."""
    here = {path.name: str(path.readlink()) for path in Path("/proc/self/ns").iterdir()}
    inside = seen.report["namespaces"]
    assert {name for name, number in inside.items() if number == here[name]} == {
        "cgroup",
        "net",
        "time",
        "time_for_children",
    }
    assert seen.report["processes"] == sorted({1, seen.report["self"]})
    assert seen.report["parent"] == 1


def test_mounts(seen: Seen) -> None:
    lines = [line.split() for line in seen.report["mounts"].splitlines()]
    places = {line[4] for line in lines}
    devices = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "pts")}
    assert places == {"/", "/proc", "/dev/attestation/socket", *devices}
    kinds = {line[4]: line[line.index("-") + 1] for line in lines}
    assert (kinds["/"], kinds["/proc"], kinds["/dev/pts"]) in (("tmpfs", "proc", "devpts"), ("ramfs", "proc", "devpts"))
    assert all("nosuid" in line[5].split(",") for line in lines)


def test_descriptors(seen: Seen) -> None:
    assert set(seen.report["descriptors"]) == {"0", "1", "2"}
    assert seen.report["descriptors"]["0"] == "/dev/null"


def test_privileges(seen: Seen) -> None:
    assert (seen.status["NoNewPrivs"], seen.status["Seccomp"]) == ("1", "2")
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(seen.status[name], 16) == 0, name


def test_attempts(seen: Seen) -> None:
    expected = {name: code for code, names in _REFUSED.items() for name in names}
    if idmap.choose(_USER, _USER).single:  # one user owns everything, and there is no other one to become
        expected |= {"chmod": 0, "become root": errno.EINVAL, "write the program": errno.ETXTBSY}
    assert seen.report["attempts"] == expected


def test_refused_writes_are_named(seen: Seen) -> None:
    assert "write to /etc/planted refused: convert with --writable /etc to allow it" in seen.logs
    assert "write to /open/planted refused: convert with --writable /open to allow it" in seen.logs
    assert not any(_TMP in line or "/data" in line for line in seen.logs)


@pytest.mark.parametrize(("which", "data"), [("file", bytes(64)), ("socket", _DATA)], ids=["file", "socket"])
def test_quotes(seen: Seen, which: str, data: bytes) -> None:
    dcap_qvl = pytest.importorskip("dcap_qvl")
    assert seen.report["type"] == "dcap"
    quote = seen.report["quote"].encode("latin-1")
    if which == "socket":
        quote = unb64url(json.loads(seen.report["answer"])["quote"], "quote")
    platform = PlatformClient(seen.world.state.control)
    documents, now = platform.collateral(), clock.now()  # in this order: they are of the day that begins at midnight
    verified = verify_sgx(quote, Collateral.from_json(documents), [TrustRoot.from_der(platform.root())], now)
    report = Quote.parse(quote).report
    assert report.mrenclave == seen.world.conversions["probe"].mrenclave
    assert report.report_data == data
    assert verified.simulated
    with pytest.raises(Unverified):
        verify_sgx(quote, Collateral.from_json(documents), [INTEL_ROOT], now)
    given = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(documents))
    judged = dcap_qvl.verify_with_root_ca(quote, given, platform.root(), int(now.timestamp()))
    assert judged.status == verified.tcb_status == "UpToDate"


def test_the_host_is_as_before(seen: Seen) -> None:
    assert Path("/proc/self/mountinfo").read_text() == seen.mounts_before
    assert list((seen.world.state.platform / "run").iterdir()) == []
