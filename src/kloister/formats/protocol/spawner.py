"""What the daemon asks of the spawner (architecture.md, section 9).

The spawner is a child that the daemon forks before it reads its fuses. It holds one end of a stream socket pair
and does one thing: for each `start` it forks a runner, which speaks over the *channel*, the first descriptor.

    daemon -> spawner   {"op":"start","enclave":..,"manifest":..,"attestation":PATH,"host":{..},"mounts":[NAME..]}
                        descriptors: `DESCRIPTORS`, then one per mount in the order of `mounts`
    runner -> channel   {"event":"sandbox","pid":N} with [pidfd of the pid namespace's init, its pid namespace]
    daemon -> channel   {"op":"go"}, once it knows who the enclave is; nothing else ever
    runner -> channel   {"event":"phase"|"log"} any number, {"event":"exit"|"refused"} last, then it closes the channel

The daemon sends signals to the init itself (through the pidfd); the init passes them on to the application. A channel
closed by the daemon means: kill everything of this sandbox. Before `go` the init does nothing: soon after it hides its
memory, and with it its namespaces, from a daemon that is not root. The daemon answers nothing on the enclave's socket
before `sandbox` came. Nothing in the request but `manifest` and the PAL is measured; `host` is never trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kloister.errors import Malformed
from kloister.formats.protocol import typed
from kloister.formats.protocol.host import Host
from kloister.formats.wire import b64url

DESCRIPTORS = ("channel", "pal", "pack", "enclave", "stdin", "stdout", "stderr")
"""The descriptors of `start`: the runner's end of the channel; a sealed memfd with the measured bytes of `ld.so`;
the pack directory (O_PATH or read-only); the socket that becomes descriptor 3 of the first process; its stdio."""

GO = {"op": "go"}
"""What the daemon says on the channel when it has seen who the enclave is."""

MAX_MOUNTS = 64  # named mounts of one enclave; SCM_RIGHTS carries 253 descriptors at most
MANIFEST_LIMIT = 4 * 1024 * 1024  # bytes; a manifest names a handful of trusted files

_WHAT = "start"


@dataclass(frozen=True, slots=True)
class StartRequest:
    """Start the first process of a built enclave from the measured bytes.

    Attributes:
        enclave: identifier, also the name of its directory under STATE/platform/run.
        manifest: the exact bytes that were measured.
        attestation: path of the listening Unix socket to bind at /dev/attestation/socket.
        host: what the host says; never trusted.
        mounts: sorted names of the named mounts, one descriptor each.
    """

    enclave: str
    manifest: bytes
    attestation: str
    host: Host
    mounts: tuple[str, ...] = ()

    def build(self) -> dict[str, Any]:
        """The message."""
        return {
            "op": "start",
            "enclave": self.enclave,
            "manifest": b64url(self.manifest),
            "attestation": self.attestation,
            "host": self.host.build(),
            "mounts": list(self.mounts),
        }

    @classmethod
    def parse(cls, message: Mapping[str, Any]) -> StartRequest:
        """The request that a decoded frame holds.

        Raises:
            Malformed: `start-*`, `host-*`.
        """
        typed.only(message, {"op", "enclave", "manifest", "attestation", "host", "mounts"}, _WHAT)
        if message.get("op") != "start":
            raise Malformed("start-op", "The spawner knows one request: start.")
        return cls(
            enclave=typed.text(message, "enclave", _WHAT, 64),
            manifest=typed.octets(message, "manifest", _WHAT, limit=MANIFEST_LIMIT),
            attestation=typed.text(message, "attestation", _WHAT, 4096),
            host=Host.parse(typed.mapping(message, "host", _WHAT, 16)),
            mounts=typed.strings(message, "mounts", _WHAT, MAX_MOUNTS, 128),
        )
