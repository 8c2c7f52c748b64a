"""What an image brings: tree, launch document, manifest, layers, and the documents of its registry."""

from __future__ import annotations

from collections.abc import Iterator

from kloister.formats.enclave.launch import Broker, Image, LaunchDocument, Private, PrivateLayer, User
from kloister.formats.enclave.manifest import Manifest
from kloister.formats.enclave.toml import emit
from kloister.formats.enclave.tree import Entry, Kind, Tree
from kloister.formats.oci.tar import TarHeader, TarKind, build_header, parse_header, parse_pax
from kloister.images.layers.reading import ChunkSource, TarReader
from tests.fuzz.target import Target
from tests.support.images import directory, file, hardlink, symlink, tar

_DIGEST = "sha256:" + "ab" * 32
_MANIFEST = {
    "libos": {"entrypoint": "/app"},
    "loader": {
        "entrypoint": {"uri": "file:/runtime/ld.so", "sha256": "11" * 32},
        "argv": ["app", "--serve"],
        "env": {"A": "b", "HOME": {"passthrough": True}},
    },
    "sgx": {
        "enclave_size": "64M",
        "max_threads": 4,
        "debug": True,
        "isvprodid": 1,
        "isvsvn": 2,
        "remote_attestation": "dcap",
        "trusted_files": ["file:/a", {"uri": "file:/b", "sha256": "22" * 32}],
        "cpu_features": {"avx": "required"},
    },
}


def targets() -> Iterator[Target]:
    """Trees, launch documents, manifests, tar layers."""
    yield Target(name="tree", read=Tree.parse, seeds=_trees, build=Tree.build)
    yield Target(name="launch-document", read=LaunchDocument.parse, seeds=_launches, build=LaunchDocument.build)
    yield Target(name="manifest", read=Manifest.parse, seeds=lambda: [emit(_MANIFEST)], build=Manifest.build)
    yield Target(name="tar-header", read=parse_header, seeds=_headers)
    yield Target(name="tar-pax", read=parse_pax, seeds=lambda: [b"11 path=/a\n22 mtime=1700000000.5\n"])
    yield Target(name="tar-layer", read=_layer, seeds=_layers)


def _layer(data: bytes) -> object:
    reader = TarReader(ChunkSource([data]))
    return [(header, reader.records, sum(len(chunk) for chunk in reader.content())) for header in reader]


def _trees() -> list[bytes]:
    entries = (
        Entry(b"/", Kind.DIRECTORY, 0o755, 0, 0, 0),
        Entry(b"/a b%\xff", Kind.FILE, 0o4755, 1, 2, 3, 4, bytes(range(32))),
        Entry(b"/d", Kind.DIRECTORY, 0o755, 0, 0, 0),
        Entry(b"/d/h", Kind.HARDLINK, 0o4755, 1, 2, 3, target=b"/a b%\xff"),
        Entry(b"/d/l", Kind.SYMLINK, 0o777, 0, 0, 0, target=b"../a"),
    )
    return [Tree.of(entries).build(), Tree.of(entries[:1]).build()]


def _launches() -> list[bytes]:
    image = Image(("/bin/app", "--x"), ("A=b",), User("app", 1000, 1000, (5, 6)), "/data", "SIGRTMIN+3")
    layer = PrivateLayer(_DIGEST, 5, "application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "AA==", "BB==")
    whole = LaunchDocument(
        image=image,
        writable=("/run", "/tmp"),  # noqa: S108 -- a place inside an image
        memory=1 << 30,
        mounts={"data": "/data"},
        broker=Broker("PEM", "clinic", "inference", "app"),
        private=Private("layer", _DIGEST, 3, (layer,)),
    )
    return [whole.build(), LaunchDocument(image, ("/run",), 1 << 20).build()]


def _headers() -> list[bytes]:
    kinds = (TarKind.FILE, TarKind.SYMLINK, TarKind.PAX)
    return [build_header(TarHeader(b"a/name", kind, 0o755, 7, 8, 9, 10, b"target")) for kind in kinds]


def _layers() -> list[bytes]:
    long = "d/" + "n" * 200
    items = (directory("d"), file("d/f", b"content" * 90), symlink("l", "d/f"), hardlink("h", "d/f"), file(long, b"x"))
    return [tar(*items), tar(file("a"))]
