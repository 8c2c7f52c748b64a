"""An enclave's view of its processor; the launcher's only way to evidence and keys."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any, Self

from kloister.errors import Unavailable
from kloister.formats.protocol import tee
from kloister.formats.protocol.allocations import Attach
from kloister.formats.protocol.frames import CONTROL_LIMIT, TEE_LIMIT
from kloister.tee.simulated.framing import Reader, ask, close_all

INHERITED = 3  # the descriptor at which an enclave's first process finds its processor
_PATIENCE = 30.0  # seconds; the platform answers within milliseconds unless it builds a large enclave just now


class Device:
    """Asks the processor over a connected socket.

    Every method raises `Denied` with the platform's reason, `Malformed` where the answer is no answer, and
    `Unavailable` (`peer-gone`, `peer-silent`, `platform-gone`) where there is none.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(_PATIENCE)
        self._sock = sock
        self._reader = Reader(sock, "tee", TEE_LIMIT)

    @classmethod
    def inherited(cls, descriptor: int = INHERITED) -> Self:
        """The device of the enclave's first process. The descriptor is owned by the device from now on.

        Raises:
            Unavailable: `platform-gone`: the descriptor is no socket.
        """
        try:
            return cls(socket.socket(fileno=descriptor))
        except OSError:
            raise _gone() from None

    @classmethod
    def connect(cls, path: str) -> Self:
        """The device behind a named socket, usually /dev/attestation/socket."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            raise _gone() from None
        return cls(sock)

    @classmethod
    def attach(cls, path: str, request: Attach) -> tuple[Self, bytes]:
        """The device of a container's first process, by its allocation's socket, and the MRENCLAVE that was built.

        Raises:
            Denied: what the platform refuses: `epc-over-request`, `allocation-attached`, `caller-*`, of EINIT.
            Unavailable: `platform-gone`.
        """
        device = cls.connect(path)
        try:
            return device, tee.parse_answer(device.exchange(request.build(), CONTROL_LIMIT), "mrenclave")
        except BaseException:
            device.close()
            raise

    def quote(self, report_data: bytes) -> bytes:
        """A quote over 64 bytes of report data."""
        return self._ask(tee.QuoteRequest(report_data), "quote")

    def report(self, target_info: bytes, report_data: bytes) -> bytes:
        """A report (432 bytes) for a target (512 bytes) over 64 bytes of report data."""
        return self._ask(tee.ReportRequest(target_info, report_data), "report")

    def target_info(self) -> bytes:
        """The TARGETINFO (512 bytes) of this enclave."""
        return self._ask(tee.TargetInfoRequest(), "targetInfo")

    def key(self, request: bytes) -> bytes:
        """The key (16 bytes) for a KEYREQUEST (512 bytes)."""
        return self._ask(tee.KeyRequest(request), "key")

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ask(self, request: tee.Request, name: str) -> bytes:
        return tee.parse_answer(self.exchange(request.build()), name)

    def exchange(self, request: Mapping[str, Any], limit: int = TEE_LIMIT) -> dict[str, Any]:
        """The answer to any request; raises `Malformed` and `Unavailable` only."""
        ask(self._sock, request, limit=limit)
        received = self._reader.receive()
        if received is None:
            raise _gone()
        message, passed = received
        close_all(passed)  # the platform sends none; what came is not ours to keep
        return message


def _gone() -> Unavailable:
    return Unavailable(
        "platform-gone", "The platform does not answer this enclave any more.", "Start the enclave anew."
    )
