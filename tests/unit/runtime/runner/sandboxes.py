"""Packs made of literals, a probe compiled by gcc as the first process, and a spawner of their own for tests."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from kloister.errors import KloisterError
from kloister.formats.enclave.launch import Image, LaunchDocument, User
from kloister.formats.enclave.manifest import Manifest
from kloister.formats.enclave.tree import Entry, Kind, Tree
from kloister.formats.protocol.host import Host
from kloister.formats.protocol.spawner import GO, StartRequest
from kloister.runtime.runner import spawner
from kloister.tee.simulated.framing import Reader, close_all, send

TIME = 1_500_000_000
_HERE = Path(__file__).parent
_PATIENCE = 60.0  # seconds

LAUNCH = LaunchDocument(
    image=Image(arguments=("/app",), environment=(), user=User("root", 0, 0)),
    writable=("/tmp", "/run", "/data"),  # noqa: S108 -- places inside the sandbox
    memory=64 << 20,
    mounts={"inbox": "/mnt/inbox"},
)


def probe(directory: Path) -> bytes:
    """The bytes of a static program; skips where there is no C compiler."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc: the probe of the sandbox cannot be compiled")
    target = directory / "probe"
    command = ["gcc", "-static", "-O1", "-w", "-o", str(target), str(_HERE / "probe.c")]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("gcc makes no static programs here: the C library's static archive is missing")
    return target.read_bytes()


def file(path: str, data: bytes = b"", **more: Any) -> tuple[Entry, bytes]:
    """A regular file and its content."""
    entry = Entry(path.encode(), Kind.FILE, 0o644, 0, 0, TIME, len(data), sha256(data).digest())
    return replace(entry, **more), data


def other(path: str, kind: Kind = Kind.DIRECTORY, **more: Any) -> tuple[Entry, bytes]:
    """A directory, or a link."""
    mode = 0o777 if kind is Kind.SYMLINK else 0o755
    return replace(Entry(path.encode(), kind, mode, 0, 0, TIME), **more), b""


ROOT: tuple[tuple[Entry, bytes], ...] = (
    other("/"),
    other("/bin", Kind.SYMLINK, target=b"usr/bin"),
    other("/data", uid=101, gid=102, mode=0o2770),
    file("/data/seed", b"seed"),
    other("/etc"),
    file("/etc/passwd", b"root:x:0:0::/:/bin/sh\n"),
    file("/etc/shadow", b"root:*:\n", mode=0o640, gid=42),
    other("/etc/secret", mode=0o555),
    file("/etc/secret/deep", b"d", mode=0o400),
    other("/proc", mode=0o555),
    other("/tmp", mode=0o1777),  # noqa: S108 -- inside the sandbox
    other("/usr"),
    other("/usr/bin"),
    file("/usr/bin/su", b"su", mode=0o4755),
    file("/usr/bin/empty"),
    other("/usr/bin/su2", Kind.HARDLINK, target=b"/usr/bin/su", mode=0o4755),
)


@dataclass
class PackMaker:
    """Writes a pack; what is observed can be made to differ from what was measured."""

    directory: Path
    measured: Sequence[tuple[Entry, bytes]] = ROOT
    observed: Sequence[tuple[Entry, bytes]] | None = None
    launch: LaunchDocument = LAUNCH
    private: Mapping[str, bytes] = field(default_factory=dict)
    private_tree: bytes = b""
    first: bytes = b""

    def make(self) -> bytes:
        """Write it; the manifest's bytes."""
        seen = self.observed if self.observed is not None else self.measured
        tree = Tree.of(entry for entry, _ in self.measured).build()
        documents = {"tree": tree, "launch.json": self.launch.build(), "sigstruct": b"s" * 1808}
        (self.directory / "enclave").mkdir(parents=True)
        (self.directory / "private").mkdir()
        for name, data in documents.items():
            (self.directory / "enclave" / name).write_bytes(data)
        (self.directory / "enclave" / "private.tree").write_bytes(self.private_tree)
        for name, data in self.private.items():
            (self.directory / "private" / name).write_bytes(data)
        (self.directory / "observed.tree").write_bytes(Tree.of(entry for entry, _ in seen).build())
        ordered = sorted(seen, key=lambda pair: pair[0].path)
        (self.directory / "contents").write_bytes(b"".join(data for entry, data in ordered if entry.kind is Kind.FILE))
        return manifest(tree, documents["launch.json"], self.first)


def manifest(tree: bytes, launch: bytes, first: bytes = b"") -> bytes:
    """A manifest that measures the two documents and the first code."""
    uri = "file:/.kloister/enclave/"
    trusted = [
        {"uri": f"{uri}tree", "sha256": sha256(tree).hexdigest()},
        {"uri": f"{uri}launch.json", "sha256": sha256(launch).hexdigest()},
    ]
    loader = {"uri": "file:/.kloister/runtime/ld.so", "sha256": sha256(first).hexdigest()}
    return Manifest.of(
        {
            "libos": {"entrypoint": "/.kloister/runtime/ld.so"},
            "loader": {"entrypoint": loader},
            "sgx": {"enclave_size": "256M", "trusted_files": trusted},
        }
    ).data


def listening(path: Path) -> socket.socket:
    """A Unix socket at `path`."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    path.chmod(0o666)
    sock.listen()
    return sock


class Running:
    """One sandbox, seen from the daemon's place."""

    def __init__(self, channel: socket.socket, enclave: socket.socket, stdin: int, stdout: int, *, go: bool) -> None:
        self._go = go
        self.channel, self.enclave = channel, enclave
        self._stdin, self._stdout = os.fdopen(stdin, "wb", 0), os.fdopen(stdout, "rb", 0)
        self._reader = Reader(channel, "event")
        channel.settimeout(_PATIENCE)
        self.events: list[dict[str, Any]] = []
        self.pidfd = self.namespace = -1
        self.pid = 0

    def next_event(self) -> dict[str, Any]:
        """The next event; an empty one at the end of the channel."""
        received = self._reader.receive()
        if received is None:
            return {}
        message, passed = received
        self.events.append(message)
        if message["event"] == "sandbox":
            self.pid = message["pid"]
            self.pidfd, self.namespace = passed
            if self._go:
                send(self.channel, GO)
        else:
            assert passed == []
        return message

    def last(self) -> dict[str, Any]:
        """Read the channel to its end; the last event."""
        while self.next_event():
            pass
        return self.events[-1]

    def logs(self) -> list[str]:
        """The lines so far."""
        return [event["text"] for event in self.events if event["event"] == "log"]

    def ask(self, line: str) -> str:
        """One command to the probe, one line back."""
        self.tell(line)
        return self.hear()

    def ask_or_end(self) -> str:
        """What the probe still says; empty when it is gone."""
        with contextlib.suppress(BrokenPipeError):
            return self.ask("ids")
        return self.hear()

    def tell(self, line: str) -> None:
        """A command without an answer."""
        self.settle()
        try:
            self._stdin.write(os.fsencode(line) + b"\n")
        except BrokenPipeError as error:
            error.add_note(f"The sandbox's last event: {self.events[-1:]}")
            raise

    def until_read(self) -> None:
        """Wait until the probe has taken what it was told."""
        deadline = time.monotonic() + _PATIENCE
        while struct.unpack("i", fcntl.ioctl(self._stdin, termios.FIONREAD, bytes(4)))[0]:
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.001)

    def hear(self) -> str:
        """A line of the probe."""
        self.settle()
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([self._stdout], [], [], _PATIENCE)[0]:
                raise TimeoutError(line)
            piece = self._stdout.read(1)
            if not piece:
                break
            line += piece
        return line.decode().rstrip("\n")

    def cat(self, path: str) -> str:
        """A file as the probe reads it."""
        self.tell(f"cat {path}")
        text = ""
        while not text.endswith("END\n"):
            text += self.hear() + "\n"
        return text[:-4]

    def settle(self) -> None:
        """Wait until the sandbox has a name, or is refused."""
        while self.pidfd < 0 and self.next_event():
            pass

    def signal(self, number: int) -> None:
        """As the daemon sends it: to pid 1."""
        self.settle()
        signal.pidfd_send_signal(self.pidfd, number)

    def close(self) -> None:
        """Let go of everything, which kills the sandbox, and wait until it is gone."""
        if self._stdin.closed:
            return
        with contextlib.suppress(KloisterError):
            self.settle()
        self._stdin.close()
        self._stdout.close()
        self._reader.close()
        self.channel.close()
        self.enclave.close()
        if self.pidfd >= 0:
            select.select([self.pidfd], [], [], _PATIENCE)
            close_all([self.pidfd, self.namespace])


class Spawning:
    """A spawner in a process of its own.

    Args:
        serve: what the process does with its end of the socket pair.
    """

    def __init__(self, serve: Callable[[socket.socket], object] = spawner.serve) -> None:
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.pid = os.fork()
        if self.pid == 0:
            self.sock.close()
            try:
                serve(theirs)
            finally:
                os._exit(1)
        theirs.close()
        self._running: list[Running] = []

    def start(
        self, pack: Path, manifest_bytes: bytes, pal: bytes, attestation: Path,
        mounts: Mapping[str, Path] | None = None, output: Sequence[int] = (), *, go: bool = True,
    ) -> Running:  # fmt: skip
        """Ask for a sandbox, as the daemon does; `output` becomes its stdout and stderr instead of a pipe.

        Without `go` it is not told that the daemon has seen who it is.
        """
        mounts = mounts or {}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        enclave, inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        memory = os.memfd_create("pal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(memory, pal)
        stdin, to_stdin = os.pipe()
        from_stdout, stdout = os.pipe()
        shown = [os.open(mounts[name], os.O_PATH) for name in sorted(mounts)]
        directory = os.open(pack, os.O_PATH)
        given = [theirs.fileno(), memory, directory, inside.fileno(), stdin, *(output or (stdout, stdout)), *shown]
        request = StartRequest("e1", manifest_bytes, str(attestation), Host(instance="test"), tuple(sorted(mounts)))
        send(self.sock, request.build(), given)
        theirs.close()
        inside.close()
        close_all([memory, directory, stdin, stdout, *shown])
        running = Running(ours, enclave, to_stdin, from_stdout, go=go)
        self._running.append(running)
        return running

    def close(self) -> None:
        """End it and everything it made."""
        for running in self._running:
            running.close()
        self.sock.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


@contextlib.contextmanager
def spawning(serve: Callable[[socket.socket], object] = spawner.serve) -> Iterator[Spawning]:
    """A spawner that ends with the block."""
    started = Spawning(serve)
    try:
        yield started
    finally:
        started.close()
