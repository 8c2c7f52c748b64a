"""The attestation service as a process: settings, keys, storage, collateral and the listener put together."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol
from urllib.parse import urlsplit

import uvloop

import kloister
from kloister import clock, entropy, files
from kloister.errors import KloisterError, Misconfigured
from kloister.serve import attestation_parts, workers
from kloister.services.attestation import home, openapi
from kloister.services.attestation.board import Board
from kloister.services.attestation.collateral import (
    CollateralPort,
)
from kloister.services.attestation.ear import EarDesk
from kloister.services.attestation.evidence import Judge
from kloister.services.attestation.exchange import LOG
from kloister.services.attestation.keys import KeyKeeper
from kloister.services.attestation.listening import AttestationProtocol, tls_context
from kloister.services.attestation.logs import AccessLog, JsonFormatter
from kloister.services.attestation.metrics import Metrics
from kloister.services.attestation.nonces import Nonces
from kloister.services.attestation.readiness import Checks
from kloister.services.attestation.rest import AttestationApp
from kloister.services.attestation.service import AttestationService, Parts
from kloister.services.attestation.settings import Settings
from kloister.services.attestation.tpm import TpmDesk
from kloister.services.broker import keys
from kloister.services.broker.listeners import Listener
from kloister.services.broker.vault import ROOT_SIZE, Vault
from kloister.services.storage.attestation import AttestationStore
from kloister.tee.device import Device
from kloister.trust.verifier import Root

_LOOK_SECONDS = 30.0  # between looks at collateral, keys and the server certificate
_PUBLISH_SECONDS = 2.0  # between looks of workers at their own metrics


class Platform(CollateralPort, Protocol):
    """A platform beside the service, the only one that it judges."""

    def roots(self) -> Sequence[Root]:
        """Who vouches for it."""


def run(settings: Settings, platform: Platform | None = None, ready: Callable[[], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: the operator's.
        platform: judged instead of those that the settings name.
        ready: called when everything is made, by the one worker.

    Raises:
        Misconfigured: `attestation-setting`, `port-in-use`, `listen-address`, `tls-files`, `root-key-*`, `storage-*`,
            `collateral-directory`.
        Unavailable: `storage-failed`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    sockets = workers.bind(settings.listen, settings.workers)
    tee = None if settings.tee_socket is None else Processor(str(settings.tee_socket))
    root = root_key(settings, tee)
    Tls(settings)  # what is wrong with it is said here, not by each worker
    _announce(settings)

    with TemporaryDirectory(prefix="kloister-metrics-") as shared:

        def work(sock: socket.socket, number: int) -> None:
            board = Board(Path(shared), number) if settings.workers > 1 else None
            with ExitStack() as opened, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                process = AttestationProcess(settings, Vault(root, entropy.draw), opened, board, tee, platform)
                if ready is not None:
                    ready()
                runner.run(process.serve(sock, Tls(settings)))

        if settings.workers > 1:
            with ExitStack() as opened:  # keys are made once, before workers ask for them
                AttestationProcess(settings, Vault(root, entropy.draw), opened, None, tee)
        workers.run(sockets, work)


class AttestationProcess:
    """One process of the service; what it opens is closed with `opened`."""

    def __init__(
        self,
        settings: Settings,
        vault: Vault,
        opened: ExitStack,
        board: Board | None = None,
        tee: home.Tee | None = None,
        platform: Platform | None = None,
    ) -> None:
        self._settings = settings
        self._metrics = Metrics(clock.monotonic, board)
        store = AttestationStore(settings.database)
        opened.callback(store.close)
        roots, amd_roots = attestation_parts.roots(settings) if platform is None else (platform.roots(), ())
        lists = attestation_parts.lists(settings, amd_roots)
        self._collateral = attestation_parts.collateral(settings, roots, lists) if platform is None else platform
        self._lists = lists
        judge = Judge(
            roots=roots,
            amd_roots=amd_roots,
            accept=settings.appraisal_accept,
            collateral=self._collateral,
            lists=self._lists,
            at=settings.appraisal_dangerous_at,
        )
        keeper = _keeper(settings, vault, tee)
        self.service = AttestationService(
            Parts(
                settings=settings,
                store=store,
                vault=vault,
                keys=keeper,
                judge=judge,
                metrics=self._metrics,
                certificates={each.base_url: attestation_parts.certificates(each) for each in settings.instances},
            )
        )
        self.service.prepare()
        snapshot = self.service.snapshot
        tpm = TpmDesk(snapshot, vault, entropy.draw, clock.unix)
        ear = EarDesk(
            settings=settings,
            policy=attestation_parts.appraisal_policy(settings),
            judge=judge,
            snapshot=snapshot,
            nonces=Nonces(vault, entropy.draw),
            draw=entropy.draw,
            now=clock.now,
        )
        self._checks = Checks(
            snapshot, settings.instances, (self._collateral, self._lists), self._metrics, self._judged_at
        )
        self._checks.measure()
        self.app = AttestationApp(
            self.service, settings, attestation_parts.authenticator(settings), self._metrics, self._checks, tpm, ear,
            openapi.document(kloister.__version__), AccessLog(sys.stderr) if settings.logs_requests else None,
        )  # fmt: skip

    async def serve(self, sock: socket.socket, tls: Tls) -> None:
        """Listen until a signal comes; requests under way are finished."""
        listener = Listener(self.app, sock, AttestationProtocol, tls.context, self._settings.limits_concurrency)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop, listener, number)
        looks = ((_LOOK_SECONDS, self._look), (_LOOK_SECONDS, tls.refresh), (_PUBLISH_SECONDS, self._metrics.publish))
        care = [asyncio.create_task(_again(seconds, look)) for seconds, look in looks]
        LOG.info("serving")
        try:
            await listener.listen()
        finally:
            for task in care:
                task.cancel()
            await asyncio.gather(*care, return_exceptions=True)

    def _look(self) -> None:
        """Keys that are due, collateral that is new, gauges."""
        self.service.prepare()
        self._collateral.refresh()
        self._checks.measure()
        self._lists.refresh()

    def _judged_at(self) -> datetime:
        return self._settings.appraisal_dangerous_at or clock.now()


def _keeper(settings: Settings, vault: Vault, tee: home.Tee | None) -> KeyKeeper:
    evidence = None if tee is None else partial(home.evidence, tee)
    return KeyKeeper(
        vault, settings.tokens_algorithm, settings.keys_rotation, settings.tokens_validity, evidence
    )  # fmt: skip


class Tls:
    """The server's certificate, which is read again when it was replaced; one of our own is renewed in time.

    Raises:
        Misconfigured: `tls-files`, `key-*`, `certificate-damaged`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._files = tls_files(settings)
        self._read = self._stamp()
        self.context = tls_context(*self._files)

    def refresh(self) -> None:
        """Look whether there is another one, for connections that come from now on."""
        tls_files(self._settings)
        found = self._stamp()
        if found != self._read:
            tls_context(*self._files)  # before the present one is touched
            self.context.load_cert_chain(*self._files)
            self._read = found
            LOG.info("the server certificate was read again")

    def _stamp(self) -> list[int]:
        return [path.stat().st_mtime_ns for path in self._files if path.exists()]


class Processor:
    """The processor of the enclave that the service runs in, over a new connection each time: workers share none."""

    def __init__(self, path: str) -> None:
        self._path = path

    def quote(self, report_data: bytes) -> bytes:
        """A quote over 64 bytes."""
        with Device.connect(self._path) as device:
            return device.quote(report_data)

    def report(self, target_info: bytes, report_data: bytes) -> bytes:
        """A report of 432 bytes."""
        with Device.connect(self._path) as device:
            return device.report(target_info, report_data)

    def target_info(self) -> bytes:
        """The enclave's own, 512 bytes."""
        with Device.connect(self._path) as device:
            return device.target_info()

    def key(self, request: bytes) -> bytes:
        """The key (16 bytes) for a KEYREQUEST."""
        with Device.connect(self._path) as device:
            return device.key(request)


async def _again(seconds: float, look: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await asyncio.to_thread(look)
        except (KloisterError, OSError) as error:
            LOG.warning("maintenance failed: %s", error)


def root_key(settings: Settings, tee: home.Tee | None = None) -> bytes:
    """The key that encrypts signing keys, 32 bytes; made where there is no file yet. In a TEE the file is sealed.

    Raises:
        Misconfigured: `root-key-damaged`, `key-exposed`, `root-key-missing`.
    """
    path = settings.root_key
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            made = entropy.draw(ROOT_SIZE)
            files.replace(path, made if tee is None else home.seal(tee, made, entropy.draw))
        key = keys.read_private(path) if tee is None else home.unseal(tee, keys.read_private(path))
    except OSError as error:
        raise Misconfigured("root-key-missing", f"{path}: {error.strerror}.", "Name another by root_key.") from None
    if len(key) != ROOT_SIZE:
        raise Misconfigured("root-key-damaged", f"{path} has {len(key)} bytes, not {ROOT_SIZE}.", "Restore it.")
    return key


def tls_files(settings: Settings) -> tuple[Path, Path]:
    """Certificate and key: those of the settings, else `tls.pem` of an authority of our own beside the root key."""
    if settings.tls_certificate is not None and settings.tls_key is not None:
        return settings.tls_certificate, settings.tls_key
    directory, now = settings.root_key.parent, clock.now()
    issuer = keys.authority(directory, "ca", "Kloister attestation", now, entropy.draw)
    hosts = [urlsplit(each.base_url).hostname or "" for each in settings.instances]
    names = list(dict.fromkeys([*hosts, "localhost", "127.0.0.1", "::1"]))
    keys.leaf(directory, "tls", issuer, names, now, entropy.draw)
    return directory / "tls.pem", directory / "tls.key"


def _stop(listener: Listener, number: signal.Signals) -> None:
    LOG.info("stopping: %s came", number.name)
    listener.should_exit = True


def _announce(settings: Settings) -> None:
    for instance in settings.instances:
        LOG.info("instance %s, %s", instance.base_url, instance.trust_model)
        if instance.simulated:
            LOG.warning("%s accepts evidence of simulated platforms, which proves nothing", instance.base_url)
    if settings.appraisal_dangerous_at is not None:
        LOG.warning("DANGEROUS: evidence is judged as if it were %s", settings.appraisal_dangerous_at.isoformat())
    if settings.auth_oidc_issuer is not None and not (settings.auth_oidc_subjects or settings.auth_oidc_readers):
        text = "auth.oidc_subjects names nobody: whoever gets a token of %s for this audience administers"
        LOG.warning(text, settings.auth_oidc_issuer)
    if settings.auth_dangerous_bearer_tokens:
        LOG.warning("DANGEROUS: fixed bearer tokens administer this service for ever")
