"""`kloister simulator`: a state's platform, by its daemon where one runs, else opened for the question."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kloister import clock, entropy
from kloister.errors import Unavailable
from kloister.serve.platform import Author, fuses_of
from kloister.serve.recovery import Recoveries
from kloister.simulator.platform import SimulatedPlatform
from kloister.tee.simulated.client import PlatformClient
from kloister.tee.simulated.store import Store

_KEYID = 32  # bytes, REPORT.KEYID


class Simulator(Protocol):
    """What can be asked of a platform, running or not."""

    def status(self) -> dict[str, Any]:
        """Public figures."""

    def root(self) -> bytes:
        """The root certificate, DER."""

    def collateral(self, *, early: bool = False) -> dict[str, Any]:
        """The collateral valid now, by the standard or the early baseline."""

    def quote_content(self, content: bytes, report_data: bytes) -> bytes:
        """A quote of an enclave whose measured content is `content`."""


@dataclass(frozen=True, slots=True)
class _Resting:
    """A platform whose daemon does not run."""

    platform: SimulatedPlatform

    def status(self) -> dict[str, Any]:
        return {**self.platform.status(), "running": False}

    def root(self) -> bytes:
        return self.platform.root()

    def collateral(self, *, early: bool = False) -> dict[str, Any]:
        return dict(self.platform.collateral(clock.now(), early=early))

    def quote_content(self, content: bytes, report_data: bytes) -> bytes:
        return self.platform.quote_content(content, report_data)


@contextmanager
def simulator(directory: Path) -> Iterator[Simulator]:
    """The platform below `directory` (STATE/platform); its fuses are made if there are none yet.

    Raises:
        Misconfigured: `platform-state`. Malformed: `fuses-*`.
    """
    client = PlatformClient(directory / "control.sock")
    try:
        client.status()
    except Unavailable:
        store = Store.open(directory)
        try:
            keyid, recovery = entropy.draw(_KEYID), Recoveries(store)
            yield _Resting(SimulatedPlatform(fuses_of(store), keyid, author=Author(store), recovery=recovery))
        finally:
            store.close()
    else:
        yield client
