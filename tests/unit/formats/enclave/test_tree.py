from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.enclave.tree import Entry, Kind, Tree, differences, quote, unquote

names = st.binary(min_size=1, max_size=12).filter(
    lambda raw: b"/" not in raw and b"\0" not in raw and raw not in (b".", b"..")
)
numbers = st.integers(0, 10**17)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    entries = {b"/": Entry(b"/", Kind.DIRECTORY, 0o755, 0, 0, 0)}
    directories, files = [b""], list[bytes]()
    for name in draw(st.lists(names, max_size=10)):
        path = draw(st.sampled_from(directories)) + b"/" + name
        if path in entries:
            continue
        kind = draw(st.sampled_from(list(Kind)))
        common = (draw(st.integers(0, 0o7777)), draw(numbers), draw(numbers), draw(numbers))
        targets = [file for file in files if file < path]
        if kind is Kind.HARDLINK and targets:
            entries[path] = Entry(path, kind, *common, target=draw(st.sampled_from(targets)))
        elif kind is Kind.SYMLINK:
            entries[path] = Entry(path, kind, *common, target=draw(names))
        elif kind is Kind.DIRECTORY:
            entries[path] = Entry(path, kind, *common)
            directories.append(path)
        else:
            entries[path] = Entry(path, Kind.FILE, *common, draw(numbers), hashlib.sha256(name).digest())
            files.append(path)
    return Tree.of(entries.values())


@given(trees())
def test_a_tree_reads_back_as_itself(tree: Tree) -> None:
    assert Tree.parse(tree.build()) == tree
    assert differences(tree, tree) == []


@given(trees(), st.data())
def test_damaged_documents_are_refused_or_are_other_documents_in_the_one_allowed_form(
    tree: Tree, data: st.DataObject
) -> None:
    document = bytearray(tree.build())
    at = data.draw(st.integers(0, len(document) - 1))
    document[at] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(document), bytes(document[:at])):
        try:
            parsed = Tree.parse(damaged)
        except Malformed:
            continue
        assert parsed.build() == damaged
        assert parsed != tree


@given(st.binary(max_size=40))
def test_quoting_is_reversible_and_printable(raw: bytes) -> None:
    text = quote(raw)
    assert unquote(text.encode()) == raw
    assert text.isascii()
    assert " " not in text


LINE = f"f 0644 0 0 0 1 {'0' * 64} /a"


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([LINE, LINE], "tree-order"),
        ([LINE.replace("/a", "/b"), LINE], "tree-order"),
        (["f 0644 0 0 0 - - /a"], "tree-line"),
        (["d 0755 0 0 0 1 " + "0" * 64 + " /a"], "tree-line"),
        (["d 0755 0 0 0 - - /a /b"], "tree-line"),
        (["l 0777 0 0 0 - - /a"], "tree-line"),
        (["d 0755 00 0 0 - - /a"], "tree-line"),
        (["d 0755 0 0 0 - - a"], "tree-line"),
        ([LINE.replace("0" * 64, "A" * 64)], "tree-line"),
        (["d 0755 0 0 0 - - /%2F"], "tree-path"),
        (["d 0755 0 0 0 - - /%41"], "tree-path"),
        (["d 0755 0 0 0 - - /%0a"], "tree-path"),
        (["d 0755 0 0 0 - - /a/"], "tree-path"),
        (["d 0755 0 0 0 - - /a//b"], "tree-path"),
        (["d 0755 0 0 0 - - /a/../b"], "tree-path"),
        (["d 0755 0 0 0 - - /a%00"], "tree-path"),
        (["d 0755 0 0 0 - - /" + "a" * 4096], "tree-path"),
        (["l 0777 0 0 0 - - /a %00"], "tree-path"),
        (["h 0777 0 0 0 - - /a b"], "tree-path"),
        ([LINE.replace("/a", "/a/b")], "tree-parent"),
        ([LINE, LINE.replace("/a", "/a/b")], "tree-parent"),
        (["h 0644 0 0 0 - - /a /z"], "tree-link"),
        ([LINE, "h 0644 0 0 0 - - /b /a", "h 0644 0 0 0 - - /c /b"], "tree-link"),
    ],
)
def test_what_is_no_tree_is_refused(lines: list[str], code: str) -> None:
    root = ["d 0755 0 0 0 - - /"]
    assert len(Tree.parse(("\n".join(["kloister-tree/1", *root, LINE]) + "\n").encode()).entries) == 2
    with pytest.raises(Malformed) as caught:
        Tree.parse(("\n".join(["kloister-tree/1", *root, *lines]) + "\n").encode())
    assert caught.value.code == code


@pytest.mark.parametrize("data", [b"", b"kloister-tree/2\n", b"kloister-tree/1\nd 0755 0 0 0 - - /"])
def test_other_versions_and_cut_documents_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        Tree.parse(data)
    assert caught.value.code == "tree-header"


def test_a_part_of_a_tree_needs_no_parents() -> None:
    part = Tree.of([Entry(b"/app/model", Kind.FILE, 0o644, 0, 0, 0, 1, bytes(32))])
    assert Tree.parse(part.build(), whole=False) == part
    with pytest.raises(Malformed) as caught:
        Tree.parse(part.build())
    assert caught.value.code == "tree-parent"


def _file(**changes: object) -> Entry:
    values: dict[str, object] = {
        "path": b"/a b",
        "kind": Kind.FILE,
        "mode": 0o644,
        "uid": 1,
        "gid": 2,
        "mtime": 3,
        "size": 4,
    }
    return Entry(**(values | {"sha256": bytes(32)} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "codes"),
    [
        (_file(mode=0o4644), ["file-mode"]),
        (_file(uid=9), ["file-owner"]),
        (_file(gid=9), ["file-owner"]),
        (_file(mtime=9), ["file-time"]),
        (_file(size=9), ["file-changed"]),
        (_file(sha256=b"\1" * 32), ["file-changed"]),
        (_file(kind=Kind.SYMLINK, size=0, sha256=b"", target=b"x"), ["file-kind"]),
        (_file(mode=0o600, mtime=9), ["file-mode", "file-time"]),
        (_file(path=b"/b"), ["file-removed", "file-added"]),
    ],
)
def test_each_change_is_named(seen: Entry, codes: list[str]) -> None:
    found = differences(Tree.of([_file()]), Tree.of([seen]))
    assert [difference.code for difference in found] == codes
    assert all(str(difference).endswith(f"[{difference.code}]") for difference in found)


def test_a_swapped_link_is_named_with_both_targets() -> None:
    link = Entry(b"/l", Kind.SYMLINK, 0o777, 0, 0, 0, target=b"a")
    other = Entry(b"/l", Kind.SYMLINK, 0o777, 0, 0, 0, target=b"b")
    (found,) = differences(Tree.of([link]), Tree.of([other]))
    assert str(found) == "/l: expected a, found b [link-changed]"
    assert Tree.of([link]).get(b"/l") == link
    assert Tree.of([link]).get(b"/m") is None


def test_a_document_beyond_the_limit_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    document = Tree.of([_file()]).build()
    monkeypatch.setattr("kloister.formats.enclave.tree.MAX_DOCUMENT", len(document) - 1)
    with pytest.raises(Malformed) as caught:
        Tree.parse(document)
    assert caught.value.code == "tree-size"
