"""`up`, `down` and `status`: two daemons per state directory, idempotent, safe after a kill at any moment."""

from __future__ import annotations

import contextlib
import json
import select
import socket
from pathlib import Path
from typing import Any

from kloister import clock, files
from kloister.client.admin import AdminClient
from kloister.errors import KloisterError, Malformed, Misconfigured
from kloister.serve.looking import Stack, look
from kloister.serve.processes import Process, start
from kloister.serve.state import DEFAULT_ADDRESS, State
from kloister.services.broker.listeners import bind_tcp
from kloister.tee.simulated.client import PlatformClient


def up(state: State, listen: str | None = None) -> tuple[Stack, bool]:
    """Start what does not run yet. Returns the stack and whether anything had to be started.

    Raises:
        Misconfigured: `port-in-use`. Unavailable: `daemon-failed`.
    """
    with state.locked():
        before = _found(state)
        if before.running and before.address and listen in (None, before.address):
            return before, False
        if before.broker and not before.address:
            before.broker.stop()  # nobody can be told where it listens
        address = listen or before.address or _free_address()
        if before.broker and address != before.address:
            bind_tcp(address).close()  # refused now, while the broker still runs at the address it had
        platform = before.platform or _start_platform(state)
        _remember(state, platform, before.broker, before.address)
        if before.broker:
            before.broker.stop()
        try:
            broker, address = _start_broker_at(state, address, own_choice=not (listen or before.address))
        except KloisterError:
            if before.platform is None:  # nothing stays of an `up` that failed
                platform.stop()
                _remember(state, None, None, before.address)
            raise
        _remember(state, platform, broker, address)
        return Stack(platform, broker, address), True


def _found(state: State) -> Stack:
    """What runs, also where the stack document is damaged or its writer was killed before it wrote."""
    try:
        noted = look(state)
    except Malformed:
        noted = Stack(None, None, "")
    platform = noted.platform or Process.behind(state.control)
    return Stack(platform, noted.broker or Process.behind(state.admin), noted.address)


def _start_platform(state: State) -> Process:
    """Start it; one that a killed `up` was about to start is as good."""
    arguments = ["--state", str(state.root)]
    try:
        return start(
            "platform", arguments, state.logs / "platform.log", state.control,
            lambda: bool(PlatformClient(state.control).status()),
        )  # fmt: skip
    except Misconfigured as error:
        earlier = _awaited(state.control) if error.code == "platform-running" else None
        if earlier is None:
            raise
        return earlier


def _start_broker_at(state: State, address: str, *, own_choice: bool) -> tuple[Process, str]:
    """Start it; where another program takes an address of our own choice first, there are others."""
    try:
        return _start_broker(state, address), address
    except Misconfigured as error:
        if not own_choice or error.code != "port-in-use":
            raise
    address = _free_address()
    return _start_broker(state, address), address


def _start_broker(state: State, address: str) -> Process:
    """Start it; one that a killed `up` was about to start listens who knows where, and gives way."""
    arguments = ["--state", str(state.root), "--listen", address]

    def ready() -> bool:
        return bool(AdminClient(state.admin).status())

    try:
        return start("broker", arguments, state.logs / "broker.log", state.admin, ready)
    except Misconfigured as error:
        earlier = _awaited(state.admin) if error.code == "broker-running" else None
        if earlier is None:
            raise
        earlier.stop()
        return start("broker", arguments, state.logs / "broker.log", state.admin, ready)


def _awaited(door: Path, patience: float = 15.0) -> Process | None:
    """The process behind a socket, as soon as there is one."""
    deadline = clock.monotonic() + patience
    while clock.monotonic() < deadline:
        if found := Process.behind(door):
            return found
        select.select([], [], [], 0.02)
    return None


def down(state: State) -> bool:
    """Stop what runs; whether there was anything to stop. The state stays."""
    with state.locked():
        stack = _found(state)
        for process in (stack.broker, stack.platform):
            if process:
                process.stop()
        with contextlib.suppress(OSError):  # on a full disk it goes on naming what has ended, which is known as dead
            _remember(state, None, None, stack.address)
        return stack.broker is not None or stack.platform is not None


def status(state: State) -> dict[str, Any]:
    """What runs, where, and what the daemons say of themselves."""
    stack = look(state)
    result: dict[str, Any] = {"state": str(state.root), "running": stack.running, "address": stack.address or None}
    result["platform"] = _said(stack.platform, lambda: PlatformClient(state.control).status())
    result["broker"] = _said(stack.broker, lambda: AdminClient(state.admin).status())
    return result


def _said(process: Process | None, ask: Any) -> dict[str, Any]:
    if process is None:
        return {"running": False}
    try:
        return {"running": True, "pid": process.pid, **ask()}
    except KloisterError as error:
        return {"running": True, "pid": process.pid, "error": error.as_json()}


def _remember(state: State, platform: Process | None, broker: Process | None, address: str) -> None:
    document = {
        "platform": platform.as_json() if platform else None,
        "broker": broker.as_json() if broker else None,
        "address": address,
    }
    files.replace(state.stack, json.dumps(document, indent=2).encode())


def _free_address() -> str:
    """The usual port, or another one where a stack of another state directory has it already."""
    host, port = DEFAULT_ADDRESS.split(":")
    for candidate in (int(port), 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except OSError:
                continue
            return f"{host}:{probe.getsockname()[1]}"
    return DEFAULT_ADDRESS
