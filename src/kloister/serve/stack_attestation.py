"""The attestation service's part in `up`: it is started first and waited for last, for it needs nobody's help."""

from __future__ import annotations

from dataclasses import replace

from kloister.errors import Misconfigured
from kloister.serve.looking import Stack
from kloister.serve.ports import free_address
from kloister.serve.processes import Process, Starting, awaited, begin
from kloister.serve.state import ATTESTATION_ADDRESS, State


class Attestation:
    """The service of one state directory, while `up` is at work.

    Args:
        state: its directory.
        before: what ran.
    """

    def __init__(self, state: State, before: Stack) -> None:
        self._state = state
        self._running = before.attestation if before.attested else None
        if before.attestation is not None and self._running is None:
            before.attestation.stop()  # nobody can be told where it listens
        self._address = before.attestation_address or free_address(ATTESTATION_ADDRESS)
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
        """One that a killed `up` was about to start listens who knows where, and gives way."""
        starting = self._starting or self._begin()
        try:
            return starting.ready(self._state.attesting, lambda: True)
        except Misconfigured as error:
            if error.code == "port-in-use" and self._own_choice:
                self._address = free_address(ATTESTATION_ADDRESS)
            elif error.code == "attestation-running" and (earlier := awaited(self._state.attesting)):
                earlier.stop()
            else:
                raise
        return self._begin().ready(self._state.attesting, lambda: True)
