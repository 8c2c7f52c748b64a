"""The Gramine manifest of a converted image (manifest-syntax.rst of Gramine 1.9): one for both targets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from kloister.formats.enclave.launch import LaunchDocument
from kloister.formats.enclave.manifest import Manifest
from kloister.formats.enclave.runtime import ENCLAVE_ROOT, LOADER, RUNTIME_ARGV
from kloister.formats.enclave.tree import Kind, Tree
from kloister.images.convert.options import ConvertOptions

_HOST_DOCUMENT = "file:/.kloister/host.json"


def manifest_of(
    tree: Tree, launch: LaunchDocument, documents: Mapping[str, bytes], loader: bytes, options: ConvertOptions
) -> Manifest:
    """The manifest.

    Args:
        tree: the public tree; each of its regular files becomes a trusted file.
        launch: for writable places and mounts.
        documents: name below `/.kloister/enclave/` -> bytes: `tree`, `launch.json`.
        loader: the dynamic loader, which is measured as the first code.
        options: sizes and numbers.

    Raises:
        Malformed: `manifest-value`, where an option is not what Gramine takes.
    """
    return Manifest.of(
        {
            "libos": {"entrypoint": LOADER},
            "loader": {
                "entrypoint": {"uri": f"file:{LOADER}", "sha256": hashlib.sha256(loader).hexdigest()},
                "log_level": "error",
                "argv": list(RUNTIME_ARGV),
                "uid": 0,  # the launcher takes on the application's user at the end
                "gid": 0,
            },
            "fs": {
                "start_dir": "/",
                "root": {"type": "chroot", "uri": "file:/"},
                "mounts": [{"type": "tmpfs", "path": path} for path in launch.writable],
            },
            "sys": {"enable_sigterm_injection": True, "enable_extra_runtime_domain_names_conf": True},
            "sgx": _sgx(tree, launch, documents, options),
        }
    )


def _sgx(tree: Tree, launch: LaunchDocument, documents: Mapping[str, bytes], options: ConvertOptions) -> dict[str, Any]:
    places = [f"file:{place}/" for place in sorted(launch.mounts.values())]
    return {
        "remote_attestation": "dcap",
        "enclave_size": options.enclave_size,
        "edmm_enable": True,
        "max_threads": options.max_threads,
        "isvprodid": options.isvprodid,
        "isvsvn": options.isvsvn,
        "debug": options.debug,
        "allowed_files": [_HOST_DOCUMENT, *(f"file:{path}" for path in launch.host_files), *places],
        "trusted_files": [*_documents(documents), *_files(tree)],
    }


def _documents(documents: Mapping[str, bytes]) -> Iterator[dict[str, str]]:
    for name in sorted(documents):
        yield {"uri": f"file:{ENCLAVE_ROOT}/{name}", "sha256": hashlib.sha256(documents[name]).hexdigest()}


def _files(tree: Tree) -> Iterator[dict[str, str]]:
    """Files and hard links to them; names that are not UTF-8 cannot stand in TOML and are in the tree only."""
    digests = {entry.path: entry.sha256 for entry in tree.entries if entry.kind is Kind.FILE}
    for entry in tree.entries:
        digest = digests.get(entry.target if entry.kind is Kind.HARDLINK else entry.path)
        if digest is None:
            continue
        try:
            yield {"uri": "file:" + entry.path.decode("utf-8"), "sha256": digest.hex()}
        except UnicodeDecodeError:
            continue
