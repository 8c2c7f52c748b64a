"""What runs for a state directory, from its stack document alone: a launch wants no more, and wants it at once."""

from __future__ import annotations

from dataclasses import dataclass

from kloister.serve.processes import Process
from kloister.serve.state import State, read_document


@dataclass(frozen=True, slots=True)
class Stack:
    """What runs for one state directory."""

    platform: Process | None
    broker: Process | None
    address: str

    @property
    def running(self) -> bool:
        """Both daemons live."""
        return self.platform is not None and self.broker is not None


def look(state: State) -> Stack:
    """What the stack document names and still lives."""
    document = read_document(state.stack)
    address = document.get("address")
    return Stack(
        Process.from_json(document.get("platform")),
        Process.from_json(document.get("broker")),
        address if isinstance(address, str) else "",
    )
