"""A daemon, a spawner and enclaves as real processes; only the processor behind the daemon is a double."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from kloister.errors import Denied, KloisterError, Unavailable, Unverified
from kloister.formats.enclave.tree import Entry, Kind, Tree
from kloister.formats.protocol import events
from kloister.formats.protocol.host import Host
from kloister.formats.protocol.quoting import QeInfo, Quoted, QuoteReport, ReportContent
from kloister.formats.protocol.spawner import GO, StartRequest
from kloister.formats.wire import canonical_json
from kloister.tee.simulated.client import Launch, PlatformClient
from kloister.tee.simulated.daemon import Daemon
from kloister.tee.simulated.framing import Reader, close_all, send
from kloister.tee.simulated.ports import Spawner
from kloister.tee.simulated.privileges import become, hide, load_codecs
from kloister.tee.simulated.spawning import SpawnerLink
from kloister.tee.simulated.store import Store
from tests.unit.tee.simulated.worker import work

CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
PAL = b"\x7fELF the first code"
EPC = 4 * 1024 * 1024
NOBODY = 65534
PR_SET_DUMPABLE = 4
libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class PaperEnclave:
    platform: PaperPlatform
    mrenclave: bytes
    size: int

    @property
    def epc(self) -> int:
        return self.size

    def quote(self, report_data: bytes) -> bytes:
        return b"quote" + self.mrenclave + report_data

    def report(self, target_info: bytes, report_data: bytes) -> bytes:
        return (hashlib.sha256(target_info).digest() + self.mrenclave + report_data).ljust(432, b"\0")

    def target_info(self) -> bytes:
        return self.mrenclave.ljust(512, b"\0")

    def key(self, request: bytes) -> bytes:
        return hashlib.sha256(self.mrenclave + request).digest()[:16]

    def remove(self) -> None:
        self.platform.used -= self.size


@dataclass
class PaperPlatform:
    """Refuses like the real one, measures by one hash; enclaves take 1 MiB of a 4 MiB EPC."""

    used: int = 0
    seen: list[bytes] = field(default_factory=list)

    def start(
        self, manifest: bytes, pal: bytes, sigstruct: bytes, *, debug: bool, epc: int | None = None
    ) -> PaperEnclave:
        if sigstruct[:1] == b"!" or (debug and sigstruct[:1] != b"d"):
            raise Unverified("einit-attributes", "The SIGSTRUCT does not allow it.")
        size = 1 << 20
        if epc is not None and size > epc:
            raise Denied("epc-over-request", f"The enclave takes {size} bytes; {epc} were requested.")
        if self.used + size > EPC:
            raise Unavailable("epc-exhausted", f"The enclave needs {size} bytes; {EPC - self.used} of {EPC} are free.")
        self.used += size
        return PaperEnclave(self, hashlib.sha256(manifest + b"|" + pal).digest(), size)

    def quote_content(self, content: bytes, report_data: bytes) -> bytes:
        return b"quote" + hashlib.sha256(content).digest() + report_data

    def qe_info(self) -> QeInfo:
        return QeInfo(bytes(512), bytes(32), 4)

    def quote_report(self, request: QuoteReport) -> Quoted:
        return Quoted(b"quote", bytes(432) if request.nonce else None)

    def report_content(self, request: ReportContent) -> bytes:
        return hashlib.sha256(request.content).digest().ljust(432, b"\0")

    def root(self) -> bytes:
        return b"a root"

    def collateral(self, at: datetime, *, early: bool = False) -> dict[str, Any]:
        return {"now": at.isoformat(), **({"early": True} if early else {})}

    def status(self) -> dict[str, Any]:
        return {"platform": "paper", "epcUsed": self.used, "epcTotal": EPC}


def unshare_pids() -> None:
    """A pid namespace for the next child, by way of a user namespace for who is not root."""
    flags = CLONE_NEWPID | (0 if os.geteuid() == 0 else CLONE_NEWUSER)
    if libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def require_namespaces() -> None:
    """Skip where this user may not make a pid namespace."""
    pid = os.fork()
    if pid == 0:
        try:
            unshare_pids()
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1] != 0:
        pytest.skip("this user may not create user and pid namespaces")


def serve_worker(sock: socket.socket) -> None:
    """A spawner whose sandbox is a bare pid namespace, and whose application is `worker.work`."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    reader = Reader(sock, "start")
    while (received := reader.receive()) is not None:
        message, descriptors = received
        if os.fork() == 0:
            sock.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _exit_after(partial(run_sandbox, StartRequest.parse(message), descriptors))
        close_all(descriptors)


def _exit_after(action: Callable[[], object]) -> None:
    try:
        action()
    except BaseException:  # noqa: BLE001 (a forked child of a test must end here, whatever happens)
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def run_sandbox(request: StartRequest, descriptors: Sequence[int]) -> None:
    channel = socket.socket(fileno=descriptors[0])
    if request.host.instance == "vanish":
        return
    if request.host.instance == "lie":  # claims a process of the daemon's own namespace
        _announce(channel, os.getpid())
        select.select([channel], [], [])
        return
    unshare_pids()
    go, wait = os.pipe()
    pid = os.fork()
    if pid == 0:
        channel.close()
        os.close(wait)
        os.read(go, 1)
        _exit_after(lambda: os._exit(work(descriptors, request.attestation)))
    os.close(go)
    _announce(channel, pid)
    told = Reader(channel, "start").receive()
    if told is not None:
        assert told == (GO, [])
    send(channel, events.Log(f"{request.host.instance}: {len(request.manifest)} bytes").build())
    os.close(wait)
    _wait(channel, pid)


def _announce(channel: socket.socket, pid: int) -> None:
    pidfd = os.pidfd_open(pid)
    namespace = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    send(channel, events.Sandbox(pid).build(), [pidfd, namespace])


def _wait(channel: socket.socket, pid: int) -> None:
    ended = os.pidfd_open(pid)
    select.select([ended, channel.fileno()], [], [])
    if not select.select([ended], [], [], 0)[0]:
        os.kill(pid, signal.SIGKILL)  # the daemon closed the channel
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(KloisterError):
        send(channel, (events.Exited(code) if code >= 0 else events.Exited(None, -code)).build())


@dataclass
class Stage:
    """A running daemon."""

    pid: int
    path: Path
    client: PlatformClient

    def stop(self, number: int = signal.SIGTERM) -> int:
        os.kill(self.pid, number)
        return self.wait()

    def wait(self) -> int:
        pid, self.pid = self.pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else 0

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing that is sent meanwhile is seen before the end."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)


@contextlib.contextmanager
def running(path: Path, spawner: Spawner = serve_worker, uid: int = 0, daemon_uid: int = 0) -> Iterator[Stage]:
    """A daemon over `path`; with `uid` everything runs as that user, with `daemon_uid` the daemon alone."""
    ready, written = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ready)
        _exit_after(lambda: _daemon(path, spawner, uid, daemon_uid, written))
    os.close(written)
    with os.fdopen(ready, "rb") as pipe:
        started = pipe.read(1)
    stage = Stage(pid, path, PlatformClient(path / "control.sock"))
    try:
        assert started == b"r", "the daemon did not start"
        yield stage
    finally:
        if stage.pid:
            assert stage.stop() == 0


def _daemon(path: Path, spawner: Spawner, uid: int, daemon_uid: int, written: int) -> None:
    logging.basicConfig(level=logging.CRITICAL)
    if uid:
        load_codecs()
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # as after the execve of a login; setuid(2) took it away
    link = SpawnerLink.fork(spawner)
    store = Store.open(path)
    store.secret("fuses", lambda: b"fuses of paper")
    listener = store.listen("control.sock", 0o600)
    if daemon_uid:
        store.share_with(daemon_uid)
        become(daemon_uid, daemon_uid)
    hide()
    Daemon(store, PaperPlatform(), link, listener, apart=bool(daemon_uid)).run(lambda: announce_ready(written))


def announce_ready(written: int) -> None:
    os.write(written, b"r")


def make_pack(path: Path, pal: bytes = PAL, before: bytes = b"other bytes") -> Path:
    """A pack with nothing but what the daemon reads."""
    path.mkdir(exist_ok=True)
    entries = [
        Entry(b"/", Kind.DIRECTORY, 0o755, 0, 0, 0),
        Entry(b"/.kloister", Kind.DIRECTORY, 0o755, 0, 0, 0),
        Entry(b"/.kloister/a", Kind.FILE, 0o644, 0, 0, 0, len(before), hashlib.sha256(before).digest()),
        Entry(b"/.kloister/runtime", Kind.DIRECTORY, 0o755, 0, 0, 0),
        Entry(b"/.kloister/runtime/ld.so", Kind.FILE, 0o755, 0, 0, 0, len(pal), hashlib.sha256(pal).digest()),
        Entry(b"/z", Kind.FILE, 0o644, 0, 0, 0, 1, hashlib.sha256(b"z").digest()),
    ]
    (path / "observed.tree").write_bytes(Tree.of(entries).build())
    (path / "contents").write_bytes(before + pal + b"z")
    return path


class Guest:
    """An enclave whose application obeys this test, line by line."""

    def __init__(self, stage: Stage, pack: Path, manifest: bytes = b"manifest", instance: str = "guest") -> None:
        stdin, self._to = os.pipe()
        self._from, stdout = os.pipe()
        self.launch: Launch = stage.client.launch(
            manifest, b"d" * 1808, pack, host=Host(instance=instance), stdio=(stdin, stdout, 2)
        )
        close_all((stdin, stdout))
        self.events = iter(self.launch)
        self.seen: list[events.Event] = []
        started = self.until(events.Started)
        assert isinstance(started, events.Started)
        self.name = started.enclave
        self.mrenclave = bytes.fromhex(started.mrenclave)
        self.socket = stage.path / "run" / self.name / "socket"
        self._lines = os.fdopen(self._from, "r")

    def until(self, kind: type[events.Event]) -> events.Event:
        for event in self.events:
            self.seen.append(event)
            if isinstance(event, kind):
                return event
        raise AssertionError(self.seen)

    def tell(self, command: str, **arguments: Any) -> None:
        os.write(self._to, canonical_json({"do": command, **arguments}) + b"\n")

    def hear(self) -> Any:
        return json.loads(self._lines.readline())

    def ask(self, command: str, **arguments: Any) -> Any:
        self.tell(command, **arguments)
        return self.hear()

    def close(self) -> None:
        self.launch.close()
        self._lines.close()
        os.close(self._to)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def in_child(action: Callable[[], Any], uid: int = 0) -> Any:
    """What `action` returns in a forked process, as JSON."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)

        def act() -> None:
            if uid:
                load_codecs()
                os.setuid(uid)
            os.write(writing, canonical_json(action()))

        _exit_after(act)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(data)
