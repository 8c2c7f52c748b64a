"""A converted image that stands ready to be started in containers, as Kubernetes' runtimes do it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kloister import clock, entropy
from kloister.client.admin import AdminClient
from kloister.formats.enclave.launch import Broker
from kloister.formats.enclave.runtime import POD_ARGV
from kloister.images.convert import Conversion, ConvertOptions, convert, load_signing_key, make_signing_key
from kloister.images.importer import ImportOptions, import_image
from kloister.images.runtime_layer import runtime_layer
from kloister.images.samples.root import EPOCH, Root
from kloister.images.sources import open_source
from kloister.serve.demo.world import World
from kloister.tee.simulated.client import PlatformClient
from tests.support.pods import Pod, memory, unpack
from tests.support.policies import release_policy

BUSYBOX = Path(shutil.which("busybox") or "/bin/busybox")
APP = 101
SECRET = "a word that nobody else knows"
USUAL = [memory("/run", APP), memory("/tmp", APP)]  # noqa: S108 (in the container)
LAYER = ", {name: layer, kind: symmetric-key, bits: 256, imported: true}"
SECRETS = "secrets: [{name: word, kind: value}@LAYER@]\n"
SERVICES = """\
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
printf 0123456789abcdef > /dev/attestation/keys/mine && cat /dev/attestation/keys/mine && echo
"""
MODEL = "weights that only the enclave may see"
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
echo "model $(cat /data/private/model) $(cat /data/private/link)"
"""


class Stand:
    """A converted image, and a fresh root and allocation for each container.

    Args:
        world: with a platform and a broker.
        base: an empty directory.
        policy: name of the image's policy.
        options: of its conversion.
    """

    def __init__(self, world: World, base: Path, policy: str = "box", **options: Any) -> None:
        self.world, self.base, self.policy = world, base, policy
        self.platform = PlatformClient(world.state.control)
        self._import()
        self.conversion = self.convert("box", **options)
        self.pristine = unpack(f"oci:{base}/box:box", base / "pristine")
        self.client = AdminClient(world.state.admin)
        self.client.apply(self.conversion.policy.encode())
        for name, value in {"word": SECRET.encode(), **self.conversion.secrets}.items():
            self.client.set_secret("pods", policy, name, value)

    def close(self) -> None:
        """End all allocations."""
        for allocation in self.platform.allocations():
            self.platform.release(allocation.id)

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
        policy = ("pods", self.policy)
        broker = Broker(self.world.state.ca.read_text(), *policy, "app")
        private = bool(options.get("encrypt") or options.get("encrypt_files"))
        template = release_policy("pods", self.policy, SECRETS.replace("@LAYER@", LAYER * private) + SERVICES)
        chosen = ConvertOptions(date=clock.now().date(), policy=policy, broker=broker, template=template, **options)
        with open_source(f"oci:{self.base}/plain:box") as image:
            return convert(image, f"oci:{self.base}/{name}:box", runtime_layer(), key, chosen)

    def holding(self, text: str) -> list[Path]:
        """Files on the disk of the containers that hold a text."""
        files = (path for path in self.base.rglob("*") if path.is_file() and not path.is_symlink())
        return [path for path in files if text.encode() in path.read_bytes()]

    def _import(self) -> None:
        root = Root(self.base / "source")
        root.users({"app": (APP, APP)})
        root.program("bin/busybox", BUSYBOX)
        for name in ("sh", "cat", "id", "grep", "mount", "sleep"):
            root.link(f"bin/{name}", "busybox")
        root.write("data/ask.py", _ASK.encode())
        root.write("data/gramine.py", _GRAMINE.encode())
        root.write("data/private/model", MODEL.encode())
        root.link("data/private/link", "../private/model")
        root.write("var/lib/state", b"")
        root.link("var/run", "../run")
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
