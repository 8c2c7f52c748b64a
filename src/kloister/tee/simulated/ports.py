"""What the daemon needs of others: a platform that plays the CPU, and a spawner of first processes."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from kloister.formats.protocol.quoting import QeInfo, Quoted, QuoteReport, ReportContent


class Enclave(Protocol):
    """An initialised enclave; its requests are answered from its own measurements alone."""

    @property
    def mrenclave(self) -> bytes:
        """32 bytes."""

    @property
    def epc(self) -> int:
        """Bytes of EPC that it holds."""

    def quote(self, report_data: bytes) -> bytes:
        """A DCAP quote version 3 over `report_data` (64 bytes)."""

    def report(self, target_info: bytes, report_data: bytes) -> bytes:
        """EREPORT: 432 bytes for `target_info` (512 bytes)."""

    def target_info(self) -> bytes:
        """512 bytes that name this enclave as a report's target."""

    def key(self, request: bytes) -> bytes:
        """EGETKEY: 16 bytes for a KEYREQUEST (512 bytes)."""

    def remove(self) -> None:
        """Give the EPC pages back; the enclave answers nothing afterwards."""


class Platform(Protocol):
    """The simulated machine with its quoting enclaves and its public key infrastructure."""

    def start(self, manifest: bytes, pal: bytes, sigstruct: bytes, *, debug: bool, epc: int | None = None) -> Enclave:
        """ECREATE to EINIT of a Gramine enclave, page by page; it may take `epc` bytes of EPC, if that is given.

        Raises:
            Malformed, Unverified, Denied: what EINIT or the formats refuse.
            Denied: `epc-over-request`.
            Unavailable: the EPC is exhausted, with the figures.
        """

    def quote_content(self, content: bytes, report_data: bytes) -> bytes:
        """A quote of a short-lived enclave whose measured content is `content`."""

    def qe_info(self) -> QeInfo:
        """What a client needs of the quoting enclave before it asks for a quote."""

    def quote_report(self, request: QuoteReport) -> Quoted:
        """A quote for a report that was made for the quoting enclave.

        Raises:
            Malformed: `report-*`, `targetinfo-*`.
            Unverified: `report-mac`: it was made for another enclave or on another platform, or changed.
        """

    def report_content(self, request: ReportContent) -> bytes:
        """EREPORT (432 bytes) of a short-lived enclave whose measured content is given."""

    def root(self) -> bytes:
        """The root certificate, DER."""

    def collateral(self, at: datetime, *, early: bool = False) -> dict[str, Any]:
        """The collateral valid at `at`, as in vectors/evidence/*/collateral.json; by the early baseline if asked."""

    def status(self) -> Mapping[str, Any]:
        """Public figures: platform (hash of its identifier), epcUsed and epcTotal in bytes, fmspc."""


class Spawner(Protocol):
    """Serves `formats.protocol.spawner` over a stream socket until it ends; runs in a child that never saw a key."""

    def __call__(self, sock: socket.socket, /) -> None:
        """Serve; return when the daemon closed its end."""
