"""The webhook's real process before an API server, and the API server's side of a call."""

from __future__ import annotations

import contextlib
import http
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.apiserver.server import ApiServer
from tests.support.ports import free_port

PATH = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/kloister-webhook"
NAME = "kloister-webhook.kloister-system.svc"
_PATIENCE = 60.0  # seconds until the daemon has registered itself


class Caller(http.client.HTTPSConnection):
    """A connection to a loopback port whose certificate must be for the Service's name."""

    def __init__(self, port: int, authorities: bytes) -> None:
        context = ssl.create_default_context(cadata=authorities.decode())
        super().__init__("127.0.0.1", port, timeout=_PATIENCE, context=context)
        self._tls = context

    def connect(self) -> None:
        """TLS as the API server does it."""
        plain = socket.create_connection((self.host, self.port), self.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._tls.wrap_socket(plain, server_hostname=NAME)

    def ask(self, body: bytes, path: str = "/mutate", method: str = "POST") -> tuple[int, bytes]:
        """Status and body of the answer."""
        self.request(method, path, body, {"Content-Type": "application/json"})
        response = self.getresponse()
        return response.status, response.read()


def review(limits: dict[str, Any]) -> bytes:
    """An AdmissionReview of a pod as Azure's samples show it."""
    container = {
        "name": "app",
        "image": "app",
        "env": [{"name": "SGX_AESM_ADDR", "value": "1"}],
        "resources": {"limits": limits},
        "volumeMounts": [{"name": "v", "mountPath": "/var/run/aesmd"}],
    }
    volume = {"name": "v", "hostPath": {"path": "/var/run/aesmd"}}
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [container], "volumes": [volume]}}
    request = {"uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "object": pod}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


@contextlib.contextmanager
def webhook(server: ApiServer, kubeconfig: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """`kloister serve webhook`, registered and trusted: its port and its process."""
    one = {"name": "w", "clientConfig": {}, "admissionReviewVersions": ["v1"], "sideEffects": "None"}
    server.put(PATH, {"metadata": {"name": "kloister-webhook"}, "webhooks": [one]})
    port = free_port()
    command = [sys.executable, "-m", "kloister", "serve", "webhook", f"--listen=127.0.0.1:{port}"]
    process = subprocess.Popen(command, env={**os.environ, "KUBECONFIG": str(kubeconfig)})
    try:
        _until_ready(server, port, process)
        yield port, process
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def authorities(server: ApiServer) -> bytes:
    """What the API server trusts."""
    return b64decode(server.objects[PATH]["webhooks"][0]["clientConfig"].get("caBundle", ""))


def _until_ready(server: ApiServer, port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _PATIENCE
    while not authorities(server) or not _ready(port, authorities(server)):
        assert process.poll() is None, "the webhook ended"
        assert time.monotonic() < until, "the webhook did not register itself"
        time.sleep(0.05)


def _ready(port: int, trusted: bytes) -> bool:
    with contextlib.closing(Caller(port, trusted)) as caller:
        return caller.ask(b"", "/readyz", "GET")[0] == http.HTTPStatus.OK
