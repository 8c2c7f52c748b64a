"""A service that runs in a TEE itself: its root key sealed by it, and its evidence in the certificates of its keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kloister.errors import KloisterError, Misconfigured
from kloister.formats.dcap.open_enclave import build_report
from kloister.formats.sgx import Attributes, KeyRequest, Report
from kloister.formats.sgx.keyrequest import KeyName, KeyPolicy

_DOMAIN = b"kloister/attestation/root-key/v1"
_NONCE = 12  # bytes, AES-GCM
_ALL = Attributes(0xFFFFFFFFFFFFFFFF, 0)  # the key depends on every flag, DEBUG among them


class Tee(Protocol):
    """As much of the processor as the service needs."""

    def quote(self, report_data: bytes) -> bytes:
        """A quote over 64 bytes."""

    def report(self, target_info: bytes, report_data: bytes) -> bytes:
        """A report of 432 bytes."""

    def target_info(self) -> bytes:
        """The enclave's own, 512 bytes."""

    def key(self, request: bytes) -> bytes:
        """The key (16 bytes) for a KEYREQUEST."""


def evidence(tee: Tee, digest: bytes) -> bytes:
    """An Open Enclave report over the digest (32 bytes) of a signing key, and 32 zero bytes."""
    return build_report(tee.quote(digest + bytes(64 - len(digest))))


def seal(tee: Tee, root: bytes, draw: Callable[[int], bytes]) -> bytes:
    """The root key for this very enclave on this very machine, at its present security versions or later ones."""
    body = Report.parse(tee.report(tee.target_info(), bytes(64))).body
    request = KeyRequest(
        keyname=KeyName.SEAL,
        keypolicy=KeyPolicy.MRENCLAVE,
        isvsvn=body.isvsvn,
        cpusvn=body.cpusvn,
        attribute_mask=_ALL,
        keyid=draw(32),
    ).build()
    nonce = draw(_NONCE)
    return request + nonce + AESGCM(_key(tee, request)).encrypt(nonce, root, request)


def unseal(tee: Tee, data: bytes) -> bytes:
    """The reverse.

    Raises:
        Misconfigured: `root-key-damaged`, it was changed, or another enclave or machine sealed it.
    """
    request, nonce, sealed = data[: KeyRequest.SIZE], data[KeyRequest.SIZE :][:_NONCE], data[KeyRequest.SIZE + _NONCE :]
    try:
        return AESGCM(_key(tee, request)).decrypt(nonce, sealed, request)
    except (InvalidTag, ValueError, KloisterError):
        raise Misconfigured(
            "root-key-damaged",
            "The sealed root key cannot be opened by this enclave on this machine.",
            "Start the enclave that sealed it, or begin anew with another root_key and database.",
        ) from None


def _key(tee: Tee, request: bytes) -> bytes:
    return HKDF(SHA256(), 32, None, _DOMAIN).derive(tee.key(request))
