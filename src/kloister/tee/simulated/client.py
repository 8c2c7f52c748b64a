"""Asks the platform's daemon over its control socket."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from kloister.errors import Malformed, Unavailable
from kloister.formats.protocol import events, platform, quoting, typed
from kloister.formats.protocol.allocations import SOCKET, Allocate, AllocationStatus, Release
from kloister.formats.protocol.host import Host
from kloister.formats.protocol.tee import raise_refusal
from kloister.tee.simulated.framing import Reader, ask, close_all, send

_PATIENCE = 60.0  # seconds for a question; the daemon is one thread and may be building an enclave
_WHAT = "platform"


class PlatformClient:
    """A client of the daemon behind the control socket at `path`; each call is a connection of its own.

    Every method raises `Unavailable` (`platform-unreachable`, `peer-gone`, `peer-silent`) where nobody answers,
    `Denied` with the platform's own reason, and `Malformed` where the answer is no answer.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def status(self) -> dict[str, Any]:
        """Platform, EPC in bytes, enclaves, identity mechanism, pid, and what is not held (sentences)."""
        return typed.mapping(self._ask(platform.Plain("status"), "status"), "status", _WHAT, 64)

    def root(self) -> bytes:
        """The root certificate of the platform's makers, DER."""
        return typed.octets(self._ask(platform.Plain("root"), "root"), "root", _WHAT)

    def collateral(self, *, early: bool = False) -> dict[str, Any]:
        """The collateral valid now, as in vectors/evidence/*/collateral.json; by the early baseline if asked."""
        question = platform.Plain("earlyCollateral" if early else "collateral")
        return typed.mapping(self._ask(question, "collateral"), "collateral", _WHAT, 64)

    def quote_content(self, content: bytes, report_data: bytes) -> bytes:
        """A quote of an enclave whose measured content is `content`, over 64 bytes of report data."""
        return typed.octets(self._ask(platform.QuoteContent(content, report_data), "quote"), "quote", _WHAT)

    def qe_info(self) -> quoting.QeInfo:
        """Who reports to quote are made for, the attestation key's name, and the size of each quote."""
        return quoting.QeInfo.parse(self._send(platform.Plain("qeTargetInfo")))

    def quote_report(self, request: quoting.QuoteReport) -> quoting.Quoted:
        """A quote for a report that was made for the quoting enclave; `Denied` (`report-mac`) for any other."""
        return quoting.Quoted.parse(self._send(request))

    def report_content(self, content: bytes, target_info: bytes, report_data: bytes) -> bytes:
        """EREPORT (432 bytes) of an enclave whose measured content is `content`, for `target_info` (512 bytes)."""
        request = quoting.ReportContent(content, target_info, report_data)
        return typed.octets(self._ask(request, "report"), "report", _WHAT, quoting.REPORT)

    def launch(
        self,
        manifest: bytes,
        sigstruct: bytes,
        pack: Path,
        *,
        host: Host | None = None,
        stdio: Sequence[int] = (0, 1, 2),
        debug: bool = False,
    ) -> Launch:
        """Build and run an enclave; iterate over the result for its events, close it to kill the enclave.

        Args:
            manifest: the exact bytes to measure.
            sigstruct: 1808 bytes.
            pack: the pack directory (architecture.md, section 5).
            host: the host's words; its `mounts` name directories that are opened here.
            stdio: three descriptors for the application.
            debug: sets ATTRIBUTES.DEBUG.

        Raises:
            Unavailable: `pack-unreadable`, `mount-unreadable`.
        """
        request = platform.Launch(manifest, sigstruct, debug, host or Host())
        opened: list[int] = []
        try:
            opened.append(_directory(pack, "pack"))
            opened.extend(_directory(Path(request.host.mounts[name]), "mount") for name in request.mounts)
            sock = connect(self._path)
            try:
                ask(sock, request.build(), [opened[0], *stdio, *opened[1:]])
            except BaseException:
                sock.close()
                raise
        finally:
            close_all(opened)
        return Launch(sock)

    def allocate(self, name: str, epc: int, directory: Path) -> None:
        """Make the socket of an allocation in its folder, and have the platform serve it.

        The folder is mounted into one container, whose user must be able to enter it; others must not be able to: the
        folder above it belongs to the node agent alone.

        Args:
            name: the allocation's id.
            epc: bytes of EPC that its enclave may take.
            directory: the folder; a socket that is there already is replaced.

        Raises:
            Unavailable: `allocation-unreadable`, `allocation-limit`.
            Denied: `allocation-exists`: ask for `allocations` and release what is not wanted any more.
        """
        with listening(directory) as listener:
            self._ask(Allocate(name, epc, str(directory)), "allocated", [listener.fileno()])

    def release(self, name: str) -> None:
        """End an allocation; its container gets no more quotes. Raises `Denied` (`allocation-unknown`)."""
        self._ask(Release(name), "released")

    def allocations(self) -> list[AllocationStatus]:
        """All allocations that the platform serves, with the enclaves that are attached to them."""
        return parse_allocations(self._ask(platform.Plain("allocations"), "allocations"))

    def _ask(self, request: platform.Request, name: str, passed: Sequence[int] = ()) -> dict[str, Any]:
        message = self._send(request, passed)
        typed.only(message, {name}, _WHAT)
        return message

    def _send(self, request: platform.Request, passed: Sequence[int] = ()) -> dict[str, Any]:
        with connect(self._path) as sock:
            sock.settimeout(_PATIENCE)
            ask(sock, request.build(), passed)
            received = Reader(sock, _WHAT).receive()
        if received is None:
            raise Unavailable("peer-gone", "The platform closed the connection without an answer.", "Try again.")
        message, unwanted = received
        close_all(unwanted)
        raise_refusal(message, _WHAT)
        return message


def parse_allocations(answer: Mapping[str, Any]) -> list[AllocationStatus]:
    """The list in an answer to `allocations`. Raises `Malformed` (`platform-allocations`, `allocation-*`)."""
    items = answer.get("allocations")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Malformed("platform-allocations", "The platform's answer is not a list of allocations.")
    return [AllocationStatus.parse(item) for item in items]


def connect(path: Path, *, wait: bool = True) -> socket.socket:
    """A connection to the control socket at `path`; without `wait` it never blocks, not even where the queue is full.

    Raises:
        Unavailable: `platform-unreachable`.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(wait)
    try:
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # By way of the descriptor: a path may be longer than the 107 bytes that sun_path takes (unix(7)).
            sock.connect(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)
    except OSError as error:
        sock.close()
        raise Unavailable(
            "platform-unreachable",
            f"The simulated platform does not answer at {path}: {error.strerror}.",
            "Start it with `kloister up`.",
        ) from None
    return sock


class Launch:
    """A running launch: its events in order, its signals. Closing it kills the enclave."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._reader = Reader(sock, _WHAT)

    def __iter__(self) -> Iterator[events.Event]:
        """The events; the last one is `Exited` or `Refused`.

        Raises:
            Unavailable: `platform-gone`: the platform ended before the enclave did.
            Malformed: `event-*`, `platform-*`.
        """
        while True:
            received = self._reader.receive()
            if received is None:
                raise Unavailable(
                    "platform-gone", "The platform ended, and the enclave with it.", "Start it with `kloister up`."
                )
            message, passed = received
            close_all(passed)
            raise_refusal(message, _WHAT)
            event = events.parse_event(message)
            yield event
            if isinstance(event, events.LAST):
                return

    def signal(self, number: int) -> None:
        """Pass a signal on to the application.

        Raises:
            Unavailable: `peer-gone`.
        """
        send(self._sock, platform.signal(number))

    def close(self) -> None:
        """Kill the enclave, if it still runs."""
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@contextlib.contextmanager
def listening(directory: Path) -> Iterator[socket.socket]:
    """A listening socket in an allocation's folder, for any user; it gets its name when it is served."""
    folder = _directory(directory, "allocation")
    here, fresh = f"/proc/self/fd/{folder}", f".{SOCKET}"  # sun_path is short (unix(7))
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(fresh, dir_fd=folder)
            listener.bind(f"{here}/{fresh}")
            os.chmod(fresh, 0o666, dir_fd=folder)  # noqa: S103 (the folder decides)
            listener.listen()
            yield listener
            os.replace(fresh, SOCKET, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        raise Unavailable(
            "allocation-unreadable", f"No socket can be made in {directory}: {error.strerror}.", "Check its rights."
        ) from None
    finally:
        os.close(folder)


def _directory(path: Path, what: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Unavailable(
            f"{what}-unreadable", f"The directory {path} cannot be opened: {error.strerror}.", "Check the path."
        ) from None
