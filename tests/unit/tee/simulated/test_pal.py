from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.tee.simulated.pal import locate, read_pal, sealed
from tests.unit.tee.simulated.stage import PAL, make_pack


def read(pack: Path) -> bytes:
    descriptor = os.open(pack, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return read_pal(descriptor)
    finally:
        os.close(descriptor)


def test_the_first_code_is_found_between_its_neighbours(tmp_path: Path) -> None:
    assert read(make_pack(tmp_path)) == PAL


def test_lines_behind_it_are_not_read(tmp_path: Path) -> None:
    make_pack(tmp_path)
    with (tmp_path / "observed.tree").open("ab") as tree:
        tree.write(b"not a line")
    assert read(tmp_path) == PAL


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("observed.tree", b"", "pack-tree"),
        ("observed.tree", b"kloister-tree/1\n", "pack-pal"),
        ("observed.tree", b"another\n", "tree-header"),
        ("observed.tree", b"kloister-tree/1\nx\n", "tree-line"),
        ("observed.tree", b"kloister-tree/1\nl 0777 0 0 0 - - /a /.kloister/runtime/ld.so\n", "pack-pal"),
        ("observed.tree", b"kloister-tree/1\nd 0755 0 0 0 - - /.kloister/runtime/ld.so\n", "pack-pal"),
        ("contents", b"", "pack-contents"),
        ("contents", b"other bytes", "pack-contents"),
    ],
)
def test_a_bad_pack_is_refused(tmp_path: Path, name: str, content: bytes, code: str) -> None:
    pack = make_pack(tmp_path)
    assert read(pack) == PAL
    (pack / name).write_bytes(content)
    with pytest.raises(Malformed) as refused:
        read(pack)
    assert refused.value.code == code


@pytest.mark.parametrize(("name", "code"), [("observed.tree", "pack-tree"), ("contents", "pack-contents")])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str, code: str) -> None:
    pack = make_pack(tmp_path)
    (pack / name).unlink()
    with pytest.raises(Malformed) as refused:
        read(pack)
    assert refused.value.code == code
    os.mkfifo(pack / name)  # must not wait for a writer
    with pytest.raises(Malformed) as refused:
        read(pack)
    assert refused.value.code in {code, "pack-contents"}


def test_a_size_beyond_all_files_is_refused(tmp_path: Path) -> None:
    pack = make_pack(tmp_path)
    digest = b"0" * 64
    line = b"f 0755 0 0 0 999999999999999999 " + digest
    tree = b"kloister-tree/1\n" + b"".join(line + b" /%02d\n" % number for number in range(12))
    pal = b"f 0755 0 0 0 7 " + digest + b" /.kloister/runtime/ld.so\n"
    (pack / "observed.tree").write_bytes(tree.replace(b" /", b" /!") + pal)
    with pytest.raises(Malformed) as refused:
        read(pack)
    assert refused.value.code == "pack-contents"


@given(st.data())
def test_a_damaged_tree_is_located_or_malformed(data: st.DataObject) -> None:
    line = b" 0755 0 0 0 "
    tree = bytearray(
        b"kloister-tree/1\nf" + line + b"3 " + b"0" * 64 + b" /.a\nf" + line + b"7 " + b"0" * 64
        + b" /.kloister/runtime/ld.so\n"
    )  # fmt: skip
    assert locate(bytes(tree)) == (3, 7)
    at = data.draw(st.integers(0, len(tree) - 1))
    tree[at] ^= data.draw(st.integers(1, 255))
    try:
        offset, size = locate(bytes(tree))
    except Malformed:
        return
    assert offset >= 0
    assert size > 0


def test_a_sealed_file_can_be_read_and_not_changed() -> None:
    descriptor = sealed(PAL)
    try:
        assert os.read(descriptor, 100) == PAL
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
