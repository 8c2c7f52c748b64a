"""The measurement of a converted image, computed again from all that it holds; its annotations say nothing here."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from kloister.errors import Denied, Malformed, Misconfigured
from kloister.formats.enclave.launch import LaunchDocument
from kloister.formats.enclave.manifest import Manifest
from kloister.formats.enclave.measurement import gramine_runs, mrenclave
from kloister.formats.enclave.tree import MAX_DOCUMENT, Tree, differences
from kloister.formats.sgx.sigstruct import Sigstruct
from kloister.images.layers.merged import MergedRoot
from kloister.images.sources.image import SourceImage
from kloister.images.sources.merge import merge_image

_ENCLAVE = "/.kloister/enclave/"
_SCHEME = "file:"
_SHOWN = 3  # differences that an error names
_AGAIN = "Convert the image again; somebody may have changed it since."


@dataclass(frozen=True, slots=True)
class MeasuredImage:
    """What an image's enclave is: the hash of what is measured, and of the key that signed it."""

    reference: str
    mrenclave: bytes
    mrsigner: bytes

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"reference": self.reference, "mrenclave": self.mrenclave.hex(), "mrsigner": self.mrsigner.hex()}


def measure_image(image: SourceImage) -> MeasuredImage:
    """Measure a converted image: MRENCLAVE from manifest and first code, and every file below what they measure.

    Raises:
        Misconfigured: `image-not-converted`; and as `merge_image`.
        Malformed: `manifest-*`, `launch-*`, `tree-*`, `elf-*`, `sigstruct-*`, `tree-unmeasured`, `launch-unmeasured`,
            `first-code-unmeasured`.
        Denied: `image-changed`: files, documents or encrypted layers are not the measured ones; `image-signature`.
    """
    with merge_image(image) as root:
        documents = {name: _document(root, name, image.reference) for name in ("manifest.sgx", "sigstruct")}
        manifest = Manifest.parse(documents["manifest.sgx"])
        trusted = {file.uri: file.sha256 for file in manifest.trusted_files}
        tree = _measured(root, "tree", trusted, image.reference)
        launch = LaunchDocument.parse(_measured(root, "launch.json", trusted, image.reference))
        _check_tree(Tree.parse(tree), root.tree())
        _check_layers(launch, image)
        return _signed(image.reference, Sigstruct.parse(documents["sigstruct"]), _mrenclave(root, manifest))


def _mrenclave(root: MergedRoot, manifest: Manifest) -> bytes:
    first = manifest.loader_entrypoint
    code = root.read(first.uri.removeprefix(_SCHEME).encode(), MAX_DOCUMENT)
    if first.sha256 is None:
        raise _unmeasured("first-code", "first code")
    if code is None or not hmac.compare_digest(sha256(code).digest(), first.sha256):
        raise Denied("image-changed", "The image's first code is not the one that was measured.", _AGAIN)
    size, threads = manifest.enclave_size, manifest.max_threads
    return mrenclave(gramine_runs(manifest.data, code, size, threads, manifest.edmm_enable), size)


def _signed(reference: str, sigstruct: Sigstruct, measured: bytes) -> MeasuredImage:
    sigstruct.verify()
    if not hmac.compare_digest(sigstruct.enclavehash, measured):
        raise Denied("image-changed", "The image's signature is for another enclave than the image is.", _AGAIN)
    return MeasuredImage(reference, measured, sigstruct.mrsigner)


def _document(root: MergedRoot, name: str, reference: str) -> bytes:
    data = root.read(f"{_ENCLAVE}{name}".encode(), MAX_DOCUMENT)
    if data is None:
        text = f"{reference} is not a converted image: it has no {_ENCLAVE}{name}."
        raise Misconfigured("image-not-converted", text, "Convert it first: kloister convert SRC DST.")
    return data


def _measured(root: MergedRoot, name: str, trusted: Mapping[str, bytes | None], reference: str) -> bytes:
    data, expected = _document(root, name, reference), trusted.get(f"{_SCHEME}{_ENCLAVE}{name}")
    if expected is None:
        raise _unmeasured(name.partition(".")[0], f"{name} document")
    if not hmac.compare_digest(sha256(data).digest(), expected):
        raise Denied("image-changed", f"The image's {name} is not the one that was measured.", _AGAIN)
    return data


def _check_tree(measured: Tree, observed: Tree) -> None:
    found = differences(measured, observed)
    if found:
        shown = ", ".join(f"{one.path.decode('utf-8', 'replace')!a} [{one.code}]" for one in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise Denied("image-changed", f"The image's files are not the measured ones: {shown}{more}.", _AGAIN)


def _check_layers(launch: LaunchDocument, image: SourceImage) -> None:
    there = {descriptor.digest for descriptor in image.layers}
    for layer in launch.private.layers if launch.private and not launch.private.links else ():
        if layer.digest not in there:
            raise Denied("image-changed", "An encrypted layer that was measured is not in the image.", _AGAIN)


def _unmeasured(code: str, what: str) -> Malformed:
    return Malformed(f"{code}-unmeasured", f"The manifest does not measure the {what}.", "Convert the image again.")
