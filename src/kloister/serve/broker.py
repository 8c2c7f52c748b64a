"""The broker as a process: keys, storage, collateral and the listeners put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from kloister import clock, entropy
from kloister.errors import Misconfigured
from kloister.serve.collateral import open_source
from kloister.serve.state import State, only_one, private
from kloister.services.broker import keys, listeners
from kloister.services.broker.admin import admin_app
from kloister.services.broker.appraiser import CachingAppraiser, FetchingAppraiser
from kloister.services.broker.binding import bind_tcp, bind_unix
from kloister.services.broker.listeners import CertificateProtocol, Listener, OwnerProtocol, TimelyProtocol
from kloister.services.broker.release import ReleaseDesk
from kloister.services.broker.rest import release_app
from kloister.services.broker.service import Administration
from kloister.services.broker.settings import Settings
from kloister.services.broker.vault import Vault
from kloister.services.collateral.settings import Settings as CollateralSettings
from kloister.services.storage.sqlite import SqliteStorage
from kloister.tee.simulated.client import PlatformClient
from kloister.trust.verifier import INTEL_ROOT, Collateral, Root

ADMIN_HOST = "kloister"  # the value of Host on the Unix socket
_QUOTE_SECONDS = 30  # a guest's patience (client.release): it has its nonce, and its platform makes the quote
_RENEWAL_SECONDS = 6 * 3600.0  # between looks at the server certificate
LOG = logging.getLogger("kloister.broker")


class PlatformSource:
    """Collateral and root of the simulated platform beside this broker: the one root that it admits."""

    def __init__(self, control: Path) -> None:
        self._client = PlatformClient(control)

    def collateral(self) -> Collateral:
        """The platform's collateral now."""
        return Collateral.from_json(self._client.collateral())

    def roots(self) -> Sequence[Root]:
        """The platform's root."""
        return [Root.from_der(self._client.root())]


@dataclass(frozen=True, slots=True)
class Remote:
    """Administration over mutual TLS.

    Attributes:
        address: `HOST:PORT` to listen at.
        name: the name that clients use, in the certificate and in Host.
    """

    address: str
    name: str


@dataclass(frozen=True, slots=True)
class Platforms:
    """Real platforms instead of the simulated one beside this broker.

    Attributes:
        collateral: where it is fetched, and kept.
        roots: who may vouch.
    """

    collateral: CollateralSettings
    roots: tuple[Root, ...] = (INTEL_ROOT,)

    @property
    def simulated(self) -> bool:
        """Whether a simulated platform is among those that are admitted."""
        return any(root.simulated for root in self.roots)

    def appraiser(self) -> FetchingAppraiser:
        """Verifies quotes by each platform's own collateral. Raises `Misconfigured`: `source-ca`."""
        source = open_source(replace(self.collateral, background=True), self.roots)
        return FetchingAppraiser(source, self.roots, self.collateral.update)


def run(root: Path, address: str, remote: Remote | None = None, platforms: Platforms | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        root: the state directory.
        address: `HOST:PORT` of the release interface.
        remote: administration over mutual TLS, if wanted.
        platforms: whose evidence is admitted; None: that of the simulated platform beside this broker.

    Raises:
        Misconfigured: `port-in-use`, `listen-address`, `broker-running`, `root-key-missing`, `key-*`, `storage-*`.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )
    directory = private(State(root).broker)
    lock = only_one(directory)
    if lock is None:
        raise Misconfigured(
            "broker-running", f"A broker serves {directory} already.", "Stop it with `kloister down` first."
        )
    with lock, contextlib.ExitStack() as opened:
        asyncio.run(_Broker(State(root), address, remote, platforms, opened).serve())


class _Broker:
    """One running broker; made in the order in which things can go wrong for the operator.

    What it opens is closed with `opened`, also where the making ends half-way.
    """

    def __init__(
        self,
        state: State,
        address: str,
        remote: Remote | None,
        platforms: Platforms | None,
        opened: contextlib.ExitStack,
    ) -> None:
        directory, self._now = state.broker, clock.now()
        self._directory = directory
        public = opened.enter_context(bind_tcp(address))
        self._host = address.rpartition(":")[0].strip("[]")
        self._authority = keys.authority(directory, "ca", "Kloister broker", self._now, entropy.draw)
        self._renew(self._now)
        self._context = listeners.server_context(directory / "tls.pem", directory / "tls.key")
        vault = Vault(keys.root_key(directory, entropy.draw), entropy.draw)
        storage = SqliteStorage(directory / "broker.db")
        opened.callback(storage.close)
        # without other platforms it admits the root of the simulated one beside it
        settings = Settings(simulated=platforms is None or platforms.simulated)
        appraiser = platforms.appraiser() if platforms else CachingAppraiser(PlatformSource(state.control))
        desk = ReleaseDesk(storage, vault, appraiser, keys.key_hash(directory / "tls.key"), settings)
        self._administration = Administration(storage, vault, settings)
        self._listeners = [Listener(release_app(desk), public, TimelyProtocol, self._context, rest=_QUOTE_SECONDS)]
        if remote is not None:
            remote_socket = opened.enter_context(bind_tcp(remote.address))
            self._listeners.append(self._remote(remote, remote_socket))
        app = admin_app(self._administration, [ADMIN_HOST])
        # last: whoever finds this socket finds a broker that is ready
        admin = opened.enter_context(bind_unix(state.admin))
        opened.callback(state.admin.unlink, missing_ok=True)
        self._listeners.append(Listener(app, admin, OwnerProtocol, None))

    def _renew(self, now: datetime) -> bool:
        names = list(dict.fromkeys(["kloister-broker", "localhost", "127.0.0.1", "::1", self._host]))
        names = [name for name in names if name not in ("0.0.0.0", "::")]  # noqa: S104  left out, not bound
        return keys.leaf(self._directory, "tls", self._authority, names, now, entropy.draw)

    def _remote(self, remote: Remote, sock: socket.socket) -> Listener:
        now, directory = self._now, self._directory
        keys.leaf(directory, "admin-tls", self._authority, [remote.name], now, entropy.draw)
        clients = keys.authority(directory, "admin-ca", "Kloister administrators", now, entropy.draw)
        keys.leaf(directory, "admin-client", clients, ["owner"], now, entropy.draw)
        context = listeners.server_context(
            directory / "admin-tls.pem", directory / "admin-tls.key", directory / "admin-ca.pem"
        )
        port = remote.address.rpartition(":")[2]
        app = admin_app(self._administration, [remote.name, f"{remote.name}:{port}"])
        return Listener(app, sock, CertificateProtocol, context)

    async def serve(self) -> None:
        """Listen on everything until a signal comes."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        renewal = asyncio.create_task(self._keep_fresh(self._context))
        LOG.info("serving; this instance is declared simulated: it admits a simulated platform's root")
        try:
            await asyncio.gather(*(listener.listen() for listener in self._listeners))
        finally:
            renewal.cancel()

    def _stop(self, number: signal.Signals) -> None:
        LOG.info("stopping: %s came", number.name)
        for listener in self._listeners:
            listener.should_exit = True

    async def _keep_fresh(self, context: ssl.SSLContext) -> None:
        while True:
            await asyncio.sleep(_RENEWAL_SECONDS)
            try:
                if self._renew(clock.now()):
                    context.load_cert_chain(self._directory / "tls.pem", self._directory / "tls.key")
                    LOG.info("the server certificate was renewed")
            except (OSError, Misconfigured) as error:
                LOG.warning("the server certificate could not be renewed: %s", error)
