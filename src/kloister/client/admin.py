"""Speaks the broker's administration interface (architecture.md 11) with the standard library alone."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

from kloister.errors import Denied, KloisterError, Malformed, Misconfigured, Unavailable
from kloister.formats.wire import load_json

_MAX_ANSWER = 32 * 1024 * 1024  # bytes; a page of the audit log has about one
_PATIENCE = 30.0  # seconds for one answer
_FAMILIES: dict[int, type[KloisterError]] = {400: Malformed, 403: Denied, 404: Denied, 429: Unavailable}


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket; the Host is a fixed name that no web page can send."""

    def __init__(self, path: Path) -> None:
        super().__init__("kloister", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        """Connect by way of the directory: a path may be longer than the 107 bytes of sun_path (unix(7))."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PATIENCE)
        directory = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sock.connect(f"/proc/self/fd/{directory}/{self._path.name}")
        finally:
            os.close(directory)


class AdminClient:
    """A client of the administration interface at a Unix socket; each call is a connection of its own.

    Every method raises `Unavailable` (`broker-unreachable`) where nobody answers, and the broker's own refusals.
    """

    def __init__(self, path: Path) -> None:
        self._where = str(path)
        self._path: Path | None = path

    def status(self) -> dict[str, Any]:
        """Version, whether it is simulated, and how much it holds."""
        return self._ask("GET", "/status")

    def apply(self, document: bytes) -> dict[str, Any]:
        """Apply a policy, YAML or JSON; namespace, name, version, sha256, changed, generated, missing."""
        return self._ask("PUT", "/policies", document, "application/yaml")

    def policies(self) -> list[dict[str, Any]]:
        """Summaries of all policies."""
        return _list(self._ask("GET", "/policies"), "policies")

    def policy(self, namespace: str, name: str) -> dict[str, Any]:
        """The newest version of a policy with its document."""
        return self._ask("GET", _path(namespace, name))

    def secrets(self, namespace: str, name: str) -> list[dict[str, Any]]:
        """Names, kinds, states and public parts of a policy's secrets."""
        return _list(self._ask("GET", _path(namespace, name) + "/secrets"), "secrets")

    def set_secret(self, namespace: str, name: str, secret: str, value: bytes) -> dict[str, Any]:
        """Upload a value; name, kind, version."""
        path = f"{_path(namespace, name)}/secrets/{quote(secret, safe='')}"
        return self._ask("PUT", path, value, "application/octet-stream")

    def certificate(self, namespace: str, name: str, secret: str) -> str:
        """The certificate (PEM) of an X.509 secret that is stored. Raises `Denied` `secret-not-public`."""
        for one in self.secrets(namespace, name):
            if one.get("name") == secret and one.get("public"):
                return str(one["public"])
        raise Denied(
            "secret-not-public",
            f"The secret {secret} of {namespace}/{name} has no public part, or does not exist.",
            "Only stored certificates have one: kind x509-ca, or x509 with scope policy.",
        )

    def refusal(self, identifier: str) -> dict[str, Any]:
        """A refusal with every condition that was not met."""
        return self._ask("GET", f"/refusals/{quote(identifier, safe='')}")

    def audit(self, after: int = 0) -> dict[str, Any]:
        """A page of the audit log: entries (sequence, body, hash) and the head (sequence, hash, genuine)."""
        return self._ask("GET", "/audit?" + urlencode({"after": after}))

    def _connection(self) -> http.client.HTTPConnection:
        if self._path is None:
            raise Misconfigured("admin-address", "No administration socket was named.")
        return _UnixConnection(self._path)

    def _ask(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> dict[str, Any]:
        connection = self._connection()
        try:
            connection.request(method, f"/admin/v1{path}", body, {"Content-Type": kind} if kind else {})
            response = connection.getresponse()
            data = response.read(_MAX_ANSWER + 1)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()
        answer = _object(data)
        if response.status != http.client.OK:
            _raise(response.status, answer)
        return answer

    def _unreachable(self, error: Exception) -> Unavailable:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Unavailable(
            "broker-unreachable",
            f"The broker does not answer at {self._where}: {reason}.",
            "Start it with `kloister up`, or name its state directory with --state.",
        )


class RemoteAdminClient(AdminClient):
    """The same over mutual TLS.

    Args:
        address: `HOST:PORT`.
        name: the broker's name in its certificate.
        ca: PEM file of the broker's authority.
        certificate, key: PEM files of this administrator.
    """

    def __init__(self, address: str, name: str, ca: Path, certificate: Path, key: Path) -> None:
        super().__init__(Path(address))
        self._host, _, self._port = address.rpartition(":")
        self._name = name
        try:
            self._context = ssl.create_default_context(cafile=str(ca))
            self._context.minimum_version = ssl.TLSVersion.TLSv1_3
            self._context.load_cert_chain(certificate, key)
        except ssl.SSLError:
            raise Misconfigured("admin-certificate", "A certificate or key of the administrator is unusable.") from None

    def _connection(self) -> http.client.HTTPConnection:
        return _TlsConnection(self._host.strip("[]"), int(self._port), self._name, self._context)


class _TlsConnection(http.client.HTTPConnection):
    """HTTPS to an address under a name of its own."""

    def __init__(self, host: str, port: int, name: str, context: ssl.SSLContext) -> None:
        super().__init__(name, timeout=_PATIENCE)
        self._target = (host, port)
        self._name = name
        self._context = context

    def connect(self) -> None:
        """Connect and shake hands."""
        plain = socket.create_connection(self._target, _PATIENCE)
        self.sock = self._context.wrap_socket(plain, server_hostname=self._name)


def _path(namespace: str, name: str) -> str:
    return f"/policies/{quote(namespace, safe='')}/{quote(name, safe='')}"


def _object(data: bytes) -> dict[str, Any]:
    answer = load_json(data, "broker-response", _MAX_ANSWER)
    if not isinstance(answer, dict):
        raise Malformed("broker-response", "The broker's answer is not a JSON object.")
    return answer


def _list(answer: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = answer.get(name)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Malformed("broker-response", f"The broker's answer has no list of {name}.")
    return found


def _raise(status: int, answer: dict[str, Any]) -> NoReturn:
    error = answer.get("error")
    fields = error if isinstance(error, dict) else {}
    code, text, hint = (str(fields.get(name, "")) for name in ("code", "text", "hint"))
    family = _FAMILIES.get(status, Unavailable)
    raise family(code or "broker-response", text or f"The broker answered with status {status}.", hint)
