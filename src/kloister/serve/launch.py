"""`kloister run`: from an image reference to a running enclave, through the pack and the platform's control socket."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kloister import entropy
from kloister.errors import Denied, Misconfigured
from kloister.formats.protocol.events import Event, Exited, Refused
from kloister.formats.protocol.host import Host
from kloister.images.pack import Pack, ensure_pack
from kloister.images.sources import open_source
from kloister.serve.state import State
from kloister.tee.simulated.client import Launch, PlatformClient

TRANSPORTS = ("oci:", "oci-archive:", "docker-archive:")
_SIGNALLED = 128  # a shell's convention: 128 + number of the signal


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the host chooses for a run; nothing of it is trusted inside.

    Attributes:
        broker: HOST:PORT, or empty.
        slots: values for the slots that the policy names.
        arguments: instead of the image's; the launcher refuses them unless the policy has a slot for them.
        mounts: name of a mount of the image to a directory here.
        stdio: descriptors that become the application's 0, 1 and 2.
    """

    broker: str = ""
    slots: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] | None = None
    mounts: Mapping[str, Path] = field(default_factory=dict)
    debug: bool = False
    stdio: tuple[int, int, int] = (0, 1, 2)


def reference(state: State, name: str) -> str:
    """A bare name is a tag of the local store; anything with a transport is taken as it is."""
    if name.startswith(TRANSPORTS):
        return name
    if not (state.images / "index.json").exists():
        raise Misconfigured(
            "image-unknown",
            f"There is no local image {name}.",
            f"Convert one with `kloister convert SRC oci:{state.images}:{name}`, or name oci:DIR or oci-archive:FILE.",
        )
    return f"oci:{state.images}:{name}"


def open_pack(state: State, name: str) -> Pack:
    """The pack of a converted image, made if it is not in the cache.

    Raises:
        Misconfigured: `image-not-converted`. Malformed: what the image's bytes are refused for.
    """
    with open_source(reference(state, name)) as image:
        return ensure_pack(state.packs, image)


def launch(state: State, pack: Pack, options: RunOptions) -> Launch:
    """Start the enclave of a pack; closing the result kills it.

    Raises:
        Unavailable: `platform-unreachable`, `pack-unreadable`, `mount-unreadable`.
    """
    host = Host(
        broker=options.broker,
        instance=entropy.identifier(),
        slots=dict(options.slots),
        arguments=options.arguments,
        mounts={mount: str(path) for mount, path in options.mounts.items()},
    )
    manifest = pack.document("manifest.sgx").read_bytes()
    sigstruct = pack.document("sigstruct").read_bytes()
    client = PlatformClient(state.control)
    return client.launch(manifest, sigstruct, pack.path, host=host, stdio=options.stdio, debug=options.debug)


def finish(events: Iterable[Event], on_event: Callable[[Event], None]) -> int:
    """Follow an enclave to its end. Returns the application's exit code, 128+N where signal N ended it.

    Raises:
        Denied: with the code, sentence and hint of whoever refused it.
    """
    for event in events:
        on_event(event)
        if isinstance(event, Refused):
            raise Denied(event.code, event.text, event.hint)
        if isinstance(event, Exited):
            return event.status or 0 if event.signal is None else _SIGNALLED + event.signal
    raise Denied("enclave-lost", "The platform went away while the enclave ran.", "See `kloister status` and its logs.")
