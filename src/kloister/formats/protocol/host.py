"""What the host says to an enclave: never trusted (architecture.md, sections 2 and 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kloister.formats.protocol import typed

_WHAT = "host"
_SLOTS = 256  # slot values of one enclave
_SLOT_LENGTH = 64 * 1024  # characters of one value: an environment variable's customary bound
_NAME = 256  # characters of a slot's or mount's name
_ARGUMENTS = 4096  # arguments of one command line


@dataclass(frozen=True, slots=True)
class Host:
    """The host's words: broker's address ("HOST:PORT" or ""), instance, slot values, arguments, places to mount.

    Attributes:
        arguments: what the host wants instead of the image's arguments, or None; the launcher decides.
        mounts: name of a mount to the path on the host, for messages; the descriptor counts.
    """

    broker: str = ""
    instance: str = ""
    slots: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] | None = None
    mounts: Mapping[str, str] = field(default_factory=dict)

    def build(self) -> dict[str, Any]:
        """The object, as in `/.kloister/host.json`."""
        return {
            "broker": self.broker,
            "instance": self.instance,
            "slots": dict(self.slots),
            "arguments": None if self.arguments is None else list(self.arguments),
            "mounts": dict(self.mounts),
        }

    @classmethod
    def parse(cls, message: Mapping[str, Any]) -> Host:
        """Host's words from a decoded object; every member is optional.

        Raises:
            Malformed: `host-*`.
        """
        typed.only(message, {"broker", "instance", "slots", "arguments", "mounts"}, _WHAT)
        whole = {"broker": "", "instance": "", "slots": {}, "arguments": None, "mounts": {}, **message}
        return cls(
            broker=typed.text(whole, "broker", _WHAT, 512),
            instance=typed.text(whole, "instance", _WHAT, 256),
            slots=_texts(whole, "slots", _SLOT_LENGTH),
            arguments=_arguments(whole),
            mounts=_texts(whole, "mounts", 4096),
        )


def _arguments(message: Mapping[str, Any]) -> tuple[str, ...] | None:
    if message["arguments"] is None:
        return None
    return typed.strings(message, "arguments", _WHAT, _ARGUMENTS, _SLOT_LENGTH)


def _texts(message: Mapping[str, Any], name: str, length: int) -> dict[str, str]:
    value = typed.mapping(message, name, _WHAT, _SLOTS)
    return {
        typed.text({name: key}, name, _WHAT, _NAME): typed.text({name: item}, name, _WHAT, length)
        for key, item in value.items()
    }
