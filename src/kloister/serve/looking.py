"""What runs for a state directory, from its stack document alone: a launch wants no more, and wants it at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kloister.serve.processes import Process
from kloister.serve.state import State, read_document


@dataclass(frozen=True, slots=True)
class Stack:
    """What runs for one state directory."""

    platform: Process | None
    broker: Process | None
    address: str  # of the broker
    attestation: Process | None = None
    attestation_address: str = ""

    @property
    def running(self) -> bool:
        """What a launch needs lives: platform and broker."""
        return self.platform is not None and self.broker is not None

    @property
    def attested(self) -> bool:
        """The attestation service lives, and it is known where."""
        return self.attestation is not None and bool(self.attestation_address)


def look(state: State) -> Stack:
    """What the stack document names and still lives."""
    document = read_document(state.stack)
    return Stack(
        Process.from_json(document.get("platform")),
        Process.from_json(document.get("broker")),
        _text(document.get("address")),
        Process.from_json(document.get("attestation")),
        _text(document.get("attestationAddress")),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
