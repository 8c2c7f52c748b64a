"""Converted images started by runc as Kubernetes does it: unprivileged, with a real platform and a real broker."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kloister import clock, entropy
from kloister.client.admin import AdminClient
from kloister.formats.dcap.quote import Quote
from kloister.formats.enclave.launch import Broker
from kloister.formats.enclave.runtime import POD_ARGV
from kloister.formats.sgx import Report, ReportBody
from kloister.images.convert import Conversion, ConvertOptions, convert, load_signing_key, make_signing_key
from kloister.images.importer import ImportOptions, import_image
from kloister.images.runtime_layer import runtime_layer
from kloister.images.samples.root import EPOCH, Root
from kloister.images.sources import open_source
from kloister.runtime.linux import landlock
from kloister.serve.demo.world import World
from kloister.tee.simulated.client import PlatformClient
from tests.support import pods
from tests.support.pods import Pod, memory, mount, unpack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0 or not pods.available(), reason="needs root and runc"),
]

BUSYBOX = Path(shutil.which("busybox") or "/bin/busybox")
APP = 101
SECRET = "a word that nobody else knows"
USUAL = [memory("/run", APP), memory("/tmp", APP)]  # noqa: S108 (in the container)
POLICY = """\
apiVersion: kloister.dev/v1
kind: Policy
metadata: {namespace: pods, name: box}
attestation:
  any: [{sgx: {mrenclave: "@MRENCLAVE@"}}]
  simulated: allow
secrets: [{name: word, kind: value}]
services:
  - name: app
    environment: {WORD: "{{ secrets.word.value }}"}
    files: [{path: /run/word, mode: "0400", content: "{{ secrets.word.value }}"}]
    slots: {LEVEL: "info|debug", SLEEP: "yes"}
"""
_ASK = """\
import os, socket
sock = socket.socket(socket.AF_UNIX)
sock.connect(os.environ["KLOISTER_SOCKET"])
request = b'{"op":"quote","reportData":"' + b"A" * 86 + b'"}'
sock.sendall(len(request).to_bytes(4, "big") + request)
print(sock.recv(64)[4:12].decode())
"""
# What Gramine's documentation shows (attestation.rst), then the same by a shell, in another process for each step.
_GRAMINE = """\
import os
def read(name):
    with open("/dev/attestation/" + name, "rb") as file:
        return file.read()
with open("/dev/attestation/user_report_data", "wb") as file:
    file.write(bytes(range(64)))
with open("/dev/attestation/target_info", "wb") as file:
    file.write(read("my_target_info"))
print(*(read(name).hex() for name in ("attestation_type", "quote", "report")))
print(*(read("keys/_sgx_" + name).hex() for name in ("mrenclave", "mrenclave", "mrsigner")))
for pid in filter(str.isdigit, os.listdir("/proc")):
    with open(f"/proc/{pid}/comm") as file:
        if file.read() == "attestation\\n":
            try:
                os.kill(int(pid), 0)
            except PermissionError:
                print("kept")
            else:
                print("within reach")
for data in (b"short", bytes(65)):
    with open("/dev/attestation/user_report_data", "wb") as file:
        file.write(data)
    print("quote", read("quote").hex())
"""
_SHELL = """\
printf %064d 7 > /dev/attestation/user_report_data
/bin/busybox base64 /dev/attestation/quote | /bin/busybox tr -d '\\n'
echo
printf 0123456789abcdef > /dev/attestation/keys/mine && cat /dev/attestation/keys/mine
"""
SCRIPT = f"""\
echo "pid $$ user $(id -u):$(id -g)"
echo "word $WORD, file $(cat /run/word)"
echo "level $LEVEL, leaked $LEAKED$KUBERNETES_PORT"
echo x 2>/dev/null > /tmp/new && echo "wrote /tmp"
(echo x > /etc/new) 2>/dev/null || echo "kept /etc"
mount -t tmpfs none /data 2>/dev/null || echo "no mounts"
grep -E "^(NoNewPrivs|Seccomp|CapEff):" /proc/self/status
{" ".join(POD_ARGV[:-1])} /data/ask.py
[ -z "$SLEEP" ] || sleep 60
if [ -d /dev/attestation ]; then
{" ".join(POD_ARGV[:-1])} /data/gramine.py
{_SHELL}
fi
"""


class Stand:
    """A converted image, and a fresh root and allocation for each container."""

    def __init__(self, world: World, base: Path) -> None:
        self.world, self.base = world, base
        self.platform = PlatformClient(world.state.control)
        self._import()
        self.conversion = self.convert("box")
        self.pristine = unpack(f"oci:{base}/box:box", base / "pristine")
        client = AdminClient(world.state.admin)
        client.apply(self.conversion.policy.encode())
        client.set_secret("pods", "box", "word", SECRET.encode())

    def pod(self, change: Callable[[Path], None] | None = None, epc: int = 256 << 20, **settings: Any) -> Pod:
        """A container that nobody started yet; `change` alters its root."""
        name = entropy.identifier()
        here = self.base / name
        shutil.copytree(self.pristine.parent, here, symlinks=True, copy_function=_link)
        if change is not None:
            change(here / "root")
        folder = here / "allocation"
        folder.mkdir()
        self.platform.allocate(name, epc, folder)
        settings = {"allocation": folder, "mounts": USUAL, **settings}
        environment = {"KLOISTER_BROKER": self.world.address, "LEAKED": "by the pod", **settings.pop("environment", {})}
        return Pod(here / "bundle", here / "root", environment=environment, **settings)

    def convert(self, name: str, **options: Any) -> Conversion:
        """Convert the plain image once more."""
        key_file = self.world.state.keys / "signing.pem"
        key = load_signing_key(key_file) if key_file.exists() else make_signing_key(key_file)
        policy = ("pods", "box")
        broker = Broker(self.world.state.ca.read_text(), *policy, "app")
        chosen = ConvertOptions(date=clock.now().date(), policy=policy, broker=broker, template=POLICY, **options)
        with open_source(f"oci:{self.base}/plain:box") as image:
            return convert(image, f"oci:{self.base}/{name}:box", runtime_layer(), key, chosen)

    def _import(self) -> None:
        root = Root(self.base / "source")
        root.users({"app": (APP, APP)})
        root.program("bin/busybox", BUSYBOX)
        for name in ("sh", "cat", "id", "grep", "mount", "sleep"):
            root.link(f"bin/{name}", "busybox")
        root.write("data/ask.py", _ASK.encode())
        root.write("data/gramine.py", _GRAMINE.encode())
        options = ImportOptions(entrypoint=("/bin/sh", "-c", SCRIPT), user="app", owner=(0, 0), epoch=EPOCH)
        import_image(self.base / "source", f"oci:{self.base}/plain:box", options)


def _link(source: str, target: str) -> None:
    """A copy that shares its bytes; a test that changes a file replaces it."""
    os.link(source, target, follow_symlinks=False)


def rewrite(path: Path, data: bytes) -> None:
    """Change a file of one root alone, as little as possible."""
    status = path.stat()
    path.unlink()
    path.write_bytes(data)
    path.chmod(status.st_mode & 0o7777)
    os.chown(path, status.st_uid, status.st_gid)


@pytest.fixture(scope="module")
def stand(stage: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    base = tmp_path_factory.mktemp("pods")
    yield Stand(stage, base)
    for allocation in PlatformClient(stage.state.control).allocations():
        PlatformClient(stage.state.control).release(allocation.id)


def test_secrets_arrive_in_an_unprivileged_container(stand: Stand) -> None:
    ran = stand.pod(environment={"LEVEL": "debug"}).run()
    assert (ran.status, ran.termination) == (0, ""), ran.log
    said = ran.output.splitlines()
    assert said[:3] == [f"pid 1 user {APP}:{APP}", f"word {SECRET}, file {SECRET}", "level debug, leaked "]
    assert said[3:6] == ["wrote /tmp", "kept /etc", "no mounts"]
    assert set(said[6:9]) == {"CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"}
    assert said[9] == '{"quote"', "the application itself gets quotes"
    assert not holding(stand.base, SECRET), "on no disk"


def test_a_program_written_for_gramine_finds_its_files(stand: Stand) -> None:
    ran = stand.pod(mounts=[*USUAL, memory("/dev/attestation", APP)]).run()
    assert ran.status == 0, ran.log
    said = ran.output.splitlines()[10:]
    kind, *evidence = (bytes.fromhex(word) for word in said[0].split())
    assert kind == b"dcap"
    quoted, reported = ReportBody.parse(Quote.parse(evidence[0]).body), Report.parse(evidence[1]).body
    assert quoted.mrenclave == reported.mrenclave == stand.conversion.mrenclave
    assert quoted.report_data == reported.report_data == bytes(range(64))
    first, again, signer = said[1].split()
    assert len(first) == 32
    assert first == again != signer
    assert said.pop(2) == ("kept" if landlock.abi() >= 6 else "within reach")
    assert report_data(bytes.fromhex(said[2].removeprefix("quote "))) == b"short".ljust(64, b"\0")
    assert said[3] == "quote ", "more than 64 bytes are refused"
    assert "attestation-data" in ran.log
    assert report_data(b64decode(said[4])) == b"7".rjust(64, b"0"), "written by one process, read by another"
    assert said[5] == "0123456789abcdef"


def report_data(quote: bytes) -> bytes:
    """What a quote was made over."""
    return ReportBody.parse(Quote.parse(quote).body).report_data


def test_what_was_in_dev_attestation_before_is_gone(stand: Stand, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/_sgx_mrenclave").write_bytes(bytes(16))
    ran = stand.pod(mounts=[*USUAL, mount("/dev/attestation", str(tmp_path))]).run()
    assert (ran.refusal, ran.output) == ("pod-mount", ""), "the node's disk"
    with mounted(tmp_path) as volume:
        (volume / "keys").mkdir()
        (volume / "keys/_sgx_mrenclave").write_bytes(bytes(16))
        ran = stand.pod(mounts=[*USUAL, mount("/dev/attestation", str(volume))]).run()
        assert (ran.refusal, ran.output) == ("pod-attestation", ""), "somebody else's files"
        for path in (volume / "keys/_sgx_mrenclave", volume / "keys"):
            os.chown(path, APP, APP)
        ran = stand.pod(mounts=[*USUAL, mount("/dev/attestation", str(volume))]).run()
        assert ran.status == 0
        assert bytes(16).hex() not in ran.output.splitlines()[11].split()


@contextmanager
def mounted(base: Path) -> Iterator[Path]:
    """A volume in memory that everybody may write to, as kubelet makes it."""
    volume = base / "volume"
    volume.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0777,size=8m", "tmpfs", volume], check=True)
    try:
        yield volume
    finally:
        subprocess.run(["umount", volume], check=True)


def holding(base: Path, text: str) -> list[Path]:
    """Files below a directory that hold a text."""
    files = (path for path in base.rglob("*") if path.is_file() and not path.is_symlink())
    return [path for path in files if text.encode() in path.read_bytes()]


def _changed(root: Path) -> None:
    data = (root / "bin/busybox").read_bytes()
    rewrite(root / "bin/busybox", data[:-1] + bytes([data[-1] ^ 1]))


def _added(root: Path) -> None:
    (root / "bin/more").write_bytes(b"")


def _runtime(root: Path) -> None:
    rewrite(root / ".kloister/runtime/version.json", b"{}")


def _documents(root: Path) -> None:
    rewrite(root / ".kloister/enclave/launch.json", (root / ".kloister/enclave/launch.json").read_bytes() + b" ")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_changed, "file-changed"),
        (_added, "file-added"),
        (_runtime, "file-changed"),
        (_documents, "launch-changed"),
    ],
)
def test_a_tampered_image_is_refused(stand: Stand, change: Callable[[Path], None], code: str) -> None:
    ran = stand.pod(change).run()
    assert (ran.refusal, ran.status, ran.output) == (code, 70, "")
    assert json.loads(ran.log.splitlines()[-1])["code"] == code


def test_a_wrong_measurement_is_refused(stand: Stand) -> None:
    other = stand.convert("other", max_threads=5)
    assert other.mrenclave != stand.conversion.mrenclave
    root = unpack(f"oci:{stand.base}/other:box", stand.base / "other-root")
    pod = stand.pod()
    pod.root = root
    ran = pod.run()
    assert (ran.refusal, ran.output) == ("measurement-not-allowed", "")


def test_a_manifest_that_nobody_signed_is_refused(stand: Stand) -> None:
    def change(root: Path) -> None:
        path = root / ".kloister/enclave/manifest.sgx"
        rewrite(path, path.read_bytes() + b"# more\n")

    assert stand.pod(change).run().refusal == "sgx-invalid-measurement"


def test_without_the_mount_there_is_no_enclave(stand: Stand) -> None:
    assert stand.pod(allocation=None).run().refusal == "pod-allocation"


def test_two_containers_do_not_share_an_enclave(stand: Stand) -> None:
    first = stand.pod(environment={"SLEEP": "yes"})
    with first.started() as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(10)]
        assert said[9] == '{"quote"\n'
        second = stand.pod(allocation=first.allocation).run()
        assert (second.refusal, second.output) == ("caller-outside", "")
    again = stand.pod(allocation=first.allocation).run()
    assert again.status == 0, "once the first has ended, a container that is started anew gets it"


def test_an_enclave_larger_than_the_request_is_refused(stand: Stand) -> None:
    assert stand.pod(epc=1 << 20).run().refusal == "epc-over-request"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"user": (0, 0)}, "pod-user"),
        ({"arguments": ("/bin/sh",)}, "host-arguments-refused"),
        ({"environment": {"LEVEL": "trace"}}, "slot-refused"),
        ({"environment": {"KLOISTER_BROKER": ""}}, "broker-address"),
        ({"mounts": [mount("/run", "/var")]}, "pod-mount"),
        ({"mounts": []}, "pod-secret-place"),
    ],
)
def test_what_the_pod_may_not_choose_is_refused(stand: Stand, settings: dict[str, Any], code: str) -> None:
    ran = stand.pod(**settings).run()
    assert (ran.refusal, ran.status, ran.output) == (code, 70, "")
