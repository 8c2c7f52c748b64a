"""The pack of a converted image (architecture.md, section 5)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from kloister.errors import Malformed, Misconfigured
from kloister.formats.enclave.tree import Tree
from kloister.formats.oci.mediatypes import is_encrypted
from kloister.images.layers.merged import MergedRoot
from kloister.images.sources.image import SourceImage
from kloister.images.sources.merge import Progress, merge_image
from kloister.images.staging import disk_errors, staging

DOCUMENTS = ("manifest.sgx", "sigstruct", "tree", "launch.json")
PRIVATE_TREE = "private.tree"
_MAX_DOCUMENT = 128 << 20  # bytes: the tree document's own limit, the largest of them


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack's directory and its parts."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> Self:
        """A pack that is there.

        Raises:
            Misconfigured: `pack-incomplete`.
        """
        pack = cls(path)
        wanted = [pack.observed, pack.contents, *(pack.document(name) for name in DOCUMENTS)]
        missing = [item.name for item in wanted if not item.is_file()]
        if missing:
            text = f"The pack {path} lacks {', '.join(missing)}."
            raise Misconfigured("pack-incomplete", text, "Remove the directory: it is built again from the image.")
        return pack

    @property
    def observed(self) -> Path:
        """The tree document of what the layers hold."""
        return self.path / "observed.tree"

    @property
    def contents(self) -> Path:
        """The bytes of all regular files of the observed tree, in its order."""
        return self.path / "contents"

    @property
    def private(self) -> Path:
        """The directory of the encrypted layers, named by their digests' hexadecimal digits."""
        return self.path / "private"

    def document(self, name: str) -> Path:
        """One of `manifest.sgx`, `sigstruct`, `tree`, `launch.json`, `private.tree`."""
        return self.path / "enclave" / name

    def tree(self) -> Tree:
        """The observed tree."""
        return Tree.parse(self.observed.read_bytes())


def build_pack(image: SourceImage, destination: Path, progress: Progress | None = None) -> Pack:
    """Build the pack of a converted image; it appears whole or not at all.

    Args:
        image: a converted image.
        destination: the directory to make; one that is there is replaced.
        progress: told of plain bytes as they are read.

    Raises:
        Malformed: `layer-*`, `blob-*`.
        Misconfigured: `image-not-converted`, `disk-full`, `destination-unwritable`.
    """
    with staging(destination) as staged:
        with merge_image(image, staged, progress) as root:
            _write_documents(root, staged, image.reference)
            _write_root(root, staged)
        _copy_private(image, staged)
        _publish(staged, destination)
    return Pack(destination)


def ensure_pack(cache: Path, image: SourceImage, progress: Progress | None = None) -> Pack:
    """The pack of the image from the cache, which names packs by the manifest's digest; built when it is not there."""
    destination = cache / image.digest.removeprefix("sha256:")
    try:
        return Pack.open(destination)
    except Misconfigured:
        return build_pack(image, destination, progress)


def _write_documents(root: MergedRoot, staged: Path, reference: str) -> None:
    (staged / "enclave").mkdir()
    for name in (*DOCUMENTS, PRIVATE_TREE):
        data = root.read(b"/.kloister/enclave/" + name.encode("ascii"), _MAX_DOCUMENT)
        if data is not None:
            (staged / "enclave" / name).write_bytes(data)
        elif name != PRIVATE_TREE:
            text = f"{reference} is not a converted image: it has no /.kloister/enclave/{name}."
            raise Misconfigured("image-not-converted", text, "Convert it first: kloister convert SRC DST.")


def _write_root(root: MergedRoot, staged: Path) -> None:
    located = root.located()
    (staged / "observed.tree").write_bytes(Tree(tuple(item.entry for item in located)).build())
    with (staged / "contents").open("xb") as out:
        root.write_contents(out, located)


def _copy_private(image: SourceImage, staged: Path) -> None:
    private = staged / "private"
    private.mkdir()
    for descriptor in image.layers:
        if is_encrypted(descriptor.media_type):
            with (private / descriptor.hex).open("wb") as out:
                for chunk in image.blob(descriptor):
                    out.write(chunk)


def _publish(staged: Path, destination: Path) -> None:
    with disk_errors(destination):
        if destination.is_dir():
            # Another process may have been faster; the old one goes into our directory, which is removed with it.
            destination.rename(staged / "replaced")
            shutil.rmtree(staged / "replaced")
        elif destination.exists():
            raise Malformed("pack-occupied", f"{destination} is not a directory.", "Remove it.")
        staged.rename(destination)
