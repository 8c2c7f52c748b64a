"""`up`, `down` and `status`: three daemons per state directory, idempotent, safe after a kill at any moment."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

from kloister import files
from kloister.client.admin import AdminClient
from kloister.errors import KloisterError, Malformed, Misconfigured
from kloister.serve.looking import Stack, look
from kloister.serve.ports import OTHERS, free_address, other_address
from kloister.serve.processes import Process, awaited, start, stop_all
from kloister.serve.stack_attestation import Attestation
from kloister.serve.state import DEFAULT_ADDRESS, State
from kloister.services.broker.binding import bind_tcp
from kloister.tee.simulated.client import PlatformClient


def up(state: State, listen: str | None = None) -> tuple[Stack, bool]:
    """Start what does not run yet. Returns the stack and whether anything had to be started.

    Raises:
        Misconfigured: `port-in-use`, `listen-address`. Unavailable: `daemon-failed`.
    """
    with state.locked():
        before = _found(state)
        if before.running and before.attested and before.address and listen in (None, before.address):
            return before, False
        attestation = Attestation(state, before, listen or before.address)  # it starts while the others do
        try:
            found = _core(state, before, listen)
        except BaseException:
            attestation.abandon()
            raise
        _remember(state, found)
        found = attestation.completed(found)
        _remember(state, found)
        return found, True


def _core(state: State, before: Stack, listen: str | None) -> Stack:
    """Platform and broker."""
    if before.running and before.address and listen in (None, before.address):
        return before
    if before.broker and not before.address:
        before.broker.stop()  # nobody can be told where it listens
    address = listen or before.address or free_address(DEFAULT_ADDRESS, before.attestation_address)
    if before.broker and address != before.address:
        bind_tcp(address).close()  # refused now, while the broker still runs at the address it had
    platform = before.platform or _start_platform(state)
    _remember(state, replace(before, platform=platform))
    if before.broker:
        before.broker.stop()
    try:
        broker, address = _start_broker_at(state, address, own_choice=not (listen or before.address))
    except KloisterError:
        if before.platform is None:  # nothing stays of an `up` that failed
            platform.stop()
            _remember(state, replace(before, platform=None, broker=None))
        raise
    return replace(before, platform=platform, broker=broker, address=address)


def _found(state: State) -> Stack:
    """What runs, also where the stack document is damaged or its writer was killed before it wrote."""
    try:
        noted = look(state)
    except Malformed:
        noted = Stack(None, None, "")
    return replace(
        noted,
        platform=noted.platform or Process.behind(state.control),
        broker=noted.broker or Process.behind(state.admin),
        attestation=noted.attestation or Process.behind(state.attesting),
    )


def _start_platform(state: State) -> Process:
    """Start it; one that a killed `up` was about to start is as good."""
    arguments = ["--state", str(state.root)]
    try:
        return start(
            "platform", arguments, state.logs / "platform.log", state.control,
            lambda: bool(PlatformClient(state.control).status()),
        )  # fmt: skip
    except Misconfigured as error:
        earlier = awaited(state.control) if error.code == "platform-running" else None
        if earlier is None:
            raise
        return earlier


def _start_broker_at(state: State, address: str, *, own_choice: bool) -> tuple[Process, str]:
    """Start it; where another program takes an address of our own choice first, there are others."""
    for _ in range(OTHERS if own_choice else 0):
        try:
            return _start_broker(state, address), address
        except Misconfigured as error:
            if error.code != "port-in-use":
                raise
        address = other_address(address)
    return _start_broker(state, address), address


def _start_broker(state: State, address: str) -> Process:
    """Start it; one that a killed `up` was about to start listens who knows where, and gives way."""
    arguments = ["--state", str(state.root), "--listen", address]

    def ready() -> bool:
        return bool(AdminClient(state.admin).status())

    try:
        return start("broker", arguments, state.logs / "broker.log", state.admin, ready)
    except Misconfigured as error:
        earlier = awaited(state.admin) if error.code == "broker-running" else None
        if earlier is None:
            raise
        earlier.stop()
        return start("broker", arguments, state.logs / "broker.log", state.admin, ready)


def down(state: State) -> bool:
    """Stop what runs; whether there was anything to stop. The state stays."""
    with state.locked():
        stack = _found(state)
        running = [each for each in (stack.broker, stack.attestation, stack.platform) if each is not None]
        stop_all(running)
        with contextlib.suppress(OSError):  # on a full disk it goes on naming what has ended, which is known as dead
            _remember(state, replace(stack, platform=None, broker=None, attestation=None))
        return bool(running)


def status(state: State) -> dict[str, Any]:
    """What runs, where, and what the daemons say of themselves."""
    stack = look(state)
    result: dict[str, Any] = {"state": str(state.root), "running": stack.running, "address": stack.address or None}
    result["platform"] = _said(stack.platform, lambda: PlatformClient(state.control).status())
    result["broker"] = _said(stack.broker, lambda: AdminClient(state.admin).status())
    result["attestation"] = _attested(state, stack)
    return result


def _attested(state: State, stack: Stack) -> dict[str, Any]:
    if stack.attestation is None:
        return {"running": False}
    url = f"https://{stack.attestation_address}"
    return {"running": True, "pid": stack.attestation.pid, "url": url, "ca": str(state.attestation / "ca.pem")}


def _said(process: Process | None, ask: Any) -> dict[str, Any]:
    if process is None:
        return {"running": False}
    try:
        return {"running": True, "pid": process.pid, **ask()}
    except KloisterError as error:
        return {"running": True, "pid": process.pid, "error": error.as_json()}


def _remember(state: State, stack: Stack) -> None:
    document = {
        "platform": stack.platform.as_json() if stack.platform else None,
        "broker": stack.broker.as_json() if stack.broker else None,
        "address": stack.address,
        "attestation": stack.attestation.as_json() if stack.attestation else None,
        "attestationAddress": stack.attestation_address,
    }
    files.replace(state.stack, json.dumps(document, indent=2).encode())
