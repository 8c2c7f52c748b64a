from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kloister.errors import KloisterError, Malformed, Misconfigured
from kloister.formats.oci import mediatypes
from kloister.formats.oci.descriptor import Descriptor
from kloister.images.layout import LayoutWriter, open_destination
from kloister.images.sources import open_source
from kloister.images.staging import staging
from tests.support.images import digest, file, tar, write_image

LAYER = tar(file("a", b"one"))


def content(path: Path) -> dict[str, bytes]:
    return {str(item.relative_to(path)): item.read_bytes() for item in sorted(path.rglob("*")) if item.is_file()}


def test_the_same_image_gives_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    for name, tags in (("one", ["a", "b", "a"]), ("two", ["b", "a"])):
        for tag in tags:
            write_image(tmp_path / name, [LAYER, tar(file("x", tag.encode()))], tag=tag)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert len(content(tmp_path / "one")) == 3 + 2 + 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_an_archive_repeats_bit_for_bit_and_reads_back(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with open_destination(f"oci-archive:{tmp_path}/{name}") as (writer, tag):
            assert tag == "latest"
            writer.put_blob(mediatypes.OCI_LAYER, LAYER)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    write_image(tmp_path / "old", [LAYER], tag="kept")
    before = content(tmp_path / "old")
    for ref in ("oci:new:x", "oci:old:x", "oci-archive:new.tar", "oci:deep/er/new"):
        transport, _, rest = ref.partition(":")
        with pytest.raises(TypeError), open_destination(f"{transport}:{tmp_path}/{rest}") as (writer, _tag):
            writer.add_blob(mediatypes.OCI_LAYER, [LAYER, None])  # type: ignore[list-item]
    assert content(tmp_path / "old") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "old"]


def test_a_lying_blob_is_refused(tmp_path: Path) -> None:
    true = Descriptor(mediatypes.OCI_LAYER, digest(LAYER), len(LAYER))
    with LayoutWriter(tmp_path / "l") as writer:
        assert writer.copy_blob(true, [LAYER]) == true
        assert writer.copy_blob(true, []) == true  # it is there already
    with pytest.raises(Malformed) as caught, LayoutWriter(tmp_path / "m") as writer:
        writer.copy_blob(true, [LAYER[:-1] + b"?"])
    assert caught.value.code == "blob-digest"
    assert not (tmp_path / "m").exists()


def test_a_full_disk_and_a_closed_place_are_said(tmp_path: Path) -> None:
    def failing(number: int) -> Iterator[bytes]:
        yield b"x"
        raise OSError(number, os.strerror(number))

    for number, code in ((errno.ENOSPC, "disk-full"), (errno.EIO, "destination-unwritable")):
        with pytest.raises(Misconfigured) as caught, LayoutWriter(tmp_path / "l") as writer:
            writer.add_blob(mediatypes.OCI_LAYER, failing(number))
        assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("ref", "code"),
    [
        ("oci:{}/occupied", "destination-occupied"),
        ("oci:{}/file", "destination-occupied"),
        ("oci:{}/file/below", "destination-unwritable"),
        ("oci-archive:{}/occupied", "destination-occupied"),
        ("docker-archive:{}/new", "destination-transport"),
    ],
)
def test_places_that_are_taken_are_refused(tmp_path: Path, ref: str, code: str) -> None:
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "mine").write_bytes(b"keep")
    (tmp_path / "file").write_bytes(b"keep")
    with pytest.raises(KloisterError) as caught, open_destination(ref.format(tmp_path)):
        pass
    assert caught.value.code == code
    assert (tmp_path / "occupied" / "mine").read_bytes() == b"keep"


def test_an_empty_directory_becomes_a_layout(tmp_path: Path) -> None:
    (tmp_path / "l").mkdir()
    write_image(tmp_path / "l", [LAYER])
    with open_source(f"oci:{tmp_path}/l") as image:
        assert list(image.layer(0)) == [LAYER]


def test_what_a_killed_process_left_is_removed_and_the_living_are_spared(tmp_path: Path) -> None:
    stale = tmp_path / ".l.partial-aaaa"
    (stale / "blobs").mkdir(parents=True)
    with staging(tmp_path / "l") as alive:
        assert not stale.exists()
        with staging(tmp_path / "l") as second:
            assert alive.is_dir()
            assert second != alive
    assert list(tmp_path.iterdir()) == []
