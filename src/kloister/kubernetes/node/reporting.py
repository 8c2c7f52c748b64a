"""Writes the node's report with its pod's service account: two HTTPS requests, which need no client of all Kubernetes.

lightkube with its models takes 15 MB, on every node; it stays where a kubeconfig has to be understood (`cluster`).
"""

from __future__ import annotations

import asyncio
import http
import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kloister.errors import Unavailable
from kloister.kubernetes.resources import API_VERSION, PLURAL, ConfidentialNode

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts a pod's token and its cluster's CA."""

_PATIENCE = 10.0  # seconds for a request; the report is written again anyway
_LONGEST_TOKEN = 16 * 1024  # bytes; a JWT of some 1.2 KB
_LONGEST_ANSWER = 256 * 1024  # bytes; the object with its managed fields has a few KB
_HTTPS = "443"
_PATH = f"/apis/{API_VERSION}/{PLURAL}"


@dataclass(frozen=True, slots=True)
class InCluster:
    """The API server as a pod finds it.

    Attributes:
        host: its name or address.
        port: its port.
        account: folder with `token`, which the kubelet renews, and `ca.crt`.
    """

    host: str
    port: int
    account: Path

    @classmethod
    def find(cls, environment: Mapping[str, str], account: Path) -> Self | None:
        """What the environment and the service account name; None outside of pods."""
        host, port = environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT", _HTTPS)
        if not (host and port.isascii() and port.isdigit() and (account / "token").is_file()):
            return None
        return cls(host, int(port), account)

    async def write_report(self, report: ConfidentialNode) -> None:
        """Create or replace the agent's own resource. Raises `Unavailable` `cluster-refused`, `cluster-unreachable`."""
        await asyncio.to_thread(self._write, report)

    def _write(self, report: ConfidentialNode) -> None:
        document = report.build()
        merge = "application/merge-patch+json"
        answer = self._ask("PATCH", f"{_PATH}/{report.name}", {"spec": document["spec"]}, merge)
        if answer[0] == http.HTTPStatus.NOT_FOUND:
            answer = self._ask("POST", _PATH, document, "application/json")
        if answer[0] not in (http.HTTPStatus.OK, http.HTTPStatus.CREATED):
            raise Unavailable(
                "cluster-refused",
                f"The API server refused: {_message(*answer)}.",
                "Check the service account's role: `kloister kube check`.",
            )

    def _ask(self, method: str, path: str, body: Any, kind: str) -> tuple[int, bytes]:
        try:
            context = ssl.create_default_context(cafile=str(self.account / "ca.crt"))
            with (self.account / "token").open("rb") as file:
                token = file.read(_LONGEST_TOKEN).strip().decode("ascii")
            server = http.client.HTTPSConnection(self.host, self.port, timeout=_PATIENCE, context=context)
            try:
                headers = {"Authorization": f"Bearer {token}", "Content-Type": kind, "Accept": "application/json"}
                server.request(method, path, json.dumps(body).encode(), headers)
                response = server.getresponse()
                return response.status, response.read(_LONGEST_ANSWER)
            finally:
                server.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(
                "cluster-unreachable", f"The API server does not answer: {type(error).__name__}.", "Try again."
            ) from None


def _message(status: int, body: bytes) -> str:
    """What the API server says, in one line of its own choice."""
    try:
        said = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        said = ""
    return " ".join(said.split())[:200] or f"status {status}"
