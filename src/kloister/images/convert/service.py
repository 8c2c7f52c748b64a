"""From a source image to a converted one: the steps in their order."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from kloister import __version__, entropy
from kloister.errors import Misconfigured
from kloister.formats.enclave.launch import User
from kloister.formats.enclave.manifest import Manifest as EnclaveManifest
from kloister.formats.enclave.measurement import gramine_runs, mrenclave
from kloister.formats.enclave.private import SECRET_SIZE
from kloister.formats.enclave.runtime import POD_ARGV
from kloister.formats.enclave.signing import unsigned_sigstruct
from kloister.formats.oci.config import ImageConfig
from kloister.formats.oci.descriptor import Descriptor, digest_of
from kloister.formats.oci.manifest import Manifest
from kloister.formats.oci.mediatypes import OCI_LAYER_GZIP
from kloister.formats.sgx.sigstruct import Sigstruct
from kloister.images.convert.assembly import ANNOTATION, Assembly, WrittenLayer
from kloister.images.convert.enclave_layer import compressed
from kloister.images.convert.launch_document import launch_document
from kloister.images.convert.manifest_document import manifest_of
from kloister.images.convert.options import Conversion, ConvertOptions, Progress
from kloister.images.convert.policy import LAYER_SECRET, policy_text
from kloister.images.convert.sinks import ImageSink, Nowhere
from kloister.images.encrypt.key_cache import KeyCache
from kloister.images.layout.writer import open_destination
from kloister.images.runtime_layer import RuntimeLayer
from kloister.images.sources.image import SourceImage

TARGET = "sim"  # the only one so far; `gramine` will put its own loader in ld.so's place
_NOT_DRAWN = "The key of the private part is not drawn yet: the conversion will give another MRENCLAVE."
_SIMULATED = re.compile(r"""\bsimulated["']?\s*:\s*["']?allow""")
_LOADERS = ("LD_", "GLIBC_TUNABLES")  # variables for the application's loader, which is not the runtime layer's
_MAX_NOTES = 20  # lines for a person; the rest is counted


def _silent(phase: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def convert(
    image: SourceImage,
    destination: str,
    runtime: RuntimeLayer,
    signing_key: RSAPrivateKey,
    options: ConvertOptions,
    keys: KeyCache | None = None,
    progress: Progress = _silent,
) -> Conversion:
    """Convert an image; the destination changes as a whole, or not at all.

    Args:
        image: the source.
        destination: `oci:DIR[:TAG]` or `oci-archive:FILE[:TAG]`.
        runtime: what is added to it.
        signing_key: signs SIGSTRUCT.
        options: what the user decides.
        keys: the sealed key cache; without it, a new secret is drawn where something is encrypted.
        progress: told of phases and bytes.

    Raises:
        Malformed: the source image is damaged or hostile.
        Misconfigured: `convert-*`, `encrypt-*`, `image-*`, `destination-*`, `disk-full`.
    """
    with open_destination(destination) as (writer, tag):
        return _convert(image, writer, tag, runtime, signing_key, options, _secret(image, options, keys), progress)


def predict(
    image: SourceImage,
    runtime: RuntimeLayer,
    signing_key: RSAPrivateKey | None,
    options: ConvertOptions,
    keys: KeyCache | None = None,
    progress: Progress = _silent,
) -> Conversion:
    """What `convert` would give; nothing is written. Without a key, MRSIGNER stays empty."""
    secret = _secret(image, options, keys, kept=False)
    predicted = _convert(image, Nowhere(), "", runtime, signing_key, options, secret, progress)
    if secret is None or (keys is not None and keys.has(image.digest, "/".join(options.policy))):
        return predicted
    return replace(predicted, secrets={}, notes=(*predicted.notes, _NOT_DRAWN))


def _secret(image: SourceImage, options: ConvertOptions, keys: KeyCache | None, *, kept: bool = True) -> bytes | None:
    if not options.private:
        return None
    if options.broker is None:
        raise Misconfigured(
            "encrypt-without-broker",
            "Something is to be encrypted, but no broker is pinned that could release its key.",
            "Give --broker-ca FILE and --policy NAMESPACE/NAME as well.",
        )
    if keys is None:
        return entropy.draw(SECRET_SIZE)
    return keys.secret(image.digest, "/".join(options.policy), kept=kept)


def _convert(
    image: SourceImage,
    sink: ImageSink,
    tag: str,
    runtime: RuntimeLayer,
    signing_key: RSAPrivateKey | None,
    options: ConvertOptions,
    secret: bytes | None,
    progress: Progress,
    spool: Path | None = None,
) -> Conversion:
    with Assembly(image, runtime, sink, progress, spool) as assembly:
        assembly.merge()
        launch = launch_document(image.config.execution, assembly.root, options, None)
        if secret is None:
            assembly.keep_all()
        else:
            assembly.divide(options, secret, [*launch.writable, *launch.mounts.values()])
            launch = replace(launch, private=assembly.private)
        tree = assembly.measured_tree()
        loader = runtime.loader_bytes()
        documents = {"tree": tree.build(), "launch.json": launch.build()}
        progress("measure", 0, 0)
        manifest = manifest_of(tree, launch, documents, loader, options)
        sigstruct = _signed(manifest, loader, signing_key, options)
        documents |= {"manifest.sgx": manifest.build(), "sigstruct": sigstruct.build()}
        layers = [*assembly.public, assembly.runtime_layer(), _enclave(assembly, documents, sink), *assembly.sealed]
        written = _finish(image, sink, tag, launch.image.user, layers, sigstruct)
        mrsigner = sigstruct.mrsigner if signing_key is not None else b""
        return Conversion(
            mrenclave=sigstruct.enclavehash,
            mrsigner=mrsigner,
            digest=written.digest,
            source=image.digest,
            runtime=runtime.digest,
            files=len(tree.entries),
            private_layers=len(launch.private.layers) if launch.private else 0,
            policy=policy_text(sigstruct.enclavehash, mrsigner, launch, options),
            secrets={LAYER_SECRET: secret} if secret is not None else {},
            notes=tuple(_notes(assembly, options)),
        )


def _signed(manifest: EnclaveManifest, loader: bytes, key: RSAPrivateKey | None, options: ConvertOptions) -> Sigstruct:
    size, threads = manifest.enclave_size, manifest.max_threads
    runs = gramine_runs(manifest.data, loader, size, threads, manifest.edmm_enable)
    unsigned = unsigned_sigstruct(manifest, mrenclave(runs, size), options.date)
    return unsigned.sign(key) if key is not None else unsigned


def _enclave(assembly: Assembly, documents: dict[str, bytes], sink: ImageSink) -> WrittenLayer:
    tar = assembly.enclave_tar(documents)
    return WrittenLayer(sink.add_blob(OCI_LAYER_GZIP, (compressed(tar),)), digest_of(tar))


def _finish(
    image: SourceImage, sink: ImageSink, tag: str, user: User, layers: list[WrittenLayer], sigstruct: Sigstruct
) -> Descriptor:
    config = sink.add_config(_config(image.config, user, layers))
    annotations = {
        **image.manifest.annotations,
        ANNOTATION + "mrenclave": sigstruct.enclavehash.hex(),
        ANNOTATION + "mrsigner": sigstruct.mrsigner.hex(),
        ANNOTATION + "target": TARGET,
        ANNOTATION + "version": __version__,
        ANNOTATION + "source": image.digest,
    }
    return sink.add_manifest(
        Manifest(config, tuple(_oci(layer.descriptor) for layer in layers), annotations=annotations), tag
    )


def _oci(descriptor: Descriptor) -> Descriptor:
    """Docker's layer types under their OCI names, which manifests of OCI may hold."""
    if descriptor.media_type.startswith("application/vnd.docker."):
        gzipped = descriptor.media_type.endswith("gzip")
        return replace(descriptor, media_type=OCI_LAYER_GZIP if gzipped else OCI_LAYER_GZIP.removesuffix("+gzip"))
    return descriptor


def _config(source: ImageConfig, user: User, layers: list[WrittenLayer]) -> ImageConfig:
    """The configuration for container tools: they start the runtime; what it starts is measured, not read from here."""
    execution = replace(
        source.execution,
        entrypoint=POD_ARGV,
        command=(),
        user=f"{user.uid}:{user.gid}",  # by number, as Kubernetes' runAsNonRoot asks for
        workdir="/",
        volumes=(),  # engines would put them on the node's disk
        environment=tuple(item for item in source.execution.environment if not item.startswith(_LOADERS)),
    )
    # History entries pair with layers; ours do not, and what built the private ones is nobody's business.
    return replace(source, execution=execution, diff_ids=tuple(layer.diff_id for layer in layers), history=())


def _notes(assembly: Assembly, options: ConvertOptions) -> list[str]:
    skipped = [f"{posixpath.normpath(n.path.decode('utf-8', 'replace'))}: {n.text}" for n in assembly.root.notes]
    notes = skipped[:_MAX_NOTES]
    if len(skipped) > len(notes):
        notes.append(f"{len(skipped) - len(notes)} more entries were left out.")
    if options.simulated or (options.template and _SIMULATED.search(options.template)):
        notes.append("The policy admits simulated platforms: a host's root can read what runs there.")
    if options.debug:
        notes.append("This is a debug enclave: its memory can be read from outside.")
    if options.broker is None:
        notes.append("No broker is pinned (--broker-ca): the application gets no secrets.")
    return notes
