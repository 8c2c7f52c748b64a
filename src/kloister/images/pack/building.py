"""The pack of a converted image (architecture.md, section 5)."""

from __future__ import annotations

import shutil
from pathlib import Path

from kloister.errors import Malformed, Misconfigured
from kloister.formats.enclave.tree import Tree
from kloister.formats.oci.mediatypes import is_encrypted
from kloister.images.layers.merged import MergedRoot
from kloister.images.pack.opening import DOCUMENTS, Pack
from kloister.images.sources.image import SourceImage
from kloister.images.sources.merge import Progress, merge_image
from kloister.images.staging import disk_errors, staging

PRIVATE_TREE = "private.tree"
_MAX_DOCUMENT = 128 << 20  # bytes: the tree document's own limit, the largest of them


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
