"""The attestation service in this process: real storage, keys and verifier, evidence of a simulated platform."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from kloister.formats.tokens import Jws
from kloister.formats.wire import b64url
from kloister.serve.attestation import AttestationProcess, tls_files
from kloister.services.attestation.listening import AttestationProtocol, tls_context
from kloister.services.attestation.settings import Settings
from kloister.services.broker.binding import bind_tcp
from kloister.services.broker.listeners import Listener
from kloister.services.broker.vault import Vault
from tests.support.evidence import ENCLAVE, NOW, Forge
from tests.support.trust_domains import TDX10, TdForge

BEARER = "a-token-of-the-tests"
AAD, ISOLATED, SHARED, STRICT = (f"https://{name}.attest.test" for name in ("aad", "isolated", "shared", "strict"))
PERMIT = "version=1.0; authorizationrules{=> permit();}; issuancerules{};"
ROOT_KEY = bytes(range(32))


@dataclass(frozen=True)
class Signer:
    """Who signs policies: a key with a self-signed certificate, both also in PEM."""

    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, name: str, *, curve: bool = False) -> Signer:
        """A new one."""
        key = ec.generate_private_key(ec.SECP256R1()) if curve else rsa.generate_private_key(65537, 2048)
        return cls(key, issue(name, key, name, key))

    @property
    def key_pem(self) -> str:
        """PKCS #8."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    @property
    def pem(self) -> str:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def x5c(self) -> str:
        """The certificate, base64."""
        return base64.b64encode(self.der).decode()


def issue(
    name: str,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    *,
    ca: bool = True,
) -> x509.Certificate:
    """A certificate of today."""
    now = datetime.now(UTC)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer)]
    builder = x509.CertificateBuilder(names[1], names[0], key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=10))
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    return builder.sign(issuer_key, hashes.SHA256())


def settings(directory: Path, instances: list[dict[str, Any]] | None = None, **sections: Any) -> Settings:
    """Settings of a service that admits the forge's platform, judged when its collateral is in force."""
    collateral = directory / "bundles"
    collateral.mkdir(exist_ok=True)
    (collateral / "sgx.json").write_text(json.dumps(Forge().documents()))
    (collateral / "tdx.json").write_text(json.dumps(TdForge().documents()))
    (directory / "root.der").write_bytes(Forge().pki.root_der())
    document = {
        "auth": {"dangerous_bearer_tokens": [BEARER]},
        "collateral": {"directory": "bundles"},
        "appraisal": {"extra_roots": ["root.der"], "dangerous_at": int(NOW.timestamp())},
        "limits": {"rate": 0},
        "logs": {"requests": False},
        "instances": instances or [{"base_url": AAD, "simulated": True}],
        **sections,
    }
    return Settings.read(document, directory, {}, {})


@contextmanager
def running(given: Settings) -> Iterator[AttestationProcess]:
    """The service, closed at the end."""
    with ExitStack() as opened:
        yield AttestationProcess(given, Vault(ROOT_KEY, lambda size: bytes(range(size))), opened)


@dataclass(frozen=True)
class Answer:
    """What the application sent."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)

    @property
    def claims(self) -> dict[str, Any]:
        """Of the token in the body."""
        return Jws.parse(self.json["token"]).claims

    @property
    def reason(self) -> str:
        """Our code of a refusal; empty of an answer."""
        return "" if self.status == 200 else str(self.json["error"]["innererror"]["code"])

    @property
    def code(self) -> str:
        """Azure's code of a refusal."""
        return str(self.json["error"]["code"])


def ask(
    process: AttestationProcess,
    method: str,
    target: str,
    body: bytes | str | dict[str, Any] = b"",
    *,
    base: str = AAD,
    headers: Mapping[str, str] | None = None,
    bearer: str | None = BEARER,
    silent: bool = False,
) -> Answer:
    """One request, by ASGI; `api-version` is added where the target has no query. `silent`: the body never comes."""
    path, _, query = target.partition("?")
    data = json.dumps(body).encode() if isinstance(body, dict) else body.encode() if isinstance(body, str) else body
    given = {"host": base.removeprefix("https://"), **(headers or {})}
    if bearer is not None:
        given["authorization"] = f"Bearer {bearer}"
    scope: dict[str, Any] = {
        "type": "http", "method": method, "path": path, "client": ("192.0.2.1", 1),
        "query_string": (query if "?" in target else "api-version=2020-10-01").encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }  # fmt: skip
    return asyncio.run(_call(process, scope, data, silent=silent))


async def _call(process: AttestationProcess, scope: dict[str, Any], data: bytes, *, silent: bool) -> Answer:
    sent: list[Any] = []
    parts = [data[start : start + 4096] for start in range(0, len(data), 4096)] or [b""]
    messages = iter([{"type": "http.request", "body": part, "more_body": part is not parts[-1]} for part in parts])

    async def receive() -> Any:
        if silent:
            await asyncio.Event().wait()
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    await process.app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], headers, sent[1]["body"])


def bound(data: bytes) -> bytes:
    """Report data that binds a client's data."""
    return hashlib.sha256(data).digest() + bytes(32)


def sgx_quote(data: bytes = b"", **others: Any) -> bytes:
    """A quote of the forge's enclave that binds the client's data."""
    return Forge(enclave=replace(ENCLAVE, report_data=bound(data), **others)).quote()


def tdx_quote(data: bytes = b"", **others: Any) -> bytes:
    """A quote of the forge's trust domain that binds the client's data."""
    return TdForge(report=replace(TDX10, report_data=bound(data), **others)).quote()


def client_data(data: bytes, kind: str = "Binary") -> dict[str, str]:
    """`runtimeData` or `initTimeData`."""
    return {"data": b64url(data), "dataType": kind}


def open_enclave(quote: bytes) -> bytes:
    """A quote as Open Enclave wraps it."""
    return b"\1\0\0\0\2\0\0\0" + len(quote).to_bytes(8, "little") + quote


@contextmanager
def served(given: Settings) -> Iterator[int]:
    """The service behind TLS on a port of the loopback, in a thread; the port."""
    certificate, key = tls_files(given)
    with bind_tcp(given.listen) as sock, running(given) as process:
        listener = Listener(process.app, sock, AttestationProtocol, tls_context(certificate, key))
        thread = threading.Thread(target=lambda: asyncio.run(listener.listen()))
        thread.start()
        try:
            yield int(sock.getsockname()[1])
        finally:
            listener.should_exit = True
            thread.join()
