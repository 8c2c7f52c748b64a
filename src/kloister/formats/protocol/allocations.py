"""Allocations: what the node agent asks of the platform, and how a container attaches (architecture.md, section 14).

An allocation is the answer to a container that requested an enclave: a folder with a socket, mounted into that
container alone. Whoever reaches the socket is that container.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from kloister.errors import Malformed
from kloister.formats.protocol import typed
from kloister.formats.protocol.spawner import MANIFEST_LIMIT
from kloister.formats.wire import b64url

SOCKET = "enclave.sock"
"""Name of the socket in the allocation's folder."""

FIRST_CODE_LIMIT = (
    6 * 1024 * 1024
)  # bytes; a dynamic loader has a quarter of a megabyte; fits a frame with the manifest
_SIGSTRUCT = 1808  # bytes, SDM volume 3D, SIGSTRUCT
_MOST_EPC = 1 << 48  # bytes; beyond every machine that has SGX
_PATH = 4096  # bytes, PATH_MAX
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_WHAT = "allocation"


@dataclass(frozen=True, slots=True)
class Allocate:
    """Serve a new allocation; the listening socket of its folder comes as the one descriptor.

    Attributes:
        id: the agent's name for it, `[A-Za-z0-9][A-Za-z0-9_.-]{0,127}`.
        epc: bytes of EPC that its enclave may take.
        directory: the folder, for whoever asks for `allocations`; the platform never opens it.
    """

    id: str
    epc: int
    directory: str

    def build(self) -> dict[str, Any]:
        """The message."""
        return {"op": "allocate", "id": self.id, "epc": self.epc, "directory": self.directory}

    @classmethod
    def parse(cls, message: Mapping[str, Any]) -> Self:
        """The request that a decoded frame holds.

        Raises:
            Malformed: `allocation-*`.
        """
        typed.only(message, {"op", "id", "epc", "directory"}, _WHAT)
        return cls(
            id=_id(message),
            epc=typed.integer(message, "epc", _WHAT, 0, _MOST_EPC),
            directory=typed.text(message, "directory", _WHAT, _PATH),
        )


@dataclass(frozen=True, slots=True)
class Release:
    """End an allocation: its enclave is removed, its socket answers nobody any more."""

    id: str

    def build(self) -> dict[str, Any]:
        """The message."""
        return {"op": "release", "id": self.id}

    @classmethod
    def parse(cls, message: Mapping[str, Any]) -> Self:
        """The request that a decoded frame holds.

        Raises:
            Malformed: `allocation-*`.
        """
        typed.only(message, {"op", "id"}, _WHAT)
        return cls(_id(message))


@dataclass(frozen=True, slots=True)
class AllocationStatus:
    """One allocation, as the answer to `allocations` tells it.

    Attributes:
        used: bytes of EPC that its enclave holds; 0 where there is none.
        enclave: name of the enclave that is attached, or empty.
        mrenclave: its measurement, 64 hexadecimal digits, or empty.
    """

    id: str
    epc: int
    directory: str
    used: int = 0
    enclave: str = ""
    mrenclave: str = ""

    def build(self) -> dict[str, Any]:
        """The object."""
        return {
            "id": self.id,
            "epc": self.epc,
            "directory": self.directory,
            "used": self.used,
            "enclave": self.enclave,
            "mrenclave": self.mrenclave,
        }

    @classmethod
    def parse(cls, message: Mapping[str, Any]) -> Self:
        """The object of an answer.

        Raises:
            Malformed: `allocation-*`.
        """
        typed.only(message, {"id", "epc", "directory", "used", "enclave", "mrenclave"}, _WHAT)
        return cls(
            id=_id(message),
            epc=typed.integer(message, "epc", _WHAT, 0, _MOST_EPC),
            directory=typed.text(message, "directory", _WHAT, _PATH),
            used=typed.integer(message, "used", _WHAT, 0, _MOST_EPC),
            enclave=typed.text(message, "enclave", _WHAT, 64),
            mrenclave=typed.text(message, "mrenclave", _WHAT, 64),
        )


@dataclass(frozen=True, slots=True)
class Attach:
    """Build the caller's enclave, on the allocation's own socket; the answer is `{"mrenclave":..}`, base64url.

    Attributes:
        manifest: the exact bytes to measure.
        sigstruct: 1808 bytes.
        first_code: bytes of the ELF file that is measured as the first code. They come in the message and not as a
            descriptor: the platform has one thread, and reading a file of somebody else may take for ever.
        debug: sets ATTRIBUTES.DEBUG; the SIGSTRUCT must allow it.
    """

    manifest: bytes
    sigstruct: bytes
    first_code: bytes
    debug: bool = False

    def build(self) -> dict[str, Any]:
        """The message."""
        return {
            "op": "attach",
            "manifest": b64url(self.manifest),
            "sigstruct": b64url(self.sigstruct),
            "firstCode": b64url(self.first_code),
            "debug": self.debug,
        }

    @classmethod
    def parse(cls, message: Mapping[str, Any]) -> Self:
        """The request that a decoded frame holds.

        Raises:
            Malformed: `allocation-*`.
        """
        if message.get("op") != "attach":
            raise Malformed("allocation-op", "No enclave is attached yet; the first request is attach.")
        typed.only(message, {"op", "manifest", "sigstruct", "firstCode", "debug"}, _WHAT)
        return cls(
            manifest=typed.octets(message, "manifest", _WHAT, limit=MANIFEST_LIMIT),
            sigstruct=typed.octets(message, "sigstruct", _WHAT, _SIGSTRUCT),
            first_code=typed.octets(message, "firstCode", _WHAT, limit=FIRST_CODE_LIMIT),
            debug=typed.flag(message, "debug", _WHAT),
        )


def _id(message: Mapping[str, Any]) -> str:
    value = typed.text(message, "id", _WHAT, 128)
    if not _ID.fullmatch(value):
        raise Malformed("allocation-id", "An allocation's id is 1 to 128 of A-Z, a-z, 0-9, dot, hyphen and underscore.")
    return value
