"""Tar entries from a stream, each checked by itself before anything is done with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol

from kloister.errors import Malformed
from kloister.formats.oci.limits import DEFAULT, Limits
from kloister.formats.oci.tar import BLOCK, TarHeader, TarKind, parse_header, parse_pax, with_pax

_CHUNK = 1 << 20
_EMPTY = bytes(BLOCK)
_LONG = {TarKind.LONG_NAME: b"path", TarKind.LONG_LINK: b"linkpath"}
_BODIES = frozenset({TarKind.FILE, TarKind.PAX, TarKind.PAX_GLOBAL, TarKind.LONG_NAME, TarKind.LONG_LINK})


class Source(Protocol):
    """Bytes from front to back."""

    def read(self, size: int) -> bytes:
        """At most `size` bytes; fewer only at the end."""

    def skip(self, size: int) -> None:
        """Pass over `size` bytes."""


class ChunkSource:
    """A source made of chunks, for layers that are unpacked while they are read."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._chunk = b""
        self._at = 0

    def _more(self) -> bool:
        while self._at >= len(self._chunk):  # a chunk may be empty without being the last
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._chunk, self._at = chunk, 0
        return True

    def read(self, size: int) -> bytes:
        """At most `size` bytes; fewer only at the end."""
        end = self._at + size
        if end <= len(self._chunk):
            start, self._at = self._at, end
            return self._chunk[start:end]
        parts = []
        while size and self._more():
            part = self._chunk[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)

    def skip(self, size: int) -> None:
        """Pass over `size` bytes."""
        while size and self._more():
            step = min(size, len(self._chunk) - self._at)
            self._at += step
            size -= step

    def drain(self) -> None:
        """Read to the end, so that every digest on the way is checked."""
        for _ in self._chunks:
            pass


class FileSource:
    """A source over a file that can seek, for archives that are only indexed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        """At most `size` bytes; fewer only at the end."""
        return self._file.read(size)

    def skip(self, size: int) -> None:
        """Pass over `size` bytes."""
        self._file.seek(size, 1)


class TarReader:
    """Iterates over the headers of a tar; `content` gives the bytes of the one last returned.

    Attributes:
        position: offset of the next unread byte, in bytes.
        records: PAX records of the entry last returned.
    """

    def __init__(self, source: Source, limits: Limits = DEFAULT) -> None:
        self._source = source
        self._limits = limits
        self._left = 0  # bytes of the entry's content not yet read
        self._padding = 0
        self.position = 0
        self.records: dict[bytes, bytes] = {}

    def __iter__(self) -> Iterator[TarHeader]:
        """Every entry with its long names and PAX records applied.

        Raises:
            Malformed: `layer-truncated`, `layer-header`, `layer-pax`, `layer-entry-type`.
        """
        records: dict[bytes, bytes] = {}
        while (header := self._header()) is not None:
            if header.kind in _LONG:
                records[_LONG[header.kind]] = self._whole(header).partition(b"\0")[0]
            elif header.kind is TarKind.PAX:
                records |= parse_pax(self._whole(header))
            elif header.kind is TarKind.PAX_GLOBAL:
                _require_harmless(parse_pax(self._whole(header)))
            else:
                self.records = records
                yield self._complete(header, records)
                self._skip()
                records = {}

    def _complete(self, header: TarHeader, records: dict[bytes, bytes]) -> TarHeader:
        header = with_pax(header, records) if records else header
        self._begin(header)
        return header

    def content(self) -> Iterator[bytes]:
        """The current entry's bytes in chunks of at most 1 MiB; they can be read once."""
        while self._left:
            chunk = self._source.read(min(self._left, _CHUNK))
            if not chunk:
                raise Malformed("layer-truncated", "The layer ends inside the content of an entry.")
            self._left -= len(chunk)
            self.position += len(chunk)
            yield chunk

    def _begin(self, header: TarHeader) -> None:
        # Only regular files have content: other types may carry a size that means nothing (POSIX pax, size).
        self._left = header.size if header.kind in _BODIES else 0
        self._padding = -self._left % BLOCK

    def _skip(self) -> None:
        self._source.skip(self._left + self._padding)
        self.position += self._left + self._padding
        self._left = self._padding = 0

    def _whole(self, header: TarHeader) -> bytes:
        if header.size > self._limits.header:
            text = f"The layer has an extended header of {header.size} bytes; at most {self._limits.header} are read."
            raise Malformed("layer-header", text)
        self._begin(header)
        data = b"".join(self.content())
        self._skip()
        return data

    def _header(self) -> TarHeader | None:
        block = self._source.read(BLOCK)
        self.position += len(block)
        if block == _EMPTY:
            following = self._source.read(BLOCK)
            if following.strip(b"\0"):
                raise Malformed("layer-header", "The layer has entries behind the block that ends it.")
            return None
        if not block:
            return None  # no end marker: Go's writer leaves it out when it is killed, and everyone accepts it
        return parse_header(block)


def _require_harmless(records: dict[bytes, bytes]) -> None:
    for key in (b"path", b"linkpath", b"size", b"uid", b"gid"):
        if key in records:
            raise Malformed("layer-pax", f"The layer sets {key.decode('ascii')} for all entries at once.")
