"""Writing of images (image-spec 1.1, image-layout.md)."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Self

from kloister import files
from kloister.errors import Misconfigured
from kloister.formats.oci import mediatypes
from kloister.formats.oci.config import ImageConfig
from kloister.formats.oci.descriptor import REF_NAME, Descriptor
from kloister.formats.oci.index import LAYOUT, Index, parse_layout
from kloister.formats.oci.limits import DEFAULT
from kloister.formats.oci.manifest import Manifest
from kloister.formats.oci.tar import BLOCK, END, TarHeader, TarKind, build_header
from kloister.images.layers.stream import checked
from kloister.images.sources.reference import Transport, parse_reference
from kloister.images.staging import disk_errors, staging

_CHUNK = 1 << 20


class LayoutWriter:
    """Collects blobs and tags beside a layout; all of them appear when the `with` block ends without an error.

    A layout that is already there keeps its other tags and blobs; writing the same image again changes nothing.

    Args:
        path: the layout's directory, made when it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tags: list[Descriptor] = []
        self._stack = ExitStack()
        self._partial = 0

    def __enter__(self) -> Self:
        self._require_layout()
        self._staged = self._stack.enter_context(staging(self._path))
        self._blobs = self._staged / "blobs" / "sha256"
        self._blobs.mkdir(parents=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: object) -> None:
        with self._stack:
            if kind is None:
                with disk_errors(self._path):
                    self._publish()
            elif isinstance(value, OSError):
                with disk_errors(self._path):
                    raise value

    def add_blob(
        self, media_type: str, chunks: Iterable[bytes], annotations: dict[str, str] | None = None
    ) -> Descriptor:
        """Write a blob of unknown digest; returns its descriptor.

        Raises:
            Misconfigured: `disk-full`, `destination-unwritable`.
        """
        self._partial += 1
        partial = self._staged / f"partial-{self._partial}"
        hasher, size = hashlib.sha256(), 0
        with disk_errors(self._path), partial.open("xb") as file:
            for chunk in chunks:
                hasher.update(chunk)
                size += file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self._blobs / hasher.hexdigest())
        return Descriptor(media_type, "sha256:" + hasher.hexdigest(), size, annotations or {})

    def put_blob(self, media_type: str, data: bytes, annotations: dict[str, str] | None = None) -> Descriptor:
        """Write a small blob; returns its descriptor."""
        return self.add_blob(media_type, (data,), annotations)

    def copy_blob(self, descriptor: Descriptor, chunks: Iterable[bytes]) -> Descriptor:
        """Write a blob whose descriptor is known; it is refused unless digest and size are right.

        Raises:
            Malformed: `blob-size`, `blob-digest`.
        """
        if not (self._blobs / descriptor.hex).exists():
            self.add_blob(descriptor.media_type, checked(chunks, descriptor.digest, "blob", descriptor.size))
        return descriptor

    def add_config(self, config: ImageConfig) -> Descriptor:
        """Write an image configuration; returns its descriptor."""
        return self.put_blob(mediatypes.OCI_CONFIG, config.build())

    def add_manifest(self, manifest: Manifest, tag: str, data: bytes | None = None) -> Descriptor:
        """Write a manifest (`data`: its exact bytes, if they must stay) and give it a tag (empty: none)."""
        written = self.put_blob(manifest.media_type, manifest.build() if data is None else data)
        annotations = {REF_NAME: tag} if tag else {}
        self._tags.append(Descriptor(written.media_type, written.digest, written.size, annotations))
        return written

    def _require_layout(self) -> None:
        if self._path.is_dir() and any(self._path.iterdir()) and not (self._path / "index.json").is_file():
            hint = "Name an empty or new directory, or an OCI layout."
            raise Misconfigured("destination-occupied", f"{self._path} holds something that is no OCI layout.", hint)
        if self._path.exists() and not self._path.is_dir():
            raise Misconfigured("destination-occupied", f"{self._path} is not a directory.", "Name a directory.")

    def _publish(self) -> None:
        if not self._path.exists():
            self._write_index(self._staged, Index())
            for leftover in self._staged.glob("partial-*"):
                leftover.unlink()
            if self._appeared():
                return
        with _locked(self._path):
            target = self._path / "blobs" / "sha256"
            target.mkdir(parents=True, exist_ok=True)
            for blob in sorted(self._blobs.iterdir()):
                blob.replace(target / blob.name)
            files.sync(target)
            self._write_index(self._path, _index_of(self._path))

    def _appeared(self) -> bool:
        try:
            self._staged.rename(self._path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False  # another writer made the layout meanwhile: put ours into it
            raise
        files.sync(self._path.parent)
        return True

    def _write_index(self, directory: Path, index: Index) -> None:
        for descriptor in self._tags:
            index = index.with_tag(descriptor)
        files.replace(directory / "oci-layout", LAYOUT, mode=None)
        files.replace(directory / "index.json", index.build(), mode=None)  # last: it makes the rest count


def _index_of(path: Path) -> Index:
    if not (path / "index.json").exists():
        return Index()
    parse_layout((path / "oci-layout").read_bytes())
    with (path / "index.json").open("rb") as file:
        return Index.parse(file.read(DEFAULT.manifest + 1))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def open_destination(ref: str) -> Iterator[tuple[LayoutWriter, str]]:
    """A writer for `oci:DIR[:TAG]` or `oci-archive:FILE[:TAG]`, and the tag (`latest` when none is given).

    Raises:
        Misconfigured: `reference-*`, `destination-*`, `disk-full`.
    """
    reference = parse_reference(ref)
    tag = reference.tag or "latest"
    if reference.transport is Transport.OCI:
        with LayoutWriter(reference.path) as writer:
            yield writer, tag
        return
    if reference.transport is not Transport.OCI_ARCHIVE:
        hint = "Write to oci:DIR[:TAG] or oci-archive:FILE[:TAG]."
        raise Misconfigured("destination-transport", f"{reference.transport.value}: can only be read.", hint)
    if reference.path.is_dir():
        raise Misconfigured("destination-occupied", f"{reference.path} is a directory.", "Name a file.")
    with staging(reference.path) as staged:
        with LayoutWriter(staged / "layout") as writer:
            yield writer, tag
        archive = staged / "archive"
        with archive.open("xb") as file:
            _pack(staged / "layout", file)
        files.sync(archive)
        archive.replace(reference.path)


def _pack(layout: Path, out: BinaryIO) -> None:
    """The layout as a tar whose bytes depend on its content only."""
    directories = (b"blobs/", b"blobs/sha256/")
    out.writelines(build_header(TarHeader(name, TarKind.DIRECTORY, 0o755)) for name in directories)
    names = sorted(f"blobs/sha256/{blob.name}" for blob in (layout / "blobs" / "sha256").iterdir())
    for name in [*names, "index.json", "oci-layout"]:
        with (layout / name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            out.write(build_header(TarHeader(name.encode(), TarKind.FILE, 0o644, size=size)))
            while chunk := file.read(_CHUNK):
                out.write(chunk)
            out.write(bytes(-size % BLOCK))
    out.write(END)
