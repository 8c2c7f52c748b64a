"""The broker's own keys on disk: the root key, its authority, its server certificate. Files 0600, made once."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509

from kloister import files
from kloister.errors import Misconfigured
from kloister.services.broker import certificates
from kloister.services.broker.certificates import Key
from kloister.services.broker.vault import ROOT_SIZE

_MAX_FILE = 64 * 1024  # bytes of a key or certificate file


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority and its key."""

    certificate: x509.Certificate
    key: Key = field(repr=False)

    @property
    def pair(self) -> tuple[x509.Certificate, Key]:
        """What `issue_leaf` takes."""
        return self.certificate, self.key


def root_key(directory: Path, draw: Callable[[int], bytes]) -> bytes:
    """The root key, 32 bytes, from `root.key`; made together with the first database.

    Raises:
        Misconfigured: `root-key-missing`, `root-key-damaged`, `key-exposed`.
    """
    path = directory / "root.key"
    if not path.exists():
        if (directory / "broker.db").exists():
            raise Misconfigured(
                "root-key-missing",
                f"{path} is gone, and the secrets in broker.db cannot be read without it.",
                "Restore it, or move broker.db away to begin anew without its secrets.",
            )
        files.replace(path, draw(ROOT_SIZE))
    key = read_private(path)
    if len(key) != ROOT_SIZE:
        raise Misconfigured("root-key-damaged", f"{path} has {len(key)} bytes, not {ROOT_SIZE}.", "Restore it.")
    return key


def authority(directory: Path, name: str, common_name: str, now: datetime, draw: Callable[[int], bytes]) -> Authority:
    """The authority in `NAME.pem` and `NAME.key`, made at first need.

    Raises:
        Misconfigured: `key-missing`, `key-damaged`, `certificate-damaged`, `key-exposed`.
    """
    certificate_path, key_path = directory / f"{name}.pem", directory / f"{name}.key"
    if not certificate_path.exists():  # written last: without it nobody has seen the key
        key = certificates.new_key()
        certificate = certificates.issue_ca(common_name, key, now, draw(16))
        files.replace(key_path, certificates.key_pem(key))
        files.replace(certificate_path, certificates.pem(certificate))
    if not key_path.exists():
        raise Misconfigured("key-missing", f"{key_path} is gone, but {certificate_path} is there.", "Restore it.")
    return Authority(
        certificates.load_certificate(read_private(certificate_path)), certificates.load_key(read_private(key_path))
    )


def leaf(
    directory: Path,
    name: str,
    issuer: Authority,
    names: Sequence[str],
    now: datetime,
    draw: Callable[[int], bytes],
) -> bool:
    """Keep the server's certificate in `NAME.pem` (with its issuer) and `NAME.key` valid; whether it was issued anew.

    The key stays when the certificate is renewed, so that exchanges under way go on.
    """
    certificate_path, key_path = directory / f"{name}.pem", directory / f"{name}.key"
    if not key_path.exists():
        files.replace(key_path, certificates.key_pem(certificates.new_key()))
    key = certificates.load_key(read_private(key_path))
    if certificate_path.exists() and _usable(read_private(certificate_path), key, issuer, names, now):
        return False
    certificate = certificates.issue_leaf(names[0], names, key, issuer.pair, now, draw(16))
    files.replace(certificate_path, certificates.pem(certificate) + certificates.pem(issuer.certificate))
    return True


def key_hash(path: Path) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo (DER) of the key in a PEM file."""
    return hashlib.sha256(certificates.spki(certificates.load_key(read_private(path)))).digest()


def _usable(pem: bytes, key: Key, issuer: Authority, names: Sequence[str], now: datetime) -> bool:
    try:
        certificate = certificates.load_certificate(pem)
        certificate.verify_directly_issued_by(issuer.certificate)
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # noqa: BLE001  whatever is wrong with it, a new one is the remedy
        return False
    present = {str(one.value) for one in found}
    fresh = certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - certificates.RENEW_BEFORE
    return fresh and present >= set(names) and certificate.public_key() == key.public_key()


def read_private(path: Path) -> bytes:
    """Read a file that nobody else may read. Raises `Misconfigured` `key-exposed` where somebody can."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise Misconfigured(
                "key-exposed",
                f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}).",
                f"Take it for known to them, or if it was never exposed: chmod 600 {path}",
            )
        return file.read(_MAX_FILE)
