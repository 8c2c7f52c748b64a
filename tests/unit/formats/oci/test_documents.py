from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.oci import mediatypes
from kloister.formats.oci.config import Execution, ImageConfig
from kloister.formats.oci.descriptor import Descriptor, Platform, digest_of
from kloister.formats.oci.index import LAYOUT, Index, parse_layout
from kloister.formats.oci.limits import Limits
from kloister.formats.oci.manifest import Manifest

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
labels = st.dictionaries(texts, texts, max_size=2)
unknown = st.dictionaries(
    st.sampled_from(["x-a", "x-b"]), texts | st.integers(-9, 9) | st.lists(texts, max_size=2), max_size=2
)
digests = st.binary(min_size=32, max_size=32).map(lambda raw: "sha256:" + raw.hex())
platforms = st.builds(Platform, texts, texts, texts, unknown)
descriptors = st.builds(
    Descriptor,
    st.sampled_from([mediatypes.OCI_LAYER, mediatypes.OCI_MANIFEST]),
    digests,
    st.integers(0, 2**40),
    labels,
    st.none() | platforms,
    unknown,
)
layers = st.lists(descriptors, max_size=3).map(tuple)
manifests = st.builds(Manifest, descriptors, layers, st.sampled_from(sorted(mediatypes.MANIFESTS)), labels, unknown)
indexes = st.builds(Index, layers, st.sampled_from(sorted(mediatypes.INDEXES)), labels, unknown)
lists = st.lists(texts, max_size=2).map(tuple)
sets = st.sets(texts, max_size=2).map(lambda items: tuple(sorted(items)))
executions = st.builds(Execution, texts, lists, lists, lists, texts, sets, labels, sets, texts, unknown)
configs = st.builds(
    ImageConfig,
    st.builds(Platform, texts, texts, texts),
    executions,
    st.lists(digests, max_size=3).map(tuple),
    texts,
    st.lists(unknown, max_size=2).map(tuple),
    unknown,
)
PARSERS: list[Callable[[bytes], Manifest | Index | ImageConfig]] = [Manifest.parse, Index.parse, ImageConfig.parse]


@given(manifests)
def test_a_manifest_reads_back_as_itself(manifest: Manifest) -> None:
    assert Manifest.parse(manifest.build()) == manifest


@given(indexes)
def test_an_index_reads_back_as_itself(index: Index) -> None:
    assert Index.parse(index.build()) == index


@given(configs)
def test_a_configuration_reads_back_as_itself(config: ImageConfig) -> None:
    assert ImageConfig.parse(config.build()) == config


@given(st.one_of(manifests, indexes, configs), st.data())
def test_damage_is_refused_or_gives_another_document(
    document: Manifest | Index | ImageConfig, data: st.DataObject
) -> None:
    raw = bytearray(document.build())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    parse = type(document).parse
    for damaged in (bytes(raw), bytes(raw[:at])):
        try:
            parsed = parse(damaged)
        except Malformed:
            continue
        assert parse(parsed.build()) == parsed


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)
    )
)
def test_any_json_is_refused_or_read(value: Any) -> None:
    for parse in PARSERS:
        with pytest.raises(Malformed):
            parse(json.dumps(value).encode())


A = "sha256:" + "a" * 64
MANIFEST: dict[str, Any] = {
    "schemaVersion": 2,
    "config": {"mediaType": mediatypes.OCI_CONFIG, "digest": A, "size": 2},
    "layers": [{"mediaType": mediatypes.OCI_LAYER, "digest": A, "size": 3}],
}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"schemaVersion": 1}, "manifest-version"),
        ({"schemaVersion": True}, "manifest-field"),
        ({"mediaType": mediatypes.OCI_INDEX}, "manifest-field"),
        ({"manifests": []}, "manifest-field"),
        ({"config": None}, "manifest-field"),
        ({"config": []}, "manifest-field"),
        ({"layers": {}}, "manifest-field"),
        ({"layers": [1]}, "manifest-field"),
        ({"layers": [{"mediaType": "x", "digest": A, "size": 3}]}, "manifest-field"),
        ({"layers": [{"mediaType": "a/b", "digest": A, "size": -3}]}, "manifest-field"),
        ({"layers": [{"mediaType": "a/b", "digest": A.upper(), "size": 3}]}, "manifest-digest"),
        ({"layers": [{"mediaType": "a/b", "digest": "sha512:" + "a" * 128, "size": 3}]}, "digest-algorithm"),
        ({"layers": MANIFEST["layers"] * 501}, "manifest-layers"),
        ({"annotations": {"a": 1}}, "manifest-field"),
        ({"x": 1.5}, "manifest-field"),
        ({"x": 2**60}, "manifest-field"),
        ({"x": "\ud800"}, "manifest-field"),
        ({"x": json.loads("[" * 40 + "]" * 40)}, "manifest-field"),
    ],
)
def test_what_is_no_manifest_is_refused(change: dict[str, Any], code: str) -> None:
    assert Manifest.parse(json.dumps(MANIFEST).encode()).config.size == 2
    with pytest.raises(Malformed) as caught:
        Manifest.parse(json.dumps(MANIFEST | change).encode())
    assert caught.value.code == code


def test_a_manifest_beyond_the_limit_is_not_read() -> None:
    data = json.dumps(MANIFEST).encode()
    with pytest.raises(Malformed) as caught:
        Manifest.parse(data, Limits(manifest=len(data) - 1))
    assert caught.value.code == "manifest-size"


CONFIG: dict[str, Any] = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [A]}}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"os": None}, "config-field"),
        ({"rootfs": None}, "config-field"),
        ({"rootfs": {"type": "tree", "diff_ids": []}}, "config-rootfs"),
        ({"rootfs": {"type": "layers", "diff_ids": ["x"]}}, "config-digest"),
        ({"config": {"Env": "A=B"}}, "config-field"),
        ({"config": {"Env": [1]}}, "config-field"),
        ({"config": {"Cmd": ["a\0"]}}, "config-field"),
        ({"config": []}, "config-field"),
        ({"history": [1]}, "config-field"),
    ],
)
def test_what_is_no_configuration_is_refused(change: dict[str, Any], code: str) -> None:
    assert ImageConfig.parse(json.dumps(CONFIG).encode()).diff_ids == (A,)
    with pytest.raises(Malformed) as caught:
        ImageConfig.parse(json.dumps(CONFIG | change).encode())
    assert caught.value.code == code


def test_docker_writes_null_for_nothing() -> None:
    config = CONFIG | {"config": {"Entrypoint": None, "Volumes": None, "Cmd": ["sh"], "Healthcheck": {"Interval": 30}}}
    parsed = ImageConfig.parse(json.dumps(config).encode())
    assert parsed.execution.entrypoint == ()
    assert parsed.execution.command == ("sh",)
    assert parsed.execution.other == {"Healthcheck": {"Interval": 30}}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"schemaVersion": 1}, "index-version"),
        ({"mediaType": mediatypes.OCI_MANIFEST}, "index-field"),
        ({"layers": []}, "index-field"),
    ],
)
def test_what_is_no_index_is_refused(change: dict[str, Any], code: str) -> None:
    index: dict[str, Any] = {"schemaVersion": 2, "manifests": []}
    assert Index.parse(json.dumps(index).encode()) == Index()
    with pytest.raises(Malformed) as caught:
        Index.parse(json.dumps(index | change).encode())
    assert caught.value.code == code


def test_a_tag_is_replaced_and_the_order_of_writing_is_gone() -> None:
    def tagged(name: str, data: bytes) -> Descriptor:
        annotations = {"org.opencontainers.image.ref.name": name}
        return Descriptor(mediatypes.OCI_MANIFEST, digest_of(data), 1, annotations)

    one = Index().with_tag(tagged("a", b"1")).with_tag(tagged("b", b"2"))
    two = Index().with_tag(tagged("b", b"2")).with_tag(tagged("a", b"0")).with_tag(tagged("a", b"1"))
    assert one.build() == two.build()
    assert [item.tag for item in one.manifests] == ["a", "b"]


def test_the_marker_of_a_layout() -> None:
    parse_layout(LAYOUT)
    for data, code in (
        (b'{"imageLayoutVersion":"2.0.0"}', "layout-version"),
        (b"{}", "layout-field"),
        (b"{", "layout-json"),
    ):
        with pytest.raises(Malformed) as caught:
            parse_layout(data)
        assert caught.value.code == code


def test_a_platform_in_words() -> None:
    assert str(Platform("linux", "arm64", "v8")) == "linux/arm64/v8"
    assert mediatypes.is_encrypted("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")
    assert mediatypes.is_zstd("application/vnd.oci.image.layer.v1.tar+zstd+encrypted")
    assert not mediatypes.is_zstd(mediatypes.OCI_LAYER_GZIP)
