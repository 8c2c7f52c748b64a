"""The demo's stage: a stack in a temporary state, two converted images, their policies, and how to talk to them."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kloister import clock, entropy
from kloister.client.admin import AdminClient
from kloister.client.release import Purpose
from kloister.errors import Misconfigured
from kloister.formats.enclave.launch import Broker
from kloister.images.convert import Conversion, ConvertOptions, convert, load_signing_key, make_signing_key
from kloister.images.encrypt import KeyCache
from kloister.images.pack import Pack
from kloister.images.runtime_layer import runtime_layer
from kloister.images.samples import make_sample
from kloister.images.sources import open_source
from kloister.serve import launch, stack
from kloister.serve.demo.apps import App
from kloister.serve.demo.guest import Guest, enclave_of
from kloister.serve.ports import free_port
from kloister.serve.state import State
from kloister.simulator.fuses import Fuses

CLINIC, REDIS = ("clinic", "inference"), ("clinic", "cache")
_REDIS_POLICY = """\
apiVersion: kloister.dev/v1
kind: Policy
metadata: {namespace: clinic, name: cache}
attestation:
  any: [{sgx: {mrenclave: "@MRENCLAVE@"}}]
  simulated: allow
secrets: [{name: password, kind: value}]
services:
  - name: app
    arguments: ["/usr/bin/redis-server", "/run/redis.conf"]
    files:
      - path: /run/redis.conf
        mode: "0444"
        content: |
          bind 127.0.0.1
          port @PORT@
          save ""
          requirepass {{ secrets.password.value }}
"""


@dataclass(slots=True)
class World:
    """Everything that the demo made; `close` takes it away again.

    Attributes:
        base: an empty private directory.
        password: of redis; chosen here, handed to the broker, shown to nobody.
    """

    base: Path
    state: State = field(init=False)
    address: str = ""
    password: str = field(default_factory=entropy.identifier, repr=False)
    clinic_port: int = field(default_factory=free_port)
    redis_port: int = field(default_factory=free_port)
    conversions: dict[str, Conversion] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state = State.at(self.base / "state")

    def up(self) -> None:
        """Start the stack."""
        self.address = stack.up(self.state)[0].address

    def close(self) -> None:
        """Stop the stack."""
        stack.down(self.state)

    def plain(self, name: str) -> str:
        """The reference of a sample's plain image, made at the first call."""
        reference = f"oci:{self.base}/plain-{name}:{name}"
        if not (self.base / f"plain-{name}").exists():
            make_sample(name, reference)
        return reference

    def layout(self, name: str) -> Path:
        """The directory of a converted image."""
        return self.base / f"image-{name}"

    def convert(self, sample: str, name: str, policy: tuple[str, str], template: str, private: str = "") -> Conversion:
        """Convert a sample and write the policy to approve into `conversions`."""
        options = ConvertOptions(
            date=clock.now().date(),
            policy=policy,
            broker=Broker(self.state.ca.read_text(), *policy, "app"),
            simulated=True,
            encrypt_files=(private,) if private else (),
            template=template,
        )
        path = self.state.keys / "signing.pem"
        key = load_signing_key(path) if path.exists() else make_signing_key(path)
        with open_source(self.plain(sample)) as image:
            destination = f"oci:{self.layout(name)}:{name}"
            keys = KeyCache(self.state.root / "cache" / "layers", key)
            self.conversions[name] = convert(image, destination, runtime_layer(), key, options, keys)
        return self.conversions[name]

    def approve(self, name: str, policy: tuple[str, str], secrets: dict[str, bytes]) -> None:
        """Apply the policy of a conversion and hand over the secrets that the broker does not generate."""
        client = AdminClient(self.state.admin)
        client.apply(self.conversions[name].policy.encode())
        for secret, value in secrets.items():
            client.set_secret(*policy, secret, value)

    def pack(self, layout: Path, name: str) -> Pack:
        """The pack of an image in a layout. Raises what its bytes are refused for."""
        return launch.open_pack(self.state, f"oci:{layout}:{name}")

    def redis(
        self, layout: Path | None = None, arguments: tuple[str, ...] | None = None, *, debug: bool = False
    ) -> App:
        """Start redis from its image or from a changed copy of it."""
        options = launch.RunOptions(broker=self.address, arguments=arguments, debug=debug)
        return App(self.state, self.pack(layout or self.layout("redis"), "redis"), options)

    def clinic(self, layout: Path | None = None, broker: str = "", name: str = "clinic") -> App:
        """Start the clinic from its image, from a changed copy of it, or with another broker."""
        options = launch.RunOptions(broker=broker or self.address, slots={"PORT": str(self.clinic_port)})
        return App(self.state, self.pack(layout or self.layout(name), name), options)

    def redis_says(self, *command: str) -> str | None:
        """What redis answers to a command after AUTH: through redis-cli where it is, else over a socket."""
        if shutil.which("redis-cli"):
            return self._redis_cli(command)
        return self._redis_socket(command)

    def _redis_cli(self, command: tuple[str, ...]) -> str | None:
        done = subprocess.run(
            ["redis-cli", "-h", "127.0.0.1", "-p", str(self.redis_port), *command],
            env={"PATH": os.environ.get("PATH", ""), "REDISCLI_AUTH": self.password},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return done.stdout.strip() if done.returncode == 0 else None

    def _redis_socket(self, command: tuple[str, ...]) -> str | None:
        try:
            with socket.create_connection(("127.0.0.1", self.redis_port), 2) as connection:
                connection.sendall(f"AUTH {self.password}\r\n{' '.join(command)}\r\n".encode())
                connection.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: connection.recv(4096), b""))
        except OSError:
            return None
        return answer.decode().splitlines()[-1].lstrip("+")

    def predict(self) -> dict[str, object] | None:
        """A prediction over TLS, verified against the policy's own CA; None while nobody answers."""
        ca = AdminClient(self.state.admin).certificate(*CLINIC, "ca")
        context = ssl.create_default_context(cadata=ca)
        connection = http.client.HTTPSConnection("localhost", self.clinic_port, timeout=20, context=context)
        try:
            connection.request("GET", "/predict?" + _PATIENT)
            answer = json.loads(connection.getresponse().read())
        except (ConnectionError, TimeoutError):
            return None
        finally:
            connection.close()
        if not isinstance(answer, dict):
            raise Misconfigured("demo-prediction", "The clinic did not answer with a prediction.")
        return answer

    def guest(self, name: str, policy: tuple[str, str], fuses: Fuses | None = None) -> Guest:
        """The enclave of a converted image, spoken for by hand; on this platform or on one of other fuses."""
        own = fuses or Fuses.parse((self.state.platform / "fuses").read_bytes())
        enclave = enclave_of(self.pack(self.layout(name), name), own)
        return Guest(enclave, self.address, self.state.ca.read_text(), Purpose(*policy, "app", entropy.identifier()))


_PATIENT = "age=61&bmi=27&systolic=148&smoker=1"


def redis_policy(port: int) -> str:
    """Redis's policy: its password and its configuration come from the broker."""
    return _REDIS_POLICY.replace("@PORT@", str(port))


def running(app: App, answers: Callable[[], bool]) -> None:
    """Wait for an application and end it: the unmodified request that frames each attack."""
    with app:
        app.until(answers)
