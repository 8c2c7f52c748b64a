"""A TLS server on loopback whose answers a test scripts, and the certificates for it."""

from __future__ import annotations

import datetime as dt
import hashlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

START = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
END = dt.datetime(2049, 1, 1, tzinfo=dt.UTC)

Answer = Callable[[str, bytes], bytes]


def answer(status: int, body: bytes) -> bytes:
    """An HTTP response as a server would send it."""
    return f"HTTP/1.1 {status} X\r\nServer: test\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Authority:
    """A CA and one server certificate under it."""

    ca: str
    chain: Path
    key: Path
    leaf: x509.Certificate

    @property
    def broker_key(self) -> bytes:
        spki = self.leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(spki).digest()


def certificate(subject: str, key: Any, issuer: x509.Name, signer: Any, *, authority: bool) -> x509.Certificate:
    """A certificate of `subject` signed by `signer`."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number(), START, END)
    builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    return builder.sign(signer, SHA256())


def make_authority(folder: Path, name: str = "broker") -> Authority:
    """A fresh CA called `name` and a server certificate, as files in `folder`."""
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} ca")])
    root = certificate(f"{name} ca", root_key, issuer, root_key, authority=True)
    leaf = certificate(name, key, issuer, root_key, authority=False)
    chain, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    chain.write_bytes(leaf.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Authority(root.public_bytes(Encoding.PEM).decode(), chain, key_file, leaf)


@dataclass
class Server:
    """Where it listens, and what it was asked."""

    address: str
    seen: list[tuple[str, bytes]]


@contextmanager
def serve(authority: Authority | None, reply: Answer) -> Iterator[Server]:
    """Answer each request with the raw bytes of `reply(path, body)`; without authority, in plain text."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(f"127.0.0.1:{listener.getsockname()[1]}", [])
    thread = threading.Thread(target=_accept, args=(listener, authority, reply, server.seen))
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def _accept(listener: socket.socket, authority: Authority | None, reply: Answer, seen: list[tuple[str, bytes]]) -> None:
    context = None
    if authority is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.chain, authority.key)
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        with plain:
            plain.settimeout(60)
            try:
                _converse(context.wrap_socket(plain, server_side=True) if context else plain, reply, seen)
            except OSError:
                continue


def _converse(peer: socket.socket, reply: Answer, seen: list[tuple[str, bytes]]) -> None:
    with peer, peer.makefile("rb") as stream:
        while line := stream.readline():
            path = line.split(b" ")[1].decode()
            size = 0
            while (header := stream.readline().strip()) != b"":
                key, _, value = header.partition(b":")
                size = int(value) if key.lower() == b"content-length" else size
            body = stream.read(size)
            seen.append((path, body))
            response = reply(path, body)
            peer.sendall(response)
            if not response.startswith(b"HTTP/1.1 2") or b"\r\n\r\n" not in response:
                return
