"""Blobs as chunks: checked against digest and size while they pass, unpacked within the limits."""

from __future__ import annotations

import hashlib
import hmac
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from kloister.errors import Malformed
from kloister.formats.oci.limits import Limits

CHUNK = 1 << 20  # bytes read at once: large enough for hashing to be the cost, small beside any memory
_GZIP = 31  # zlib's wbits for a gzip member with its checksum


def file_chunks(path: Path) -> Iterator[bytes]:
    """A file's bytes in chunks; opened when the first is asked for, closed when the reader stops, at the end or before.

    Raises:
        OSError: as the system says it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a file object would warn when it is collected in a cycle
    try:
        while chunk := os.read(descriptor, CHUNK):
            yield chunk
    finally:
        os.close(descriptor)


class Budget:
    """What the layers of one image may still unpack to."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._plain = 0
        self._entries = 0

    def spend(self, plain: int) -> None:
        """Account for unpacked bytes.

        Raises:
            Malformed: `layer-bomb`.
        """
        self._plain += plain
        if self._plain > self.limits.unpacked:
            raise bomb(f"The image unpacks to more than {self.limits.unpacked} bytes.")

    def spend_entry(self) -> None:
        """Account for one tar entry.

        Raises:
            Malformed: `layer-bomb`.
        """
        self._entries += 1
        if self._entries > self.limits.entries:
            raise bomb(f"The image has more than {self.limits.entries} entries.")


def bomb(text: str) -> Malformed:
    """The refusal of an image that unpacks to too much."""
    return Malformed("layer-bomb", text, "If the image is yours and really so large, raise the limit (--max-unpacked).")


def checked(chunks: Iterable[bytes], digest: str, what: str, size: int | None = None) -> Iterator[bytes]:
    """The same chunks; after the last one, the digest (and size) must be right, or what came before was for nothing.

    Raises:
        Malformed: `{what}-size`, `{what}-digest`.
    """
    hasher, seen = hashlib.sha256(), 0
    for chunk in chunks:
        hasher.update(chunk)
        seen += len(chunk)
        if size is not None and seen > size:
            break
        yield chunk
    if size is not None and seen != size:
        more = "more" if seen > size else f"{seen} bytes"
        raise Malformed(f"{what}-size", f"The blob {digest} should have {size} bytes and has {more}.", _DAMAGED)
    if not hmac.compare_digest("sha256:" + hasher.hexdigest(), digest):
        raise Malformed(
            f"{what}-digest", f"The bytes named {digest} have another SHA-256: {hasher.hexdigest()}.", _DAMAGED
        )


_DAMAGED = "The image is damaged or was tampered with: fetch it again."


def gunzip(chunks: Iterable[bytes], limits: Limits) -> Iterator[bytes]:
    """The plain bytes of one or more gzip members, in chunks of at most 1 MiB.

    Raises:
        Malformed: `layer-gzip`, `layer-bomb` (the ratio).
    """
    member = zlib.decompressobj(_GZIP)
    stored = plain = 0
    for chunk in chunks:
        stored += len(chunk)
        data = chunk
        while data:
            if member.eof:
                member = zlib.decompressobj(_GZIP)  # pigz and eStargz write several members
            try:
                part = member.decompress(data, CHUNK)
            except zlib.error:
                raise Malformed("layer-gzip", "A layer is not the gzip data it is said to be.") from None
            plain += len(part)
            if plain > limits.ratio_from and plain > stored * limits.ratio:
                raise bomb(f"A layer unpacks to more than {limits.ratio} times its size.")
            if part:
                yield part
            data = member.unconsumed_tail or member.unused_data
            if not data and len(part) == CHUNK:
                yield from _rest(member)
    if not member.eof:
        raise Malformed("layer-gzip", "A layer's gzip data is cut off.")


def _rest(member: zlib._Decompress) -> Iterator[bytes]:
    """What zlib still holds back when the input ran out at a full chunk."""
    while part := member.decompress(b"", CHUNK):
        yield part
