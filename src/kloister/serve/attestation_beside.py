"""The attestation service of the embedded stack: one instance, declared simulated, for the platform beside it."""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from kloister import clock, entropy, files
from kloister.errors import Misconfigured, Unavailable
from kloister.serve import attestation
from kloister.serve.state import State, only_one, private
from kloister.services.attestation.collateral import Chosen, Need, baselines_of
from kloister.services.attestation.settings import Settings
from kloister.services.broker.binding import bind_unix
from kloister.services.collateral import Tee
from kloister.tee.simulated.client import PlatformClient
from kloister.trust.verifier import Collateral, Root

_PATIENCE = 60.0  # seconds that the platform, which starts at the same time, may take
_BEARER = 32  # bytes


def run(state: State, address: str) -> None:
    """Serve until SIGTERM or SIGINT; who holds `STATE/attestation/bearer` administers.

    Raises:
        Misconfigured: `attestation-running`, and as `attestation.run`.
        Unavailable: `platform-unreachable`.
    """
    directory = private(state.attestation)
    lock = only_one(directory)
    if lock is None:
        raise Misconfigured(
            "attestation-running",
            f"An attestation service serves {directory} already.",
            "Stop it with `kloister down` first.",
        )
    with lock, ExitStack() as opened:

        def ready() -> None:
            opened.enter_context(bind_unix(state.attesting))
            opened.callback(state.attesting.unlink, missing_ok=True)

        settings = Settings.read(_document(directory, address), directory, {}, {})
        attestation.run(settings, SimulatedPlatform(state.control, clock.monotonic), ready)


def _document(directory: Path, address: str) -> dict[str, Any]:
    """Settings; files are beside each other."""
    bearer = directory / "bearer"
    if not bearer.exists():
        files.replace(bearer, entropy.draw(_BEARER).hex().encode("ascii"))
    return {
        "listen": address,
        "auth": {"dangerous_bearer_tokens": [bearer.read_text("ascii").strip()]},
        "instances": [{"base_url": f"https://{address}", "simulated": True}],
    }


class SimulatedPlatform:
    """Root and collateral of the platform beside the service."""

    FRESH = 30.0  # seconds: a staged TCB recovery is seen as soon

    def __init__(self, control: Path, monotonic: Callable[[], float]) -> None:
        self._client = PlatformClient(control)
        self._monotonic = monotonic
        self._held: tuple[float, Chosen] | None = None

    def roots(self) -> Sequence[Root]:
        """Its root, as soon as it runs. Raises `Unavailable`: `platform-unreachable`."""
        deadline = self._monotonic() + _PATIENCE
        while True:
            try:
                return [Root.from_der(self._client.root())]
            except Unavailable:
                if self._monotonic() > deadline:
                    raise
                select.select([], [], [], 0.02)

    def held(self, _need: Need, at: datetime) -> Chosen | None:
        """What was fetched lately. That a quote is of another platform is found when it is judged."""
        found = self._held
        fresh = found is not None and self._monotonic() - found[0] <= self.FRESH and at <= found[1].expires
        return found[1] if found is not None and fresh else None

    def fetch(self, _need: Need, _at: datetime) -> Chosen:
        """Ask the platform. Raises `Unavailable`: `platform-unreachable`."""
        chosen = Chosen.of(Collateral.from_json(self._client.collateral()))
        self._held = (self._monotonic(), chosen)
        return chosen

    def refresh(self) -> None:
        """Nothing: the platform is asked when it must be."""

    def windows(self) -> list[tuple[str, datetime, datetime]]:
        """Of what was fetched."""
        found = self._held
        return [] if found is None else [("simulated", found[1].issued, found[1].expires)]

    def baselines(self, tee: Tee) -> dict[int, datetime]:
        """Of what was fetched; the platform has SGX alone."""
        found = self._held
        return {} if found is None or tee is not Tee.SGX else baselines_of([found[1]])
