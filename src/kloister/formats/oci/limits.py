"""How much of an image's documents and layers is read: every figure with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on what an image may ask of the reader; all of them can be raised by the caller.

    Attributes:
        manifest: bytes of a manifest or index; 4 MiB is what registries accept (distribution-spec 1.1).
        config: bytes of an image configuration; 4 MiB likewise, real ones have some KiB.
        layers: layers of one image; overlayfs mounts at most 500, Docker builds at most 127.
        unpacked: bytes of all layers as plain tar; 8 GiB is above every common image and below a small disk.
        entries: tar entries of all layers; 400,000 is above the largest distribution images.
        ratio: plain bytes per stored byte, beyond `ratio_from` bytes; DEFLATE reaches 1,032, real layers stay below 20.
        ratio_from: plain bytes from which `ratio` counts, so that a small file of zeros is no bomb.
        header: bytes of one PAX or GNU long-name header; attributes of a file have at most 64 KiB each.
        path: bytes of a path, as the kernel's PATH_MAX.
        links: symbolic links followed in one path, as the kernel's MAXSYMLINKS.
    """

    manifest: int = 4 * MIB
    config: int = 4 * MIB
    layers: int = 500
    unpacked: int = 8 * GIB
    entries: int = 400_000
    ratio: int = 256
    ratio_from: int = 64 * MIB
    header: int = MIB
    path: int = 4096
    links: int = 40


DEFAULT = Limits()
