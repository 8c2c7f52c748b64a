"""Where blobs lie: a layout's directory, or a tar archive of one that is read in place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from kloister.errors import Malformed, Misconfigured
from kloister.formats.oci.limits import DEFAULT, Limits
from kloister.formats.oci.tar import TarKind
from kloister.images.layers.reading import FileSource, TarReader
from kloister.images.layers.stream import file_chunks

_CHUNK = 1 << 20
_MAX_MEMBERS = 100_000  # members of an archive: blobs and their directories, of which images have tens
_BLOB = re.compile(r"blobs/sha256/[0-9a-f]{64}")
_GZIP = b"\x1f\x8b"


class Files(Protocol):
    """Files by name, as a layout or an archive holds them."""

    def chunks(self, name: str) -> Iterator[bytes] | None:
        """The bytes of a file; None when there is none."""

    def close(self) -> None:
        """Let go of what is open."""


def read_file(files: Files, name: str, limit: int, what: str) -> bytes | None:
    """A small file whole, None when there is none.

    Raises:
        Malformed: `{what}-size`.
    """
    chunks = files.chunks(name)
    if chunks is None:
        return None
    data = b""
    for chunk in chunks:
        data += chunk
        if len(data) > limit:
            raise Malformed(f"{what}-size", f"{name} has more than the {limit} bytes that are read.")
    return data


def blob_chunks(files: Files, digest: str) -> Iterator[bytes]:
    """The bytes of a blob, unchecked.

    Raises:
        Malformed: `blob-missing`.
    """
    chunks = files.chunks("blobs/sha256/" + digest.removeprefix("sha256:"))
    if chunks is None:
        raise Malformed(
            "blob-missing", f"The image's blob {digest} is missing.", "The copy is incomplete: fetch it again."
        )
    return chunks


class DirectoryFiles:
    """A layout on disk. Names are fixed or digests, so nothing that an image says becomes a path."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def chunks(self, name: str) -> Iterator[bytes] | None:
        """The bytes of a file; None when there is none."""
        if name not in ("index.json", "oci-layout") and not _BLOB.fullmatch(name):
            return None
        place = self._path / name
        return _named(place) if os.path.lexists(place) else None

    def close(self) -> None:
        """Nothing is kept open."""


def _named(path: Path) -> Iterator[bytes]:
    try:
        yield from file_chunks(path)
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> Misconfigured:
    """The refusal of a file that cannot be read."""
    code = "image-missing" if isinstance(error, FileNotFoundError) else "image-unreadable"
    return Misconfigured(
        code, f"{path} cannot be read: {error.strerror or error}.", "Check the path and its permissions."
    )


class ArchiveFiles:
    """A tar archive, indexed once; contents are read from their places in it.

    Raises:
        Misconfigured: `image-missing`, `image-unreadable`, `archive-compressed`.
        Malformed: `layer-*`, where it is not a tar archive.
    """

    def __init__(self, path: Path, limits: Limits = DEFAULT) -> None:
        self._path = path
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise unreadable(path, error) from None
        try:
            self._members, self._links = self._scan(limits)
        except OSError as error:
            self._file.close()
            raise unreadable(path, error) from None
        except Malformed as error:
            self._file.close()
            hint = error.hint or "Name a tar archive; if it is one, fetch it again."
            raise Malformed(error.code, f"{path} cannot be read as an archive: {error.text}", hint) from None
        except BaseException:
            self._file.close()
            raise

    def _scan(self, limits: Limits) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
        if self._file.read(len(_GZIP)) == _GZIP:
            hint = f"Unpack it first: gunzip {self._path}"
            raise Misconfigured("archive-compressed", f"{self._path} is compressed as a whole.", hint)
        end = self._file.seek(0, 2)
        self._file.seek(0)
        members: dict[str, tuple[int, int]] = {}
        links: dict[str, str] = {}
        reader = TarReader(FileSource(self._file), limits)
        for header in reader:
            name = header.name.decode("utf-8", "surrogateescape").removeprefix("./")
            if header.kind is TarKind.FILE:
                if reader.position + header.size > end:
                    raise Malformed("archive-truncated", f"{self._path} is cut off inside {name!r}.", "Fetch it again.")
                members[name] = (reader.position, header.size)
            elif header.kind in (TarKind.SYMLINK, TarKind.HARDLINK):
                links[name] = _target(name, header.target, symbolic=header.kind is TarKind.SYMLINK)
            if len(members) + len(links) > _MAX_MEMBERS:
                raise Malformed("archive-members", f"{self._path} has more than {_MAX_MEMBERS} members.")
        return members, links

    def _place(self, name: str) -> tuple[int, int] | None:
        for _ in range(2):  # older Docker wrote a link for a layer that occurs twice
            if name in self._members:
                return self._members[name]
            name = self._links.get(name, "")
        return self._members.get(name)

    def size(self, name: str) -> int | None:
        """Bytes of a file; None when there is none."""
        place = self._place(name)
        return place[1] if place else None

    def chunks(self, name: str) -> Iterator[bytes] | None:
        """The bytes of a file; None when there is none."""
        place = self._place(name)
        return None if place is None else self._slice(*place)

    def _slice(self, at: int, size: int) -> Iterator[bytes]:
        end = at + size
        while at < end:
            try:
                self._file.seek(at)
                chunk = self._file.read(min(_CHUNK, end - at))
            except OSError as error:
                raise unreadable(self._path, error) from None
            if not chunk:
                raise Malformed("archive-truncated", f"{self._path} is cut off.", "Fetch it again.")
            at += len(chunk)
            yield chunk

    def close(self) -> None:
        """Close the archive."""
        self._file.close()


def _target(name: str, target: bytes, *, symbolic: bool) -> str:
    text = target.decode("utf-8", "surrogateescape")
    parts = name.split("/")[:-1] if symbolic else []
    for part in text.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
