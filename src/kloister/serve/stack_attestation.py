"""The attestation service's part in `up`: it is started first and waited for last, for it needs nobody's help."""

from __future__ import annotations

from dataclasses import replace

from kloister.errors import Misconfigured
from kloister.serve.looking import Stack
from kloister.serve.ports import OTHERS, free_address, other_address
from kloister.serve.processes import Process, Starting, awaited, begin
from kloister.serve.state import ATTESTATION_ADDRESS, State


class Attestation:
    """The service of one state directory, while `up` is at work.

    Args:
        state: its directory.
        before: what ran.
        broker: the broker's address, "" if that is not chosen yet.
    """

    def __init__(self, state: State, before: Stack, broker: str) -> None:
        self._state = state
        self._running = before.attestation if before.attested else None
        if before.attestation is not None and self._running is None:
            before.attestation.stop()  # nobody can be told where it listens
        self._address = before.attestation_address or free_address(ATTESTATION_ADDRESS, broker)
        self._own_choice = not before.attestation_address  # it is the name in tokens: once chosen it stays
        self._starting = self._begin() if self._running is None else None

    def completed(self, stack: Stack) -> Stack:
        """The stack with the service in it, which is ready. Raises as `Starting.ready`."""
        process = self._running or self._ready()
        return replace(stack, attestation=process, attestation_address=self._address)

    def abandon(self) -> None:
        """What was begun is not wanted any more."""
        if self._starting is not None:
            self._starting.abandon()

    def _begin(self) -> Starting:
        arguments = ["--state", str(self._state.root), "--listen", self._address]
        return begin("attestation", arguments, self._state.logs / "attestation.log")

    def _ready(self) -> Process:
        """Wait for it; as often as an obstacle can be cleared away it is begun anew."""
        starting = self._starting or self._begin()
        for _ in range(OTHERS):
            try:
                return starting.ready(self._state.attesting, lambda: True)
            except Misconfigured as error:
                if not self._cleared(error.code):
                    raise
            starting = self._begin()
        return starting.ready(self._state.attesting, lambda: True)

    def _cleared(self, code: str) -> bool:
        """Whether there is no obstacle any more: another address is chosen, or the way is free."""
        if code == "port-in-use" and self._own_choice:
            self._address = other_address(self._address)
            return True
        if code == "attestation-running" and (earlier := awaited(self._state.attesting)):
            earlier.stop()  # one that a killed `up` was about to start listens who knows where
            return True
        return False
