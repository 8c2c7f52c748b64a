"""`kloister serve platform`: the simulated platform's daemon, composed."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from kloister import entropy
from kloister.errors import Malformed, Misconfigured
from kloister.runtime.runner import spawner
from kloister.serve.recovery import Recoveries
from kloister.simulator.epc import EpcNode
from kloister.simulator.fuses import Fuses
from kloister.simulator.platform import DEFAULT_NODES, SimulatedPlatform
from kloister.tee.simulated.daemon import Daemon
from kloister.tee.simulated.privileges import become, hide
from kloister.tee.simulated.spawning import SpawnerLink
from kloister.tee.simulated.store import Store, find_user

USER_SETTING = "KLOISTER_PLATFORM_USER"
EPC_SETTING = "KLOISTER_PLATFORM_EPC"
_KEYID = 32  # bytes, REPORT.KEYID
_LEAST_EPC = 1 << 20  # bytes; the quoting enclaves alone take some of it
_MOST_EPC = 1 << 44  # bytes of a node; beyond every machine that has SGX
_MOST_TEXT = 256  # characters of the setting: 8 packages of 4 nodes fit
_LOG = logging.getLogger("kloister.platform")


def run(state: Path, ready: Callable[[], None] = lambda: None) -> None:
    """Serve the platform of STATE until SIGTERM.

    Args:
        state: the state directory; the platform's part is `platform` below it.
        ready: called when requests are answered from now on.

    Raises:
        Misconfigured: `platform-running`, `platform-state`, `platform-user`, `platform-epc`.
        Malformed: `fuses-*`.
    """
    epc = _epc(os.environ.get(EPC_SETTING))
    user = _user(os.environ.get(USER_SETTING))
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    link = SpawnerLink.fork(spawner.serve)  # before a key is read: what it starts can hold none
    try:
        store = Store.open(state.absolute() / "platform")
    except BaseException:
        link.close()
        raise
    daemon = _compose(store, link, epc, user)
    for sentence in daemon.not_held():
        _LOG.warning("%s", sentence)
    daemon.run(lambda: _say_ready(store, ready))


def _compose(store: Store, link: SpawnerLink, epc: tuple[EpcNode, ...], user: tuple[int, int] | None) -> Daemon:
    try:
        fuses = fuses_of(store)
        author = Author(store)
        recovery = Recoveries(store)
        platform = SimulatedPlatform(fuses, entropy.draw(_KEYID), epc, author=author, recovery=recovery)
        listener = store.listen("control.sock", 0o600)
        if user is not None:
            author.load()  # as long as its file is ours
            store.share_with(user[1])
            become(*user)
        hide()
        return Daemon(store, platform, link, listener, apart=user is not None)
    except BaseException:
        link.close()
        store.close()
        raise


def fuses_of(store: Store) -> Fuses:
    """The fuses of a store, made the first time. Raises `Malformed` (`fuses-*`)."""
    return Fuses.parse(store.secret("fuses", _new_fuses))


def _new_fuses() -> bytes:
    return Fuses.create(entropy.draw(Fuses.ENTROPY)).build()


class Author:
    """Signs the enclaves of `quoteContent`: a key of this platform, made when it is first wanted."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key: rsa.RSAPrivateKey | None = None

    def __call__(self, data: bytes) -> tuple[int, int, int]:
        """Exponent, modulus and RSASSA-PKCS1-v1_5 signature over SHA-256 of `data`."""
        key = self.load()
        numbers = key.public_key().public_numbers()
        signature = key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return numbers.e, numbers.n, int.from_bytes(signature, "big")

    def load(self) -> rsa.RSAPrivateKey:
        """The key, read or made."""
        if self._key is None:
            self._key = _author_key(self._store.secret("author.pem", _new_author))
        return self._key


def _author_key(data: bytes) -> rsa.RSAPrivateKey:
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise Malformed("author-key", "The platform's author.pem is no RSA key.", "Delete it; it is made anew.")
    return key


def _new_author() -> bytes:
    key = rsa.generate_private_key(public_exponent=3, key_size=3072)  # as SIGSTRUCT requires
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _say_ready(store: Store, ready: Callable[[], None]) -> None:
    _LOG.info("platform ready on %s", store.path / "control.sock")
    ready()


def _user(name: str | None) -> tuple[int, int] | None:
    """The user to become: none where no name is set, we are not root, or the machine has no such user."""
    if not name or os.geteuid() != 0:
        return None
    found = find_user(name)
    if found is None:
        _LOG.warning("there is no user %s on this machine; the platform stays root", name)
    return found


def _epc(text: str | None) -> tuple[EpcNode, ...]:
    """The setting: MiB of EPC of each NUMA node, `,` between a package's nodes, `/` between packages."""
    if not text:
        return DEFAULT_NODES
    packages = text.split("/") if len(text) < _MOST_TEXT else [""]
    nodes = tuple(
        EpcNode(_mebibytes(size), number) for number, sizes in enumerate(packages) for size in sizes.split(",")
    )
    if not all(_LEAST_EPC <= node.size <= _MOST_EPC for node in nodes):
        raise Misconfigured(
            "platform-epc",
            f"{EPC_SETTING} must be a whole number of MiB, or one for each NUMA node, not {text[:32]!a}.",
            "Try 4096, or 2048,2048/2048,2048 for two packages of two nodes, or unset it.",
        )
    return nodes


def _mebibytes(text: str) -> int:
    """In bytes; 0 where it is no number."""
    return int(text) << 20 if text.isascii() and text.isdigit() and len(text) < 12 else 0  # noqa: PLR2004 (digits)
