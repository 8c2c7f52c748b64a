"""Layers merged as the specification says; GNU tar is the judge for what it knows."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.enclave.tree import Entry, Kind, Tree, differences
from kloister.formats.oci.tar import TarKind
from kloister.images.importer import ImportOptions
from kloister.images.importer.walking import walk
from kloister.images.layers.merged import MergedRoot
from kloister.images.layers.merging import Merger
from kloister.images.layers.writing import gzip_chunks, header_of, tar_chunks
from tests.support.images import directory, file, hardlink, special, symlink, tar


def merge(*layers: bytes, step: int = 700) -> MergedRoot:
    with Merger() as merger:
        for index, layer in enumerate(layers):
            merger.add((layer[at : at + step] for at in range(0, len(layer), step)), index)
        return merger.finish()


def shown(root: MergedRoot) -> dict[str, str]:
    words = {Kind.FILE: "", Kind.DIRECTORY: "/", Kind.SYMLINK: " -> ", Kind.HARDLINK: " = "}
    return {
        entry.path.decode(): words[entry.kind] + entry.target.decode()
        for entry in root.tree().entries
        if entry.path != b"/"
    }


def test_a_whiteout_removes_what_is_below_and_spares_its_own_layer() -> None:
    base = tar(file("a/one", b"1"), file("a/two", b"2"), file("b/deep/x", b"3"))
    with merge(base, tar(file("a/.wh.one"), file(".wh.b"), file("a/three"))) as root:
        assert shown(root) == {"/a": "/", "/a/two": "", "/a/three": ""}
    with merge(base, tar(file("a/one", b"new"), file("a/.wh.one"))) as root:
        assert root.read(b"/a/one", 10) == b"new"
    with merge(base, tar(file("b/deep/y"), file(".wh.b"))) as root:
        assert "/b/deep/y" in shown(root)
        assert "/b/deep/x" not in shown(root)
    with merge(base, tar(file("nowhere/.wh.x"), file(".wh.nothing"), file("c/.wh..wh..opq"))) as root:
        assert sorted(shown(root)) == ["/a", "/a/one", "/a/two", "/b", "/b/deep", "/b/deep/x"]


def test_an_opaque_directory_hides_what_is_below() -> None:
    base = tar(file("a/one"), file("a/sub/two"))
    for items in (
        (file("a/.wh..wh..opq"), file("a/new")),
        (file("a/new"), file("a/.wh..wh..opq")),
    ):
        with merge(base, tar(directory("a", 0o700), *items)) as root:
            assert shown(root) == {"/a": "/", "/a/new": ""}
            found = root.lookup(b"/a")
            assert found is not None
            assert (found.entry.mode, found.layer) == (0o700, 1)


def test_kinds_replace_each_other() -> None:
    base = tar(file("a/x"), symlink("l", "a"), file("f"))
    with merge(base, tar(file("a"), directory("l"), symlink("f", "a"))) as root:
        assert shown(root) == {"/a": "", "/l": "/", "/f": " -> a"}
    with merge(base, tar(directory("a", 0o711))) as root:
        assert "/a/x" in shown(root)


def test_hard_links_share_a_file_across_layers() -> None:
    with merge(
        tar(file("z", b"data", 0o4755)), tar(hardlink("a", "z"), hardlink("m", "./a"), hardlink("n", "/z"))
    ) as root:
        assert shown(root) == {"/a": "", "/m": " = /a", "/n": " = /a", "/z": " = /a"}
        assert {entry.mode for entry in root.tree().entries if entry.path != b"/"} == {0o4755}
        assert root.layer_of(b"/z") == 0
        assert root.layer_of(b"/a") == 1
        assert root.layer_of(b"/none") is None
        part = root.tree(lambda _, layer: layer == 0)  # each part names its own file
        assert [entry.kind for entry in part.entries if entry.path == b"/z"] == [Kind.FILE]
    with merge(tar(file("z", b"old"), hardlink("a", "z")), tar(file("z", b"new"))) as root:
        assert (root.read(b"/a", 9), root.read(b"/z", 9)) == (b"old", b"new")
    with merge(tar(file("z"), hardlink("z", "z"), symlink("l", "z"), hardlink("l2", "l"))) as root:
        assert shown(root) == {"/z": "", "/l": " -> z", "/l2": " -> z"}


def test_devices_and_attributes_are_left_out_with_a_note() -> None:
    layer = tar(
        special("dev/null", TarKind.CHARACTER), special("sda", TarKind.BLOCK), special("pipe", TarKind.FIFO), file("f")
    )
    with merge(tar(file("pipe", b"x")), layer) as root:
        assert shown(root) == {"/f": ""}
        assert [(note.code, note.path) for note in root.notes] == [
            ("entry-skipped", b"/dev/null"),
            ("entry-skipped", b"/sda"),
            ("entry-skipped", b"/pipe"),
        ]


def test_the_hosts_files_and_our_own_documents_have_no_line() -> None:
    names = (
        "etc/hosts",
        "etc/hostname",
        "etc/resolv.conf",
        ".kloister/enclave/tree",
        ".kloister/enclave/sigstruct",
        "etc/hosts2",
    )
    with merge(tar(*(file(name, name.encode()) for name in names), hardlink("etc/a", "etc/hosts"))) as root:
        assert [entry.path for entry in root.tree().entries if entry.kind is Kind.FILE] == [b"/etc/a", b"/etc/hosts2"]
        assert root.read(b"/.kloister/enclave/tree", 99) == b".kloister/enclave/tree"
    with merge(tar(directory("etc/hosts"))) as root:
        assert "/etc/hosts" in shown(root)


def test_look_ups_follow_links_inside_the_root() -> None:
    items = (file("usr/lib/x", b"x"), symlink("lib", "usr/lib"), symlink("top", "../../lib/x"), symlink("loop", "loop"))
    with merge(tar(*items, symlink("abs", "/lib/../lib/x"))) as root:
        for path in (b"/lib/x", b"/top", b"/abs", b"/usr/lib/../lib/./x", b"/../usr/lib/x"):
            assert root.read(path, 1) == b"x"
        for path in (b"/loop", b"/lib/x/y", b"/lib/x/..", b"/none", b"/lib"):
            assert root.read(path, 1) is None
        found = root.lookup(b"/")
        assert found is not None
        assert found.entry.path == b"/"
        with pytest.raises(Malformed) as caught:
            root.read(b"/top", 0)
        assert caught.value.code == "image-file-size"


def test_contents_are_written_in_the_order_of_the_tree(tmp_path: Path) -> None:
    with merge(tar(file("b", b"bb"), file("c", b""), file("a", b"a" * 3000)), tar(file("aa", b"!"))) as root:
        with (tmp_path / "contents").open("wb") as out:
            assert root.write_contents(out, root.located()) == 3003
        assert (tmp_path / "contents").read_bytes() == b"a" * 3000 + b"!" + b"bb"


def test_old_times_and_implicit_parents() -> None:
    with merge(tar(file("deep/er/x", mtime=-7))) as root:
        entries = {entry.path: entry for entry in root.tree().entries}
        assert entries[b"/deep/er/x"].mtime == 0
        assert entries[b"/deep/er"].mode == 0o755


names = st.sampled_from(["a", "b", "c", "ü", "sp ace", "long" * 30])
steps = st.tuples(
    st.lists(names, min_size=1, max_size=3),
    st.sampled_from(["file", "directory", "symlink", "hardlink"]),
    st.binary(max_size=600),
    st.sampled_from([0o644, 0o4755, 0o600, 0o1777]),
)


def _make(base: Path, plan: list[tuple[list[str], str, bytes, int]]) -> None:
    base.mkdir(exist_ok=True)
    files: list[Path] = []
    for parts, kind, content, mode in plan:
        place = base.joinpath(*parts)
        if place.exists() or place.is_symlink() or any(parent.is_symlink() for parent in place.parents):
            continue
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            continue
        if kind == "directory":
            place.mkdir()
        elif kind == "symlink":
            place.symlink_to("/".join(parts[::-1]))
            continue
        elif kind == "hardlink" and files:
            place.hardlink_to(files[len(content) % len(files)])
            continue
        else:
            place.write_bytes(content)
            files.append(place)
        place.chmod(mode | 0o700)


def _extracted(base: Path) -> Tree:
    """What is on disk, by way of the importer's own walk, with contents."""
    found, _ = walk(base, ImportOptions())
    layer = b"".join(tar_chunks((item.header, item.content()) for item in found))
    with merge(layer) as root:
        return root.tree()


def _tar(base: Path, form: str) -> bytes:
    return subprocess.run(
        ["tar", f"--format={form}", "-C", base, "-cf", "-", "."], check=True, capture_output=True
    ).stdout


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(steps, max_size=8), min_size=1, max_size=2), st.sampled_from(["gnu", "pax"]))
def test_merging_agrees_with_gnu_tar(plans: list[list[tuple[list[str], str, bytes, int]]], form: str) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="kloister-test-"))
    try:
        layers, out = [], scratch / "out"
        out.mkdir()
        for index, plan in enumerate(plans):
            kind = [step for step in plan if index == 0 or step[1] == "file"]  # friendly: above the base only files
            _make(scratch / f"layer{index}", [] if index and _clash(scratch, kind) else kind)
            layers.append(_tar(scratch / f"layer{index}", form))
            subprocess.run(["tar", "-C", out, "-xpf", "-", "--numeric-owner"], input=layers[-1], check=True)
        with merge(*layers) as root:
            assert differences(_timeless(_extracted(out)), _timeless(root.tree())) == []
    finally:
        shutil.rmtree(scratch)


def _clash(scratch: Path, plan: list[tuple[list[str], str, bytes, int]]) -> bool:
    """Whether the second layer would put a file where the first has something else than a file of its own."""
    for parts, *_ in plan:
        places = [scratch.joinpath("layer0", *parts[: end + 1]) for end in range(len(parts))]
        if any(place.is_symlink() or place.is_file() for place in places) or places[-1].exists():
            return True
    return False


def _timeless(tree: Tree) -> Tree:
    """GNU tar sets a directory's time before a later layer adds to it; only directories differ."""

    def entry(item: Entry) -> Entry:
        time = 0 if item.kind is Kind.DIRECTORY else item.mtime
        return Entry(item.path, item.kind, item.mode, item.uid, item.gid, time, item.size, item.sha256, item.target)

    return Tree(tuple(entry(item) for item in tree.entries))


def test_a_tree_written_as_a_layer_reads_back_the_same() -> None:
    base = tar(file("b", b"x" * 700, 0o4755), symlink("l" * 150, "t" * 150), hardlink("a", "b"), directory("d", 0o1777))
    with merge(base) as root:
        items = [(header_of(item.entry), root.content(item)) for item in root.located()]
        again = b"".join(tar_chunks(items))
        with merge(again) as second:
            assert second.tree() == root.tree()
        assert b"".join(gzip_chunks([again])) == b"".join(
            gzip_chunks(again[at : at + 10] for at in range(0, len(again), 10))
        )
