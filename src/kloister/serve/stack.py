"""`up`, `down` and `status`: two daemons per state directory, idempotent, safe after a kill at any moment."""

from __future__ import annotations

import json
import socket
from typing import Any

from kloister.client.admin import AdminClient
from kloister.errors import KloisterError
from kloister.serve.looking import Stack, look
from kloister.serve.processes import Process, start
from kloister.serve.state import DEFAULT_ADDRESS, State, write_atomic
from kloister.tee.simulated.client import PlatformClient


def up(state: State, listen: str | None = None) -> tuple[Stack, bool]:
    """Start what does not run yet. Returns the stack and whether anything had to be started.

    Raises:
        Misconfigured: `port-in-use`. Unavailable: `daemon-failed`.
    """
    with state.locked():
        before = look(state)
        if before.running and listen in (None, before.address):
            return before, False
        platform = before.platform or _start_platform(state)
        _remember(state, platform, before.broker, before.address)
        if before.broker:
            before.broker.stop()
        address = listen or before.address or _free_address()
        broker = start(
            "broker", ["--state", str(state.root), "--listen", address], state.logs / "broker.log",
            lambda: bool(AdminClient(state.admin).status()),
        )  # fmt: skip
        _remember(state, platform, broker, address)
        return Stack(platform, broker, address), True


def _start_platform(state: State) -> Process:
    return start(
        "platform", ["--state", str(state.root)], state.logs / "platform.log",
        lambda: bool(PlatformClient(state.control).status()),
    )  # fmt: skip


def down(state: State) -> bool:
    """Stop what runs; whether there was anything to stop. The state stays."""
    with state.locked():
        stack = look(state)
        for process in (stack.broker, stack.platform):
            if process:
                process.stop()
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
    write_atomic(state.stack, json.dumps(document, indent=2).encode())


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
