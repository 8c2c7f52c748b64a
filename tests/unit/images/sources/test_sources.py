from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from kloister.errors import KloisterError, Malformed, Misconfigured
from kloister.formats.oci import mediatypes
from kloister.formats.oci.config import Execution, ImageConfig
from kloister.formats.oci.descriptor import Descriptor, Platform
from kloister.formats.oci.index import Index
from kloister.formats.oci.limits import Limits
from kloister.formats.oci.manifest import Manifest
from kloister.images.layout import LayoutWriter, open_destination
from kloister.images.sources import merge_image, open_source
from kloister.images.sources.image import SourceImage
from kloister.images.sources.reference import Transport, parse_reference
from tests.support.images import digest, file, tar, write_image

LAYERS = (tar(file("a", b"one")), tar(file("b", b"two")))


def refused(ref: str, code: str) -> KloisterError:
    with pytest.raises(KloisterError) as caught:
        open_source(ref).close()
    assert caught.value.code == code
    assert caught.value.hint
    return caught.value


def paths(image: SourceImage) -> list[bytes]:
    with merge_image(image) as root:
        return [entry.path for entry in root.tree().entries]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oci:dir", (Transport.OCI, "dir", "")),
        ("oci:/a/dir:tag", (Transport.OCI, "/a/dir", "tag")),
        ("oci-archive:x.tar:v1.0", (Transport.OCI_ARCHIVE, "x.tar", "v1.0")),
        ("docker-archive:x.tar:repo/name:tag", (Transport.DOCKER_ARCHIVE, "x.tar", "repo/name:tag")),
    ],
)
def test_references_are_read(text: str, expected: tuple[Transport, str, str]) -> None:
    reference = parse_reference(text)
    assert (reference.transport, str(reference.path), reference.tag) == expected
    assert str(reference) == text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "reference-transport"),
        ("name", "reference-transport"),
        ("docker://name", "reference-transport"),
        ("oci:", "reference-path"),
        ("oci::tag", "reference-path"),
        ("oci:a\0", "reference-path"),
        ("oci:dir:b d", "reference-tag"),
    ],
)
def test_other_references_are_refused(text: str, code: str) -> None:
    refused(text, code)


@pytest.mark.parametrize("compress", [True, False])
def test_a_layout_is_opened_and_read(tmp_path: Path, *, compress: bool) -> None:
    written = write_image(tmp_path / "l", LAYERS, tag="v1", compress=compress)
    told: list[int] = []
    with open_source(f"oci:{tmp_path}/l:v1") as image:
        assert (image.digest, image.config.execution.entrypoint) == (written.digest, ("/bin/app",))
        with merge_image(image, progress=told.append) as root:
            assert root.layer_of(b"/b") == 1
        assert sum(told) == sum(map(len, LAYERS))
    with open_source(f"oci:{tmp_path}/l") as image:
        assert image.digest == written.digest


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"no tar" * 200)
    refused(f"oci:{tmp_path}/none", "image-missing")
    refused(f"oci:{tmp_path}/file", "image-missing")
    refused(f"oci:{tmp_path}/empty", "layout-missing")
    refused(f"oci-archive:{tmp_path}/none", "image-missing")
    refused(f"oci-archive:{tmp_path}/empty", "image-unreadable")
    write_image(tmp_path / "l", LAYERS, tag="v1")
    write_image(tmp_path / "l", LAYERS[:1], tag="v2")
    assert "v1, v2" in refused(f"oci:{tmp_path}/l", "image-tag").hint
    assert "v1, v2" in refused(f"oci:{tmp_path}/l:v3", "image-tag").hint
    with pytest.raises(Malformed) as caught:
        open_source(f"oci-archive:{tmp_path}/file")
    assert caught.value.code == "layer-header"


@pytest.mark.parametrize("name", ["index.json", "oci-layout", "manifest", "config", "layer"])
def test_each_damaged_document_is_found(tmp_path: Path, name: str) -> None:
    layout = tmp_path / "l"
    write_image(layout, LAYERS)
    with open_source(f"oci:{layout}") as image:
        names = {"manifest": image.digest, "config": image.manifest.config.digest, "layer": image.layers[1].digest}
        assert paths(image) == [b"/", b"/a", b"/b"]
    place = layout / "blobs" / "sha256" / names[name][7:] if name in names else layout / name
    whole = place.read_bytes()
    for damaged, codes in (
        (whole.replace(b"1", b"2", 1)[:-1] + b"?", {"blob-digest", "index-json", "layout-json", "layer-gzip"}),
        (whole[:-1], {"blob-size", "index-json", "layout-json", "layer-gzip"}),
        (None, {"blob-missing", "layout-missing"}),
    ):
        place.unlink()
        if damaged is not None:
            place.write_bytes(damaged)
        with pytest.raises(KloisterError) as caught, open_source(f"oci:{layout}") as image:
            paths(image)
        assert caught.value.code in codes
        place.write_bytes(whole)


def _index(layout: Path, manifests: tuple[Descriptor, ...]) -> None:
    (layout / "index.json").write_bytes(Index(manifests).build())


def _platform(descriptor: Descriptor, platform: Platform | None) -> Descriptor:
    return Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, platform=platform)


def test_the_platform_is_chosen_from_nested_indexes(tmp_path: Path) -> None:
    layout = tmp_path / "l"
    arm = write_image(layout, LAYERS[:1], platform=Platform("linux", "arm64"))
    amd = write_image(layout, LAYERS)
    items = (
        _platform(arm, Platform("unknown", "unknown")),
        _platform(arm, Platform("linux", "arm64", "v8")),
        _platform(amd, Platform("linux", "amd64")),
    )
    with LayoutWriter(layout) as writer:
        inner = writer.put_blob(mediatypes.OCI_INDEX, Index(items).build())
    _index(layout, (inner,))
    with open_source(f"oci:{layout}") as image:
        assert image.digest == amd.digest
    _index(layout, items[:2])
    assert "linux/arm64/v8" in refused(f"oci:{layout}", "image-platform").text
    _index(layout, (_platform(arm, None),))  # only its configuration says it
    refused(f"oci:{layout}", "image-platform")
    _index(layout, ())
    refused(f"oci:{layout}", "image-tag")


def test_endless_indexes_are_refused(tmp_path: Path) -> None:
    layout = tmp_path / "l"
    inner = write_image(layout, LAYERS)
    for _ in range(4):
        with LayoutWriter(layout) as writer:
            inner = writer.put_blob(mediatypes.OCI_INDEX, Index((inner,)).build())
    _index(layout, (inner,))
    with pytest.raises(Malformed) as caught:
        open_source(f"oci:{layout}")
    assert caught.value.code == "index-nesting"


@pytest.mark.parametrize(
    ("media_type", "code"),
    [
        ("application/vnd.oci.image.layer.v1.tar+zstd", "layer-zstd"),
        ("application/vnd.oci.image.layer.v1.tar+zstd+encrypted", None),  # encrypted layers are not merged
        ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", None),
        ("application/wasm", "layer-media-type"),
    ],
)
def test_layers_that_cannot_be_read_are_named(tmp_path: Path, media_type: str, code: str | None) -> None:
    with LayoutWriter(tmp_path / "l") as writer:
        layer = writer.put_blob(media_type, b"whatever")
        config = writer.add_config(ImageConfig(Platform("linux", "amd64"), Execution(), (digest(b""),)))
        writer.add_manifest(Manifest(config, (layer,)), "")
    with open_source(f"oci:{tmp_path}/l") as image:
        if code is None:
            assert paths(image) == [b"/"]
            with pytest.raises(Misconfigured):
                image.layer(0)
            return
        with pytest.raises(Misconfigured) as caught:
            paths(image)
        assert caught.value.code == code


def test_artefacts_and_lying_configurations_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "count", LAYERS, diff_ids=[digest(LAYERS[0])])
    refused(f"oci:{tmp_path}/count", "config-layers")
    with LayoutWriter(tmp_path / "chart") as writer:
        config = writer.put_blob("application/vnd.cncf.helm.config.v1+json", b"{}")
        writer.add_manifest(Manifest(config, ()), "")
    refused(f"oci:{tmp_path}/chart", "image-kind")


def test_a_size_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    write_image(tmp_path / "l", LAYERS)
    open_source(f"oci:{tmp_path}/l").close()
    small = [
        (Limits(manifest=500), "manifest-size"),
        (Limits(config=50), "config-size"),
        (Limits(manifest=50), "index-size"),
    ]
    for limits, code in small:
        with pytest.raises(Malformed) as caught:
            open_source(f"oci:{tmp_path}/l", limits)
        assert caught.value.code == code


def test_an_oci_archive_is_read_in_place(tmp_path: Path) -> None:
    layout = tmp_path / "l"
    written = write_image(layout, LAYERS, tag="v1")
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as out:
        out.add(layout, ".")
    with open_source(f"oci-archive:{archive}:v1") as image:
        assert image.digest == written.digest
        assert paths(image) == [b"/", b"/a", b"/b"]
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(KloisterError) as caught, open_source(f"oci-archive:{archive}:v1") as image:
        paths(image)
    assert caught.value.code in {"archive-truncated", "layer-truncated", "layout-missing", "blob-missing"}
    archive.write_bytes(b"\x1f\x8b" + whole)
    refused(f"oci-archive:{archive}:v1", "archive-compressed")


def _docker(
    path: Path, change: Callable[[dict[str, Any]], None] = lambda _: None, files: dict[str, bytes] | None = None
) -> None:
    diff_ids = tuple(map(digest, (*LAYERS, LAYERS[0])))
    config = ImageConfig(Platform("linux", "amd64"), Execution(command=("x",)), diff_ids)
    names = [f"{number}/layer.tar" for number in (1, 2, 3)]
    image: dict[str, Any] = {"Config": digest(config.build())[7:] + ".json", "RepoTags": ["clinic:v1"], "Layers": names}
    change(image)
    members = {image["Config"]: config.build(), "1/layer.tar": LAYERS[0], "2/layer.tar": LAYERS[1]}
    members |= {"manifest.json": json.dumps([image, image | {"RepoTags": ["docker.io/library/other:latest"]}]).encode()}
    with tarfile.open(path, "w") as out:
        for name, data in (members | (files or {})).items():
            info = tarfile.TarInfo(str(name))
            info.size = len(data)
            out.addfile(info, BytesIO(data))
        link = tarfile.TarInfo("3/layer.tar")  # as older Docker wrote a layer that occurs twice
        link.type, link.linkname = tarfile.SYMTYPE, "../1/layer.tar"
        out.addfile(link)


def test_a_docker_archive_is_read_and_has_a_manifest_of_its_own(tmp_path: Path) -> None:
    _docker(tmp_path / "d.tar")
    digests = set()
    for name in ("clinic:v1", "docker.io/library/clinic:v1", "other", "docker.io/library/other:latest"):
        with open_source(f"docker-archive:{tmp_path}/d.tar:{name}") as image:
            assert paths(image) == [b"/", b"/a", b"/b"]
            assert Manifest.parse(image.manifest_bytes) == image.manifest
            digests.add(image.digest)
    assert len(digests) == 1
    refused(f"docker-archive:{tmp_path}/d.tar", "image-tag")


def test_damaged_docker_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.tar"
    _docker(path)
    ref = f"docker-archive:{path}:clinic:v1"
    open_source(ref).close()
    _docker(path, lambda image: image.update(Layers=["1/layer.tar"]))
    refused(ref, "config-layers")
    _docker(path, lambda image: image.update(Layers=["1/layer.tar", "2/layer.tar", "4/layer.tar"]))
    refused(ref, "blob-missing")
    _docker(path, lambda image: image.update(Config="0" * 64 + ".json"))
    refused(ref, "blob-digest")
    _docker(path, files={"manifest.json": b"{}"})
    with pytest.raises(Malformed) as caught:
        open_source(ref)
    assert caught.value.code == "archive-field"
    _docker(path, files={"2/layer.tar": LAYERS[0]})
    with pytest.raises(Malformed) as caught, open_source(ref) as image:
        paths(image)
    assert caught.value.code in {"blob-digest", "blob-size"}
    path.write_bytes(tar(file("x")))
    refused(ref, "archive-missing")


def test_a_docker_archive_that_is_a_layout_too(tmp_path: Path) -> None:
    with open_destination(f"oci-archive:{tmp_path}/l.tar:v1") as (writer, tag):
        layer = writer.put_blob(mediatypes.OCI_LAYER, LAYERS[0])
        config = writer.add_config(ImageConfig(Platform("linux", "amd64"), Execution(), (digest(LAYERS[0]),)))
        written = writer.add_manifest(Manifest(config, (layer,)), tag)
    with open_source(f"docker-archive:{tmp_path}/l.tar:v1") as image:
        assert image.digest == written.digest
