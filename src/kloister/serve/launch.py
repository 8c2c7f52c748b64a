"""`kloister run`: from an image reference to a running enclave, through the pack and the platform's control socket."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kloister import entropy
from kloister.errors import Denied, Misconfigured
from kloister.formats.protocol.events import Event, Exited, Refused
from kloister.formats.protocol.host import Host
from kloister.images.pack import Pack
from kloister.serve.state import State
from kloister.tee.simulated.client import Launch, PlatformClient

_NAME = "org.opencontainers.image.ref.name"  # annotation of a manifest in an index: its tag (image-spec 1.1)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_MAX_INDEX = 4 << 20  # bytes of the store's index: 10,000 images
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


def open_pack(state: State, name: str, told: Callable[[str], None] = lambda _: None) -> Pack:
    """The pack of an image, made if it is not in the cache; an ordinary image is converted first, without a broker.

    Args:
        state: where packs and converted images are kept.
        name: a local name or a reference.
        told: hears what a person should know.

    Raises:
        Malformed: what the image's bytes are refused for. Misconfigured: what conversion refuses.
    """
    source = reference(state, name)
    if (known := find_pack(state, name)) is not None:
        return known
    from kloister.images.pack import ensure_pack  # noqa: PLC0415 -- 20 ms that a launch with a pack in the cache saves
    from kloister.images.sources import open_source  # noqa: PLC0415 -- as above
    from kloister.serve import conversion  # noqa: PLC0415 -- as above

    with open_source(source) as image:
        if conversion.is_converted(image):
            return ensure_pack(state.packs, image)
        if (known := find_pack(state, conversion.local_name(image))) is not None:
            return known
        told(f"{name} is an ordinary image: it is converted first, without a broker, and gets no secrets.")
        converted = conversion.convert_plain(state, image)
    with open_source(converted) as image:
        return ensure_pack(state.packs, image)


def find_pack(state: State, name: str) -> Pack | None:
    """The pack of a local name, if the cache has it; None also where the store's index says anything unusual.

    What it finds is as little trusted as any pack: the runner compares it with what the enclave measured.
    """
    try:
        with (state.images / "index.json").open("rb") as file:
            listed = json.loads(file.read(_MAX_INDEX))["manifests"]
        (digest,) = [item["digest"] for item in listed if item.get("annotations", {}).get(_NAME) == name]
        match = _DIGEST.fullmatch(digest)
        return Pack.open(state.packs / match[1]) if match else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, Misconfigured):
        return None


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
