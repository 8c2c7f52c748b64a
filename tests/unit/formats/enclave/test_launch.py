from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.enclave.launch import Broker, Image, LaunchDocument, Private, PrivateLayer, User

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
parts = st.text("abcXYZ .é", min_size=1, max_size=5).filter(lambda part: part not in (".", ".."))
paths = st.lists(parts, max_size=3).map(lambda items: "/" + "/".join(items))
places = paths.filter(lambda path: path != "/")
ids = st.integers(0, 2**32 - 2)
digests = st.binary(min_size=32, max_size=32).map(lambda raw: "sha256:" + raw.hex())

documents = st.builds(
    LaunchDocument,
    image=st.builds(
        Image,
        arguments=st.lists(texts, min_size=1, max_size=3).map(tuple),
        environment=st.lists(st.tuples(parts, texts).map("=".join), max_size=3).map(tuple),
        user=st.builds(User, texts, ids, ids, st.lists(ids, max_size=2).map(tuple)),
        workdir=paths,
        stop_signal=st.sampled_from(["SIGTERM", "SIGRTMIN+3"]),
    ),
    writable=st.lists(paths, max_size=3).map(tuple),
    memory=st.integers(0, 2**53 - 1),
    mounts=st.dictionaries(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,5}", fullmatch=True), places, max_size=2),
    broker=st.none() | st.builds(Broker, texts, texts, texts, texts),
    private=st.none()
    | st.builds(
        Private,
        st.just("layer"),
        digests,
        st.integers(0, 99),
        st.lists(
            st.builds(PrivateLayer, digests, st.integers(0, 99), texts, st.just("AA=="), st.just("BB==")), max_size=2
        ).map(tuple),
        st.booleans(),
    ),
)
EXAMPLE = LaunchDocument(Image(("/bin/app",), ("A=b",), User("app", 1000, 1000)), ("/run",), 1 << 20)


@given(documents)
def test_a_document_reads_back_as_itself(document: LaunchDocument) -> None:
    assert LaunchDocument.parse(document.build()) == document


@given(documents, st.data())
def test_damage_is_refused_or_gives_another_canonical_document(document: LaunchDocument, data: st.DataObject) -> None:
    raw = bytearray(document.build())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(raw), bytes(raw[:at])):
        try:
            parsed = LaunchDocument.parse(damaged)
        except Malformed:
            continue
        assert parsed.build() == damaged


def _changed(path: str, value: Any) -> bytes:
    tree = json.loads(EXAMPLE.build())
    *parents, last = path.split(".")
    inner = tree
    for parent in parents:
        inner = inner[parent]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return json.dumps(tree, separators=(",", ":"), sort_keys=True).encode()


TREE: dict[str, Any] = {"digest": "sha256:" + 64 * "0", "size": 1}
PRIVATE: dict[str, Any] = {"secret": "a", "tree": TREE, "layers": []}


def test_images_from_before_there_were_links_are_what_they_were() -> None:
    before = LaunchDocument.parse(_changed("private", PRIVATE))
    assert before.private == Private("a", TREE["digest"], 1, ())
    after = LaunchDocument.parse(_changed("private", PRIVATE | {"links": True}))
    assert after.private == Private("a", TREE["digest"], 1, (), links=True)
    with pytest.raises(Malformed) as caught:
        LaunchDocument.parse(_changed("private", PRIVATE | {"links": False}))
    assert caught.value.code == "launch-canonical"


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("version", 2, "launch-version"),
        ("version", True, "launch-field"),
        ("extra", 1, "launch-field"),
        ("memory", None, "launch-field"),
        ("memory", -1, "launch-field"),
        ("image", [], "launch-field"),
        ("hostFiles", ["/home/somebody/.ssh/id_ed25519"], "launch-field"),
        ("mounts", {"a": "/"}, "launch-field"),
        ("mounts", {"a": "/etc"}, "launch-field"),
        ("mounts", {"a": "/usr/lib"}, "launch-field"),
        ("mounts", {"a": "/lib/x86_64-linux-gnu"}, "launch-field"),
        ("mounts", {"a": "/dev/pts"}, "launch-field"),
        ("mounts", {"a": "/.kloister/runtime"}, "launch-field"),
        ("image.arguments", [], "launch-field"),
        ("image.arguments", ["a\0"], "launch-field"),
        ("image.arguments", "a", "launch-field"),
        ("image.environment", ["=x"], "launch-field"),
        ("image.workdir", "data", "launch-field"),
        ("image.workdir", "/a/../b", "launch-field"),
        ("image.stopSignal", "TERM", "launch-field"),
        ("image.user.uid", 2**32 - 1, "launch-field"),
        ("image.user.groups", [True], "launch-field"),
        ("image.user.shell", "sh", "launch-field"),
        ("writable", ["tmp"], "launch-field"),
        ("mounts", {"a/b": "/x"}, "launch-field"),
        ("mounts", {"a": "x"}, "launch-field"),
        ("broker", {"ca": "x"}, "launch-field"),
        ("broker", "x", "launch-field"),
        ("private", PRIVATE | {"tree": {"digest": "md5:1", "size": 1}}, "launch-field"),
        ("private", PRIVATE | {"tree": {}}, "launch-field"),
        ("private", PRIVATE | {"layers": [1]}, "launch-field"),
        ("private", PRIVATE | {"links": 1}, "launch-field"),
    ],
)
def test_wrong_fields_are_refused(path: str, value: Any, code: str) -> None:
    assert LaunchDocument.parse(EXAMPLE.build()) == EXAMPLE
    assert LaunchDocument.parse(_changed("private", PRIVATE)).private
    with pytest.raises(Malformed) as caught:
        LaunchDocument.parse(_changed(path, value))
    assert caught.value.code == code


def test_only_the_canonical_form_is_read() -> None:
    with pytest.raises(Malformed) as caught:
        LaunchDocument.parse(EXAMPLE.build().replace(b",", b", ", 1))
    assert caught.value.code == "launch-canonical"
