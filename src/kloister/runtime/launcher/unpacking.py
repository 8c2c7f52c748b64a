"""Reads a decrypted layer: gzip or plain tar, from front to back, in memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from kloister.errors import Malformed, Misconfigured
from kloister.formats.oci.mediatypes import is_zstd
from kloister.formats.oci.tar import BLOCK, TarHeader, TarKind, parse_header, parse_pax, with_pax

_FEED = 64 << 10  # compressed bytes unpacked at once: 64 MiB at DEFLATE's best ratio
_GZIP = 31  # zlib's number for a gzip header and the largest window
_MAX_HEADER = 1 << 20  # bytes of a long name or PAX header, as when the image was converted
_LONG = {TarKind.LONG_NAME: b"path", TarKind.LONG_LINK: b"linkpath"}
_EMPTY = bytes(BLOCK)


class Layer:
    """The entries of one layer; `content` gives the bytes of the one last returned.

    Args:
        data: the layer as it was before encryption.
        media_type: says whether it is gzip; zstd is `Misconfigured` (`private-media-type`).
    """

    def __init__(self, data: bytes, media_type: str) -> None:
        if is_zstd(media_type):
            raise Misconfigured("private-media-type", "Private layers in zstd are not read.", "Encrypt them as gzip.")
        self._chunks = _unzipped(data) if "gzip" in media_type else iter((data,))
        self._ready = memoryview(b"")
        self._left = 0  # bytes of the entry that were not read, padding not counted
        self._padding = 0

    def headers(self) -> Iterator[TarHeader]:
        """Every entry, with its long name and PAX records applied.

        Raises:
            Malformed: `layer-truncated`, `layer-header`, `layer-pax`, `layer-gzip`.
        """
        records: dict[bytes, bytes] = {}
        while (header := self._next()) is not None:
            if header.kind in _LONG:
                records[_LONG[header.kind]] = self._extended(header).partition(b"\0")[0]
            elif header.kind is TarKind.PAX:
                records |= parse_pax(self._extended(header))
            elif header.kind is TarKind.PAX_GLOBAL:
                self._extended(header)
            else:
                whole = with_pax(header, records) if records else header
                self._left = whole.size if whole.kind is TarKind.FILE else 0
                self._padding = -self._left % BLOCK
                yield whole
                records = {}
            self._skip()

    def content(self) -> bytes:
        """What is left of the entry."""
        size, self._left = self._left, 0
        return self._read(size)

    def _next(self) -> TarHeader | None:
        if not self._more():
            return None
        block = self._read(BLOCK)
        return None if block == _EMPTY else parse_header(block)

    def _extended(self, header: TarHeader) -> bytes:
        if header.size > _MAX_HEADER:
            raise Malformed("layer-header", f"A private layer has an extended header of {header.size} bytes.")
        self._left, self._padding = header.size, header.padding
        return self.content()

    def _skip(self) -> None:
        size, self._left, self._padding = self._left + self._padding, 0, 0
        while size:
            size -= len(self._part(size))

    def _read(self, size: int) -> bytes:
        parts: list[memoryview] = []
        while size:
            parts.append(self._part(size))
            size -= len(parts[-1])
        return b"".join(parts)

    def _part(self, size: int) -> memoryview:
        if not self._more():
            raise Malformed("layer-truncated", "A private layer ends inside an entry.")
        part, self._ready = self._ready[:size], self._ready[size:]
        return part

    def _more(self) -> bool:
        while not self._ready:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._ready = memoryview(chunk)
        return True


def _unzipped(data: bytes) -> Iterator[bytes]:
    """All members of a gzip file (RFC 1952, 2.2)."""
    unzip = zlib.decompressobj(_GZIP)
    try:
        for at in range(0, len(data), _FEED):
            feed = data[at : at + _FEED]
            while feed:
                yield unzip.decompress(feed)
                feed = unzip.unused_data
                unzip = zlib.decompressobj(_GZIP) if unzip.eof else unzip
    except zlib.error:
        raise Malformed("layer-gzip", "A private layer is not gzip, although it says so.") from None
