"""RA-TLS certificates made to order around a forged quote, and a server that shows one."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from socket import create_server

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from kloister.formats.ratls import Form, RatlsEvidence, build_certificate, claims_for
from tests.support.evidence import ENCLAVE, NOW, Forge
from tests.support.ports import free_port

_ABSENT = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
KEY = ec.derive_private_key(0xC0FFEE, ec.SECP384R1())


def spki(key: ec.EllipticCurvePrivateKey = KEY) -> bytes:
    """SubjectPublicKeyInfo, DER."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def ratls(
    forge: Forge,
    form: Form = Form.LEGACY,
    *,
    key: ec.EllipticCurvePrivateKey = KEY,
    claimed: bytes | None = None,
    bound: bytes | None = None,
    start: datetime = NOW - timedelta(days=1),
) -> bytes:
    """A certificate (DER) of `key` with evidence that claims the key `claimed` and binds `bound` (both SPKI)."""
    claims = claims_for(claimed or spki(key), b"nonce") if form is Form.DICE else b""
    empty = RatlsEvidence(form=form, quote=b"", claims=claims)
    report = replace(ENCLAVE, report_data=empty.report_data(bound or spki(key)))
    quote = replace(forge, enclave=report).quote()
    evidence = RatlsEvidence.of(quote, claims) if form is Form.DICE else replace(empty, quote=quote)
    return build_certificate(key, evidence, not_before=start, not_after=start + timedelta(days=3))


@contextmanager
def serving(
    certificate: bytes, folder: Path, key: ec.EllipticCurvePrivateKey = KEY, keys: bytes | None = None
) -> Iterator[str]:
    """A TLS server on the loopback interface that shows the certificate, and `keys` at /certs; its URL."""
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(secret)
    (folder / "certificate.pem").write_text(ssl.DER_cert_to_PEM_cert(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    listening = create_server(("127.0.0.1", free_port()))  # nobody else has it afterwards
    listening.settimeout(0.1)
    done = threading.Event()

    def answer() -> None:
        while not done.is_set():
            with suppress(OSError):
                connection, _ = listening.accept()
                connection.settimeout(60)
                with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                    if tls.recv(4096).startswith(b"GET /certs HTTP/1.1\r\n"):
                        tls.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + keys if keys else _ABSENT)
                        tls.unwrap()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        done.set()
        thread.join()
        listening.close()
