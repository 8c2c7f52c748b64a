"""Opens a pack: the measured documents, checked against the manifest, and descriptors of what is yet to be checked."""

from __future__ import annotations

import hmac
import os
import stat
from dataclasses import dataclass
from hashlib import file_digest, sha256

from kloister.errors import Denied, Malformed
from kloister.formats.enclave.launch import MAX_DOCUMENT as MAX_LAUNCH
from kloister.formats.enclave.launch import LaunchDocument
from kloister.formats.enclave.manifest import Manifest
from kloister.formats.enclave.tree import MAX_DOCUMENT as MAX_TREE

_SIGSTRUCT_LIMIT = 1808  # bytes: the structure's size
_REBUILD = "The pack is only a cache: delete it, and it is made again from the image."
_MEASURED = "file:/.kloister/enclave/"


@dataclass(frozen=True, slots=True)
class Pack:
    """What the sandbox is filled from.

    Attributes:
        first_code: SHA-256 of the file that the first process is executed from, as the manifest measures it.
        tree: bytes of the measured tree, verified.
        launch_bytes: bytes of the launch document, verified.
        launch: the same, parsed.
        sigstruct: as the host gave it; the platform checked its own copy.
        observed: descriptor of the tree document of what the pack holds; not verified.
        contents: descriptor of the files' bytes; not verified.
        private: hexadecimal digest -> descriptor of an encrypted layer that is no file of the tree; not verified.
        private_tree: descriptor of the encrypted tree of the private entries; not verified.
    """

    first_code: bytes
    tree: bytes
    launch_bytes: bytes
    launch: LaunchDocument
    sigstruct: bytes
    observed: int
    contents: int
    private: dict[str, int]
    private_tree: int | None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All that it holds open."""
        last = () if self.private_tree is None else (self.private_tree,)
        return (self.observed, self.contents, *self.private.values(), *last)

    @classmethod
    def open(cls, directory: int, manifest: bytes) -> Pack:
        """Open the pack in `directory`, whose enclave has the measured `manifest`.

        Raises:
            Malformed: `pack-file` (missing or no regular file), `pack-size`, `manifest-*`, `launch-*`,
                `first-code-unmeasured`, `tree-unmeasured`, `launch-unmeasured`.
            Denied: `tree-changed`, `launch-changed`, `layer-changed` (an encrypted layer has another digest).
        """
        parsed = Manifest.parse(manifest)
        trusted = {file.uri: file.sha256 for file in parsed.trusted_files}
        first_code = parsed.loader_entrypoint.sha256
        if first_code is None:
            raise _unmeasured("first-code", "first code")
        tree = _read(directory, "enclave/tree", MAX_TREE)
        _require(tree, trusted.get(f"{_MEASURED}tree"), "tree")
        document = _read(directory, "enclave/launch.json", MAX_LAUNCH)
        _require(document, trusted.get(f"{_MEASURED}launch.json"), "launch")
        launch = LaunchDocument.parse(document)
        beside = launch.private.layers if launch.private and not launch.private.links else ()
        digests = [layer.digest.removeprefix("sha256:") for layer in beside]
        return cls(
            first_code=first_code,
            tree=tree,
            launch_bytes=document,
            launch=launch,
            sigstruct=_read(directory, "enclave/sigstruct", _SIGSTRUCT_LIMIT),
            observed=_open(directory, "observed.tree"),
            contents=_open(directory, "contents"),
            private={digest: _open_layer(directory, digest) for digest in digests},
            private_tree=_open(directory, "enclave/private.tree") if launch.private else None,
        )

    def require_first_code(self, pal: int) -> None:
        """Refuse a file to execute whose every byte is not measured.

        MRENCLAVE covers the segments that are loaded. What else the kernel reads of an ELF file is covered by this hash
        alone: an interpreter that its headers name would run in the place of the measured entry.

        Args:
            pal: descriptor of the file, which nobody can change any more.

        Raises:
            Denied: `first-code-changed`.
        """
        with os.fdopen(os.dup(pal), "rb", 0) as file:
            file.seek(0)
            digest = file_digest(file, "sha256").digest()
            file.seek(0)
        if not hmac.compare_digest(digest, self.first_code):
            text = "The file of the enclave's first code is not the one that was measured."
            raise Denied("first-code-changed", text, _REBUILD)


def _unmeasured(code: str, name: str) -> Malformed:
    return Malformed(f"{code}-unmeasured", f"The manifest does not measure the {name}.", "Convert the image again.")


def _require(document: bytes, measured: bytes | None, name: str) -> None:
    if measured is None:
        raise _unmeasured(name, f"{name} document")
    if not hmac.compare_digest(sha256(document).digest(), measured):
        raise Denied(f"{name}-changed", f"The {name} document is not the one that was measured.", _REBUILD)


def _open(directory: int, name: str) -> int:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError as error:
        raise Malformed("pack-file", f"The pack's {name} cannot be read: {error.strerror}.", _REBUILD) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Malformed("pack-file", f"The pack's {name} is not a regular file.", _REBUILD)
    return descriptor


def _open_layer(directory: int, digest: str) -> int:
    try:
        return _open(directory, f"private/{digest}")
    except Malformed:
        text = (
            f"The encrypted layer {digest[:16]}... that was measured is not in the image: another stands in its place."
        )
        raise Denied("layer-changed", text, _REBUILD) from None


def _read(directory: int, name: str, limit: int) -> bytes:
    with os.fdopen(_open(directory, name), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise Malformed("pack-size", f"The pack's {name} has more than {limit} bytes.", _REBUILD)
    return data
