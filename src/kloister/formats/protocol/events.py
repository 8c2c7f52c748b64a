"""What a launch reports, on the spawner's channel and on the control socket alike (architecture.md, section 9)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kloister.errors import Malformed
from kloister.formats.protocol import typed

_WHAT = "event"
_TEXT_LIMIT = 16 * 1024  # characters of a log line or sentence
_MAX_INT = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Started:
    """The enclave is initialised; `mrenclave` is 64 hexadecimal digits. Control socket only."""

    enclave: str
    mrenclave: str

    def build(self) -> dict[str, Any]:
        """The message."""
        return {"event": "started", "enclave": self.enclave, "mrenclave": self.mrenclave}


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The pid namespace exists; `pid` is its init as the spawner's own namespace sees it, for messages only.

    Carries two descriptors: [pidfd of the init, its pid namespace]. Spawner's channel only.
    """

    pid: int

    def build(self) -> dict[str, Any]:
        """The message."""
        return {"event": "sandbox", "pid": self.pid}


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of the launch ended after `us` microseconds (canonical JSON has no fractions)."""

    name: str
    us: int

    def build(self) -> dict[str, Any]:
        """The message."""
        return {"event": "phase", "name": self.name, "us": self.us}


@dataclass(frozen=True, slots=True)
class Log:
    """A line for the operator; never a secret."""

    text: str

    def build(self) -> dict[str, Any]:
        """The message; a text beyond the limit is cut."""
        return {"event": "log", "text": self.text[:_TEXT_LIMIT]}


@dataclass(frozen=True, slots=True)
class Exited:
    """The last event: the application ended with a status, or by a signal (then `status` is None)."""

    status: int | None
    signal: int | None = None

    def build(self) -> dict[str, Any]:
        """The message."""
        if self.signal is not None:
            return {"event": "exit", "signal": self.signal}
        return {"event": "exit", "status": self.status or 0}


@dataclass(frozen=True, slots=True)
class Refused:
    """The last event: nothing of the application ran, or it was stopped, for this reason."""

    code: str
    text: str
    hint: str = ""

    def build(self) -> dict[str, Any]:
        """The message."""
        return {"event": "refused", "code": self.code, "text": self.text[:_TEXT_LIMIT], "hint": self.hint[:_TEXT_LIMIT]}


Event = Started | Sandbox | Phase | Log | Exited | Refused
LAST = (Exited, Refused)


def parse_event(message: Mapping[str, Any]) -> Event:
    """The event that a decoded frame holds.

    Raises:
        Malformed: `event-*`.
    """
    kind = message.get("event")
    parser = _PARSERS.get(kind) if isinstance(kind, str) else None
    if parser is None:
        raise Malformed("event-kind", "The message is no event that this version knows.")
    return parser(message)


def _started(message: Mapping[str, Any]) -> Started:
    typed.only(message, {"event", "enclave", "mrenclave"}, _WHAT)
    return Started(typed.text(message, "enclave", _WHAT, 64), typed.text(message, "mrenclave", _WHAT, 64))


def _sandbox(message: Mapping[str, Any]) -> Sandbox:
    typed.only(message, {"event", "pid"}, _WHAT)
    return Sandbox(typed.integer(message, "pid", _WHAT, 1, 2**31 - 1))


def _phase(message: Mapping[str, Any]) -> Phase:
    typed.only(message, {"event", "name", "us"}, _WHAT)
    return Phase(typed.text(message, "name", _WHAT, 64), typed.integer(message, "us", _WHAT, 0, _MAX_INT))


def _log(message: Mapping[str, Any]) -> Log:
    typed.only(message, {"event", "text"}, _WHAT)
    return Log(typed.text(message, "text", _WHAT, _TEXT_LIMIT))


def _exited(message: Mapping[str, Any]) -> Exited:
    if "signal" in message:
        typed.only(message, {"event", "signal"}, _WHAT)
        return Exited(None, typed.integer(message, "signal", _WHAT, 1, 64))
    typed.only(message, {"event", "status"}, _WHAT)
    return Exited(typed.integer(message, "status", _WHAT, 0, 255))


def _refused(message: Mapping[str, Any]) -> Refused:
    typed.only(message, {"event", "code", "text", "hint"}, _WHAT)
    return Refused(
        typed.text(message, "code", _WHAT, 128),
        typed.text(message, "text", _WHAT, _TEXT_LIMIT),
        typed.text(message, "hint", _WHAT, _TEXT_LIMIT),
    )


_PARSERS: dict[str, Callable[[Mapping[str, Any]], Event]] = {
    "started": _started,
    "sandbox": _sandbox,
    "phase": _phase,
    "log": _log,
    "exit": _exited,
    "refused": _refused,
}
