"""What the image says it is: the enclave's documents, each checked against the manifest that the platform measures."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from kloister.errors import Denied, Malformed, Misconfigured
from kloister.formats.enclave.launch import MAX_DOCUMENT as MAX_LAUNCH
from kloister.formats.enclave.launch import LaunchDocument
from kloister.formats.enclave.manifest import Manifest
from kloister.formats.enclave.runtime import ENCLAVE_ROOT, LOADER
from kloister.formats.enclave.tree import MAX_DOCUMENT as MAX_TREE
from kloister.formats.enclave.tree import Tree
from kloister.formats.protocol.allocations import FIRST_CODE_LIMIT, Attach
from kloister.formats.protocol.spawner import MANIFEST_LIMIT

_SIGSTRUCT = 1808  # bytes: the structure's size
_CONVERT = "Convert the image again."


@dataclass(frozen=True, slots=True)
class Measured:
    """The enclave that an image asks for."""

    attach: Attach
    tree: Tree
    launch: LaunchDocument

    @classmethod
    def read(cls, root: Path) -> Measured:
        """Read the documents of the image at `root`.

        Raises:
            Misconfigured: `*-missing`. Malformed: `*-size`, `*-unmeasured`, `manifest-*`, `tree-*`, `launch-*`.
            Denied: `tree-changed`, `launch-changed`, `first-code-changed`.
        """
        folder = root / ENCLAVE_ROOT[1:]
        manifest = _read(folder / "manifest.sgx", MANIFEST_LIMIT, "manifest")
        parsed = Manifest.parse(manifest)
        trusted = {file.uri: file.sha256 for file in parsed.trusted_files}
        first_code = _read(root / LOADER[1:], FIRST_CODE_LIMIT, "first-code")
        tree, launch = _read(folder / "tree", MAX_TREE, "tree"), _read(folder / "launch.json", MAX_LAUNCH, "launch")
        _require(first_code, parsed.loader_entrypoint.sha256, "first-code")
        _require(tree, trusted.get(f"file:{ENCLAVE_ROOT}/tree"), "tree")
        _require(launch, trusted.get(f"file:{ENCLAVE_ROOT}/launch.json"), "launch")
        sigstruct = _read(folder / "sigstruct", _SIGSTRUCT, "sigstruct")
        return cls(Attach(manifest, sigstruct, first_code), Tree.parse(tree), LaunchDocument.parse(launch))


def _require(data: bytes, measured: bytes | None, name: str) -> None:
    if measured is None:
        raise Malformed(f"{name}-unmeasured", f"The manifest does not measure the image's {name}.", _CONVERT)
    if not hmac.compare_digest(sha256(data).digest(), measured):
        raise Denied(f"{name}-changed", f"The image's {name} is not the one that was measured.", _CONVERT)


def _read(path: Path, limit: int, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise Misconfigured(f"{name}-missing", f"{path} cannot be read: {error.strerror}.", _CONVERT) from None
    if len(data) > limit:
        raise Malformed(f"{name}-size", f"{path} has more than {limit} bytes.", _CONVERT)
    return data
