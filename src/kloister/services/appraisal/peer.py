"""Takes the certificate of a server that evidence vouches for. The connection trusts nothing: that is verified.

It is the server's own certificate (RA-TLS), or that of the key by which an attestation service signs its tokens.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from http.client import HTTPException, HTTPSConnection

from kloister.errors import KloisterError, Malformed, Unavailable, Unverified
from kloister.formats.ratls import RatlsCertificate
from kloister.formats.tokens import JwkSet
from kloister.formats.tokens.jwk import MAX_SIZE as MAX_KEYS

TIMEOUT = 10.0  # seconds for connecting and for the handshake
_ADDRESS = re.compile(r"https://(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]{1,253}))(?::(\d{1,5}))?/?", re.ASCII)
_PORT = 443
_KEYS = "/certs"  # where Azure's attestation service shows its keys, and ours
_OK = 200


def server_evidence(url: str, timeout: float = TIMEOUT) -> bytes:
    """The certificate (DER) of a server that carries evidence; its own one where neither does.

    Raises:
        As `server_certificate`.
    """
    own = server_certificate(url, timeout)
    return own if _speaks(own) else (signing_certificate(url, timeout) or own)


def signing_certificate(url: str, timeout: float = TIMEOUT) -> bytes | None:
    """The first certificate with evidence among those of the keys that the server signs tokens by; None without one.

    Nothing ties such a key to the connection: what the evidence is about is the key, and the tokens under it.
    """
    host, port = _address(url)
    connection = HTTPSConnection(host, port, timeout=timeout, context=_untrusting())
    until = time.monotonic() + timeout
    body = b""
    try:
        connection.request("GET", _KEYS, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        while answer.status == _OK and (block := answer.read1()):
            body += block
            if len(body) > MAX_KEYS or time.monotonic() > until:
                return None
        keys = JwkSet.parse(body).keys
    except (OSError, ValueError, HTTPException, Malformed):
        return None
    finally:
        connection.close()
    return next((one for key in keys for one in key.x5c if _speaks(one)), None)


def server_certificate(url: str, timeout: float = TIMEOUT) -> bytes:
    """The certificate (DER) of the server that holds its key: the handshake proves that.

    Raises:
        Malformed: `server-address`.
        Unavailable: `server-unreachable`. Unverified: `server-no-certificate`.
    """
    host, port = _address(url)
    try:
        with (
            socket.create_connection((host, port), timeout) as plain,
            _untrusting().wrap_socket(plain, server_hostname=host) as tls,
        ):
            certificate = tls.getpeercert(binary_form=True)
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or type(error).__name__
        raise Unavailable(
            "server-unreachable", f"{host}:{port} cannot be asked for its certificate: {what}.", "Check the address."
        ) from None
    if certificate is None:
        raise Unverified("server-no-certificate", f"{host}:{port} showed no certificate.")
    return certificate


def _untrusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # what is taken is self-signed; its evidence vouches for it
    return context


def _speaks(certificate: bytes) -> bool:
    """Whether it carries evidence: good or bad, that is what is judged."""
    try:
        RatlsCertificate.parse(certificate)
    except KloisterError as error:
        return error.code not in ("ratls-no-evidence", "ratls-certificate", "ratls-size")
    return True


def _address(url: str) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(url)
    port = int(found[3]) if found and found[3] else _PORT
    if found is None or not 0 < port < 1 << 16:
        raise Malformed("server-address", f"{url[:128]!a} is no address.", "Give https://HOST:PORT.")
    return found[1] or found[2], port
