"""Hostile layers: refused by code with the entry's name, and nothing is left behind."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.oci.limits import Limits
from kloister.formats.oci.tar import TarKind
from kloister.images.layers.merging import Merger
from kloister.images.pack import build_pack
from kloister.images.sources import open_source
from tests.support.images import (
    ENCLAVE_DOCUMENTS,
    Item,
    digest,
    directory,
    file,
    hardlink,
    special,
    symlink,
    tar,
    write_image,
)

FRIENDLY = (directory("app/"), file("app/run", b"x"), symlink("lib", "usr/lib"), symlink("up", "app/../app"))


def merged(*layers: bytes, limits: Limits | None = None) -> list[bytes]:
    with Merger(limits or Limits()) as merger:
        for index, layer in enumerate(layers):
            merger.add([layer], index)
        with merger.finish() as root:
            return [entry.path for entry in root.tree().entries]


@pytest.mark.parametrize(
    ("items", "code", "name"),
    [
        ([file("../evil", b"x")], "layer-path-escape", "../evil"),
        ([file("app/../../evil", b"x")], "layer-path-escape", "app/../../evil"),
        ([file("app/../evil", b"x")], "layer-path-escape", "app/../evil"),
        ([directory("..")], "layer-path-escape", ".."),
        ([file("/etc/passwd", b"x")], "layer-path-absolute", "/etc/passwd"),
        ([file("//etc/passwd", b"x")], "layer-path-absolute", "//etc/passwd"),
        ([symlink("out", "../../tmp"), file("out/evil", b"x")], "layer-symlink-escape", "out/evil"),
        ([symlink("out", "/../tmp"), file("out/evil", b"x")], "layer-symlink-escape", "out/evil"),
        ([symlink("a", ".."), symlink("b", "a/.."), directory("b/evil")], "layer-symlink-escape", "b/evil"),
        ([symlink("out", ".."), hardlink("out/evil", "app/run")], "layer-symlink-escape", "out/evil"),
        ([symlink("out", ".."), file("out/.wh.evil")], "layer-symlink-escape", "out/.wh.evil"),
        ([symlink("out", ".."), file("out/.wh..wh..opq")], "layer-symlink-escape", "out/.wh..wh..opq"),
        ([symlink("out", ".."), special("out/null", TarKind.CHARACTER)], "layer-symlink-escape", "out/null"),
        ([symlink("a", "b"), symlink("b", "a"), file("a/x")], "layer-symlink-loop", "a/x"),
        ([hardlink("evil", "../../etc/shadow")], "layer-path-escape", "evil"),
        ([hardlink("evil", "etc/shadow")], "layer-link-missing", "evil"),
        ([hardlink("evil", "app")], "layer-link-missing", "evil"),
        ([hardlink("evil", "./")], "layer-link-missing", "evil"),
        ([file("app/run/below", b"x")], "layer-parent", "app/run/below"),
        ([file("app/.wh.")], "layer-whiteout", "app/.wh."),
        ([file("app/.wh...")], "layer-whiteout", "app/.wh..."),
        ([file("app/.wh..")], "layer-whiteout", "app/.wh.."),
        ([file("./", b"")], "layer-root", "./"),
        ([symlink(".", "/var")], "layer-root", "."),
        ([file("n" * 256)], "layer-path-long", "nnn"),
        ([file("a/" * 2100 + "b")], "layer-path-long", "a/a/a"),
        ([symlink("long", "t" * 4097)], "layer-link", "long"),
        ([file("app/own", b"", uid=2**32 - 1)], "layer-header", "app/own"),
    ],
)
def test_a_hostile_layer_is_refused_with_the_name(tmp_path: Path, items: list[Item], code: str, name: str) -> None:
    layout = tmp_path / "layout"
    friendly, hostile = (*FRIENDLY, *ENCLAVE_DOCUMENTS), (*FRIENDLY, *ENCLAVE_DOCUMENTS, *items)
    write_image(layout, [tar(*friendly)], tag="friendly")
    write_image(layout, [tar(*hostile)], tag="hostile")
    (tmp_path / "packs").mkdir()
    with open_source(f"oci:{layout}:friendly") as image:
        build_pack(image, tmp_path / "packs" / "friendly")
    with open_source(f"oci:{layout}:hostile") as image, pytest.raises(Malformed) as caught:
        build_pack(image, tmp_path / "packs" / "hostile")
    assert caught.value.code == code
    assert name in caught.value.text
    assert [path.name for path in (tmp_path / "packs").iterdir()] == ["friendly"]
    assert not (tmp_path / "evil").exists()


def test_links_that_stay_inside_are_followed_inside() -> None:
    layer = tar(*FRIENDLY, file("lib/a.so", b"x"), file("up/more", b"y"), symlink("abs", "/var/x"), file("abs/z", b"z"))
    assert merged(layer) == [
        b"/", b"/abs", b"/app", b"/app/more", b"/app/run", b"/lib", b"/up", b"/usr", b"/usr/lib", b"/usr/lib/a.so",
        b"/var", b"/var/x", b"/var/x/z",
    ]  # fmt: skip


def test_a_bomb_by_total_size() -> None:
    layer = tar(file("zeros", bytes(100_000)))
    assert merged(layer, limits=Limits(unpacked=len(layer)))
    with pytest.raises(Malformed) as caught:
        merged(layer, limits=Limits(unpacked=len(layer) - 1))
    assert caught.value.code == "layer-bomb"


def test_a_bomb_by_entries_over_several_layers() -> None:
    layers = [tar(file("a"), file("b")), tar(file("c"))]
    assert len(merged(*layers, limits=Limits(entries=3))) == 4
    with pytest.raises(Malformed) as caught:
        merged(*layers, limits=Limits(entries=2))
    assert caught.value.code == "layer-bomb"


def test_a_bomb_by_ratio(tmp_path: Path) -> None:
    write_image(tmp_path / "layout", [tar(file("zeros", bytes(4 << 20)))])
    for limits, refused in ((Limits(), False), (Limits(ratio=100, ratio_from=1 << 20), True)):
        with open_source(f"oci:{tmp_path}/layout", limits) as image:
            if not refused:
                assert sum(map(len, image.layer(0))) > 4 << 20
                continue
            with pytest.raises(Malformed) as caught:
                list(image.layer(0))
            assert caught.value.code == "layer-bomb"


def test_a_size_that_lies_is_found() -> None:
    honest = tar(file("a", b"x" * 1000))
    header = honest[:512].replace(b"%011o" % 1000, b"%011o" % 5_000_000)
    block = bytearray(header)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    assert merged(honest)
    with pytest.raises(Malformed) as caught:
        merged(bytes(block) + honest[512:])
    assert caught.value.code == "layer-truncated"


def test_an_extended_header_beyond_the_limit_is_not_read() -> None:
    layer = tar(file("n" * 200))
    assert merged(layer)
    with pytest.raises(Malformed) as caught:
        merged(layer, limits=Limits(header=100))
    assert caught.value.code == "layer-header"


def test_entries_behind_the_end_are_refused() -> None:
    layer = tar(file("a"))
    with pytest.raises(Malformed) as caught:
        merged(layer[:-512] + layer)
    assert caught.value.code == "layer-header"
    assert merged(layer[:-1024]) == [b"/", b"/a"]


@pytest.mark.parametrize("key", ["path", "size", "uid"])
def test_global_records_that_move_entries_are_refused(key: str) -> None:
    def layer(record: str) -> bytes:
        data = f"{len(record) + 4} {record}\n".encode()
        header, _ = special("pax", TarKind.PAX_GLOBAL)
        block = bytearray(tar((header, b""))[:512])
        block[124:136] = b"%011o\0" % len(data)
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        return bytes(block) + data.ljust(512, b"\0") + tar(file("a"))

    assert merged(layer("comment=abcdef")) == [b"/", b"/a"]
    with pytest.raises(Malformed) as caught:
        merged(layer(f"{key}=1234567"))
    assert caught.value.code == "layer-pax"


@pytest.mark.parametrize("lie", ["digest", "size", "diff_id", "gzip", "cut"])
def test_lying_digests_are_found_and_nothing_is_left(tmp_path: Path, lie: str) -> None:
    layout, layer = tmp_path / "layout", tar(*ENCLAVE_DOCUMENTS, file("a", b"x" * 5000))
    diff_ids = [digest(b"other")] if lie == "diff_id" else None
    write_image(layout, [layer], diff_ids=diff_ids)
    stored = gzip.compress(layer, 1, mtime=0)
    blob = layout / "blobs" / "sha256" / digest(stored)[7:]
    changed = {"digest": stored[:-1] + b"?", "size": stored + b"?", "gzip": b"?" + stored[1:], "cut": stored[:-9]}
    blob.write_bytes(changed.get(lie, stored))
    (tmp_path / "packs").mkdir()
    with open_source(f"oci:{layout}") as image, pytest.raises(Malformed) as caught:
        build_pack(image, tmp_path / "packs" / "pack")
    expected = {
        "digest": {"blob-digest", "layer-gzip"},
        "size": {"blob-size", "layer-gzip"},
        "diff_id": {"layer-digest"},
    }
    assert caught.value.code in expected.get(lie, {"layer-gzip", "blob-size"})
    assert list((tmp_path / "packs").iterdir()) == []


@given(st.binary(max_size=1600))
def test_any_bytes_are_refused_or_merged(data: bytes) -> None:
    try:
        merged(data)
    except Malformed as error:
        assert error.code.startswith("layer-")  # noqa: PT017 - the code matters only where it is refused


@given(st.data())
def test_a_flipped_byte_is_refused_or_merged(data: st.DataObject) -> None:
    layer = bytearray(tar(*FRIENDLY, hardlink("again", "app/run"), file("n" * 120, b"long"), file("app/.wh.x")))
    at = data.draw(st.integers(0, len(layer) - 1))
    layer[at] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(layer), bytes(layer[:at])):
        try:
            merged(damaged)
        except Malformed as error:
            assert error.code.startswith("layer-")  # noqa: PT017 - as above
