"""Takes the certificate of a TLS server. The connection trusts nothing: what the certificate says is verified."""

from __future__ import annotations

import re
import socket
import ssl

from kloister.errors import Malformed, Unavailable, Unverified

TIMEOUT = 10.0  # seconds for connecting and for the handshake
_ADDRESS = re.compile(r"https://(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]{1,253}))(?::(\d{1,5}))?/?", re.ASCII)
_PORT = 443


def server_certificate(url: str, timeout: float = TIMEOUT) -> bytes:
    """The certificate (DER) of the server that holds its key: the handshake proves that.

    Raises:
        Malformed: `server-address`.
        Unavailable: `server-unreachable`. Unverified: `server-no-certificate`.
    """
    host, port = _address(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # an RA-TLS certificate is self-signed; its evidence vouches for it
    try:
        with (
            socket.create_connection((host, port), timeout) as plain,
            context.wrap_socket(plain, server_hostname=host) as tls,
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


def _address(url: str) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(url)
    port = int(found[3]) if found and found[3] else _PORT
    if found is None or not 0 < port < 1 << 16:
        raise Malformed("server-address", f"{url[:128]!a} is no address.", "Give https://HOST:PORT.")
    return found[1] or found[2], port
