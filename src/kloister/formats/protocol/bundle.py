from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Self

from kloister.errors import Malformed
from kloister.formats.protocol.members import exactly, name, octets, pairs, text, texts
from kloister.formats.wire import b64url, canonical_json, load_json

MAX_BUNDLE = 8 << 20  # bytes of plaintext; certificates and models' keys fit a hundred times
_MAX_ITEMS = 1024  # arguments, variables, files, slots or keys of one service
_MAX_TEXT = 128 << 10  # bytes of one argument or variable: the kernel's own limit (MAX_ARG_STRLEN, execve(2))
_MAX_PATH = 4095  # bytes; PATH_MAX less its NUL
_MAX_PATTERN = 4096  # characters of a slot's pattern
_MAX_ID = (1 << 32) - 2  # (uid_t)-1 means "leave it" to chown(2)
_VARIABLE = re.compile(r"[^=]+")
_SLOT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_MODE = re.compile(r"[0-7]{4}")
OUTPUTS = ("clear", "drop", "encrypted")


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file that the broker releases: absolute path, permission bits, numeric owner and group, content."""

    path: str
    mode: int
    owner: int
    group: int
    content: bytes = field(repr=False)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Parse one member of `files`; raises `Malformed` (`bundle-*`)."""
        item = exactly(value, "bundle-file", path=str, mode=str, owner=int, group=int, content=str)
        if not _MODE.fullmatch(item["mode"]) or not all(0 <= item[key] <= _MAX_ID for key in ("owner", "group")):
            raise Malformed("bundle-file-mode", "A released file needs a mode of four octal digits and numeric owners.")
        return cls(
            path=text(item["path"], "bundle-file-path", _MAX_PATH),
            mode=int(item["mode"], 8),
            owner=item["owner"],
            group=item["group"],
            content=octets(item["content"], "bundle-file-content", limit=MAX_BUNDLE),
        )

    def as_json(self) -> dict[str, Any]:
        """The member of `files` that `from_json` reads."""
        return {
            "path": self.path,
            "mode": f"{self.mode:04o}",
            "owner": self.owner,
            "group": self.group,
            "content": b64url(self.content),
        }


@dataclass(frozen=True, slots=True)
class Bundle:
    """What the broker releases to one instance (architecture.md 10, plaintext).

    Attributes:
        arguments: replaces the image's whole command line, or None to keep it.
        environment: variables added to the image's, stronger than both the image's and the slots'.
        files: placed before the application starts.
        slots: variable name -> pattern that the host's value must match as a whole.
        keys: secret name -> raw key, for encrypted layers.
        output: what becomes of the application's output: clear, drop or encrypted.
    """

    arguments: tuple[str, ...] | None = field(default=None, repr=False)
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    files: tuple[SecretFile, ...] = ()
    slots: dict[str, str] = field(default_factory=dict)
    keys: dict[str, bytes] = field(default_factory=dict, repr=False)
    output: str = "clear"

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse the JSON plaintext; raises `Malformed` (`bundle-*`)."""
        item = exactly(
            load_json(data, "bundle", MAX_BUNDLE),
            "bundle",
            arguments=(list, type(None)),
            environment=dict,
            files=list,
            slots=dict,
            keys=dict,
            output=str,
        )
        if item["output"] not in OUTPUTS or max(len(item["files"]), len(item["keys"])) > _MAX_ITEMS:
            raise Malformed("bundle-fields", f"A bundle holds up to {_MAX_ITEMS} files and keys and a known output.")
        arguments = item["arguments"]
        return cls(
            arguments=None if arguments is None else texts(arguments, "bundle-arguments", _MAX_ITEMS, _MAX_TEXT),
            environment=_environment(item["environment"]),
            files=tuple(SecretFile.from_json(file) for file in item["files"]),
            slots=_slots(item["slots"]),
            keys={name(key, "bundle-key"): octets(item["keys"][key], "bundle-key", limit=4096) for key in item["keys"]},
            output=item["output"],
        )

    def build(self) -> bytes:
        """The canonical JSON that `parse` reads."""
        return canonical_json(
            {
                "arguments": self.arguments,
                "environment": self.environment,
                "files": [file.as_json() for file in self.files],
                "slots": self.slots,
                "keys": {key: b64url(value) for key, value in self.keys.items()},
                "output": self.output,
            }
        )


def _environment(value: Any) -> dict[str, str]:
    environment = pairs(value, "bundle-environment", _MAX_ITEMS, _MAX_TEXT)
    if not all(_VARIABLE.fullmatch(key) for key in environment):
        raise Malformed("bundle-environment", "The name of a variable is empty or holds an equals sign.")
    return environment


def _slots(value: Any) -> dict[str, str]:
    slots = pairs(value, "bundle-slots", _MAX_ITEMS, _MAX_PATTERN)
    for key, pattern in slots.items():
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError, Warning):  # a FutureWarning marks an ambiguous set
            raise Malformed("bundle-slots", f"The pattern of slot {key!r} is not a regular expression.") from None
        if not _SLOT.fullmatch(key):
            raise Malformed("bundle-slots", "A slot is named like a variable: letters, digits, underscores.")
    return slots
