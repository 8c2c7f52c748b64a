"""`kloister serve attestation` as processes, with evidence of a simulated platform."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from tests.support.attestation import BEARER
from tests.support.evidence import NOW, Forge
from tests.support.ports import free_port

_PATIENCE = 60.0  # seconds; each wait ends with what it waits for


@dataclass(frozen=True)
class Service:
    """A running process; its log is its own, its folder may be others', too."""

    process: subprocess.Popen[bytes]
    directory: Path
    port: int
    log_file: Path

    @property
    def log(self) -> str:
        """What it has said."""
        return self.log_file.read_text()

    def tls(self) -> ssl.SSLContext:
        """Trusts its authority."""
        return ssl.create_default_context(cafile=self.directory / "ca.pem")

    @contextmanager
    def connected(self, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
        """A connection without HTTP."""
        sock = socket.create_connection(("127.0.0.1", self.port))
        with sock, context.wrap_socket(sock, server_hostname="localhost") as secured:
            yield secured

    def ask(self, method: str, path: str, body: bytes | str = b"", *, raw: bool = False) -> tuple[int, Any]:
        """One request on a connection of its own."""
        connection = HTTPSConnection("localhost", self.port, context=self.tls(), timeout=_PATIENCE)
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {BEARER}"})
            answer = connection.getresponse()
            data = answer.read()
            return answer.status, data.decode() if raw else json.loads(data)
        finally:
            connection.close()

    def wait(self) -> None:
        """Until it is ready."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log
            with suppress(OSError):  # nobody listens yet
                if self.ask("GET", "/readyz")[0] == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(self.log)


def configured(directory: Path, port: int) -> None:
    """Put settings and what they name into the folder: one simulated instance under the name `localhost:PORT`."""
    (directory / "bundles").mkdir()
    (directory / "bundles" / "sgx.json").write_text(json.dumps(Forge().documents()))
    (directory / "root.der").write_bytes(Forge().pki.root_der())
    (directory / "attestation.toml").write_text(
        f"""
        listen = "127.0.0.1:{port}"
        [auth]
        dangerous_bearer_tokens = ["{BEARER}"]
        [collateral]
        directory = "bundles"
        [appraisal]
        extra_roots = ["root.der"]
        dangerous_at = {int(NOW.timestamp())}
        [[instances]]
        base_url = "https://localhost:{port}"
        simulated = true
        """
    )


@contextmanager
def started(directory: Path, port: int, *options: str) -> Iterator[Service]:
    """A process with the folder's settings that listens on the port; told to end at the end."""
    command = [
        sys.executable, "-m", "kloister", "serve", "attestation", "--config", str(directory / "attestation.toml"),
        "--listen", f"127.0.0.1:{port}", *options,
    ]  # fmt: skip
    path = directory / f"log-{port}"
    with path.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        service = Service(process, directory, port, path)
        service.wait()
        yield service
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@contextmanager
def serving(directory: Path, *options: str) -> Iterator[Service]:
    """One process with settings of its own."""
    port = free_port()
    configured(directory, port)
    with started(directory, port, *options) as service:
        yield service
