"""The converted image's layers, and its root as a reader without keys sees it, which is what is measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Self

from kloister.errors import Malformed, Misconfigured
from kloister.formats.enclave.launch import Private, PrivateLayer
from kloister.formats.enclave.private import seal_private_trees
from kloister.formats.enclave.tree import Entry, Tree
from kloister.formats.oci.descriptor import Descriptor, digest_of
from kloister.formats.oci.mediatypes import OCI_LAYER, OCI_LAYER_GZIP
from kloister.images.convert.enclave_layer import enclave_layer
from kloister.images.convert.options import ConvertOptions, Progress
from kloister.images.convert.policy import LAYER_SECRET
from kloister.images.convert.sinks import File, ImageSink
from kloister.images.convert.split import Selection, Split, overlap, public_part, require_same, select, split
from kloister.images.encrypt.layers import parts_layer, plain_layer, private_layer
from kloister.images.layers.merged import MergedRoot
from kloister.images.layers.merging import Merger
from kloister.images.layers.stream import gunzip
from kloister.images.layers.writing import DigestTap
from kloister.images.runtime_layer import RuntimeLayer
from kloister.images.sources.image import SourceImage

PRIVATE_TREE = "private.tree"
ANNOTATION = "dev.kloister."  # prefix of the manifest's annotations
_KLOISTER = b"/.kloister"
# Where container runtimes and Kubernetes mount: they follow links, and make what is missing as root.
_MOUNTED = ("/etc", "/proc", "/sys", "/dev", "/var", "/var/run")
_NEEDS_OTHERS = frozenset({"layer-link-missing", "layer-parent", "layer-symlink-loop"})


@dataclass(frozen=True, slots=True)
class WrittenLayer:
    """A layer of the converted image: its descriptor and its diff_id."""

    descriptor: Descriptor
    diff_id: str


@dataclass(slots=True)
class Assembly:
    """Merges, divides and writes; closes its roots at the end.

    Attributes:
        root: everything that the source image holds.
        public: layers that are readable by all, without runtime and enclave.
        sealed: encrypted layers, on top of all others; with links they are files of a public layer instead.
        private: what the launch document says of them.
        documents: of the enclave layer, as far as they are known (`private.tree`).
    """

    image: SourceImage
    runtime: RuntimeLayer
    sink: ImageSink
    progress: Progress
    spool: Path | None = None
    public: list[WrittenLayer] = field(default_factory=list)
    sealed: list[WrittenLayer] = field(default_factory=list)
    private: Private | None = None
    documents: dict[str, bytes] = field(default_factory=dict)
    metadata: tuple[Entry, ...] = ()
    removed: tuple[bytes, ...] = ()
    _roots: list[MergedRoot] = field(default_factory=list)
    _open: ExitStack = field(default_factory=ExitStack)
    _merger: Merger | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, value, trace)

    @property
    def root(self) -> MergedRoot:
        """Everything that the source image holds."""
        return self._roots[0]

    def merge(self) -> None:
        """Read the source image.

        Raises:
            Malformed: what its bytes are refused for.
            Misconfigured: `convert-twice`.
        """
        if ANNOTATION + "mrenclave" in self.image.manifest.annotations:
            raise _twice()
        merger = self._new_merger()
        for index in range(len(self.image.layers)):
            merger.add(self._told("read", self.image.layer(index)), index)
        self._finished(merger)
        if self.root.lookup(_KLOISTER) is not None:
            raise _twice()

    def keep_all(self) -> None:
        """Nothing is private: all source layers are taken over as they are."""
        for index in range(len(self.image.layers)):
            self._keep(index)

    def divide(self, options: ConvertOptions, secret: bytes, mountable: Sequence[str]) -> None:
        """Make layers again where something of them is private.

        Args:
            options: what is private.
            secret: what it is encrypted with.
            mountable: directories where something may be mounted.

        Raises:
            Misconfigured: `encrypt-*`.
        """
        selection = select(self.image, self.root, options)
        whole = self.root
        merger = self._new_merger()
        try:
            self._merge_public(merger, selection)
        except Malformed as error:
            if error.code not in _NEEDS_OTHERS:
                raise
            raise overlap(error.text) from None
        kept = (*mountable, *_MOUNTED) if options.private_links else None
        parts = split(whole, selection, self._finished(merger).tree(), kept)
        self.metadata, self.removed = (*parts.directories, *parts.links), parts.removed
        self._write_public(selection)
        if options.private_links:
            self._write_parts(parts, secret, merger)
        else:
            self._write_private(parts, secret)
        merger.add(iter((self.enclave_tar({}),)), len(self.image.layers) + 1)
        require_same(parts.public, _without_ours(merger.finish().tree()))

    def measured_tree(self) -> Tree:
        """The public tree with runtime and enclave layer, as the pack of the converted image will show it."""
        assert self._merger is not None  # noqa: S101 - merge() comes first
        self._merger.add(gunzip(iter((self.runtime.blob.read_bytes(),)), self.image.limits), len(self.image.layers) + 2)
        self._merger.add(iter((self.enclave_tar({}),)), len(self.image.layers) + 3)
        return self._merger.finish().tree()

    def enclave_tar(self, documents: dict[str, bytes]) -> bytes:
        """The enclave layer with these documents and those that are known already."""
        return enclave_layer(self.documents | documents, self.metadata, self.removed)

    def _merge_public(self, merger: Merger, selection: Selection) -> None:
        for index in range(len(self.image.layers)):
            if index in selection.touched:
                merger.add(public_part(self.root, selection, index).tar(), index)
            else:
                merger.add(self._told("divide", self.image.layer(index)), index)

    def _new_merger(self) -> Merger:
        # A merger that has finished may go on: its root then shows what was put on top.
        self._merger = self._open.enter_context(Merger(self.image.limits, self.spool))
        return self._merger

    def _finished(self, merger: Merger) -> MergedRoot:
        root = self._open.enter_context(merger.finish())
        self._roots.append(root)
        return root

    def _keep(self, index: int) -> None:
        descriptor = self.sink.copy_blob(self.image.layers[index], self.image.blob(self.image.layers[index]))
        self.public.append(WrittenLayer(descriptor, self.image.config.diff_ids[index]))

    def _write_public(self, selection: Selection) -> None:
        for index in range(len(self.image.layers)):
            if index not in selection.touched:
                self._keep(index)
                continue
            part = public_part(self.root, selection, index)
            if part.located:
                self.public.append(WrittenLayer(*plain_layer(part, self.sink)))

    def _write_private(self, parts: Split, secret: bytes) -> None:
        described: list[PrivateLayer] = []
        for done, part in enumerate(parts.private.values()):
            self.progress("encrypt", done, len(parts.private))
            descriptor, diff_id, entry = private_layer(part, secret, self.sink)
            self.sealed.append(WrittenLayer(descriptor, diff_id))
            described.append(entry)
        self._describe(parts, secret, described, links=False)

    def _write_parts(self, parts: Split, secret: bytes, merger: Merger) -> None:
        """The encrypted parts as files of one more public layer, which is merged as well."""
        with TemporaryFile(dir=self.spool) as file:
            described: list[PrivateLayer] = []
            for done, part in enumerate(parts.private.values()):
                self.progress("encrypt", done, len(parts.private))
                described.append(private_layer(part, secret, File(file))[2])
            layer = DigestTap(parts_layer(described, file))
            descriptor = self.sink.add_blob(OCI_LAYER, layer)
            self.public.append(WrittenLayer(descriptor, layer.digest))
            merger.add(parts_layer(described, file), len(self.image.layers))
        self._describe(parts, secret, described, links=True)

    def _describe(self, parts: Split, secret: bytes, described: list[PrivateLayer], *, links: bool) -> None:
        sealed = seal_private_trees(secret, [part.tree for part in parts.private.values()])
        self.documents[PRIVATE_TREE] = sealed
        self.private = Private(LAYER_SECRET, digest_of(sealed), len(sealed), tuple(described), links)

    def runtime_layer(self) -> WrittenLayer:
        """Write the runtime layer."""
        descriptor = Descriptor(
            OCI_LAYER_GZIP,
            self.runtime.digest,
            self.runtime.size,
            {"dev.kloister.runtime.version": self.runtime.version},
        )
        return WrittenLayer(self.sink.copy_blob(descriptor, (self.runtime.blob.read_bytes(),)), self.runtime.diff_id)

    def _told(self, phase: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        done = 0
        for chunk in chunks:
            done += len(chunk)
            self.progress(phase, done, 0)
            yield chunk


def _twice() -> Misconfigured:
    return Misconfigured(
        "convert-twice", "The image was converted before (it has /.kloister).", "Name the original image."
    )


def _without_ours(tree: Tree) -> Tree:
    ours = _KLOISTER + b"/"
    return Tree(tuple(e for e in tree.entries if e.path != _KLOISTER and not e.path.startswith(ours)))
