from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import KloisterError, Malformed, Unverified
from kloister.formats.protocol.release import (
    Binding,
    Bundle,
    Challenge,
    ChallengeRequest,
    Refusal,
    ReleaseRequest,
    Sealed,
    SecretFile,
    open_sealed,
    public_key,
    seal,
)
from kloister.formats.wire import canonical_json

GUEST = bytes(range(32))
EPHEMERAL = bytes(range(32, 64))
QUOTE = b"quote" * 100
BINDING = Binding(b"n" * 32, public_key(GUEST), b"b" * 32, "clinic", "inference", "app", "instance-1")
BUNDLE = Bundle(
    arguments=("/bin/app", "--serve"),
    environment={"DB_PASSWORD": "s3cret"},
    files=(SecretFile("/etc/tls/tls.key", 0o400, 1000, 1000, b"key"),),
    slots={"LOG_LEVEL": "^(info|debug)$"},
    keys={"layer": bytes(32)},
)

names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
instances = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True)
sentences = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=60)
key32 = st.binary(min_size=32, max_size=32)
variables = sentences.filter(lambda item: item != "" and "=" not in item)
files = st.builds(
    SecretFile, sentences, st.integers(0, 0o7777), st.integers(0, 2**32 - 2), st.integers(0, 9), st.binary()
)
bundles = st.builds(
    Bundle,
    st.none() | st.lists(sentences, max_size=4).map(tuple),
    st.dictionaries(variables, sentences, max_size=4),
    st.lists(files, max_size=3).map(tuple),
    st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,9}", fullmatch=True), st.sampled_from(["a+", "^(x|y)$"])),
    st.dictionaries(names, st.binary(max_size=64), max_size=3),
    st.sampled_from(["clear", "drop", "encrypted"]),
)
messages = st.one_of(
    st.builds(ChallengeRequest, names, names),
    st.builds(Challenge, key32, st.integers(0, 2**40)),
    st.builds(ReleaseRequest, key32, names, names, names, instances, key32, st.binary(max_size=200)),
    st.builds(Sealed, key32, st.binary(max_size=200)),
    st.builds(Refusal, instances, names, sentences, sentences),
    bundles,
)


@given(messages)
def test_every_message_survives_the_way(message: Any) -> None:
    assert type(message).parse(message.build()) == message


@given(messages, st.data())
def test_a_cut_message_is_malformed(message: Any, data: st.DataObject) -> None:
    whole = message.build()
    with pytest.raises(Malformed):
        type(message).parse(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(messages, st.data())
def test_a_flipped_byte_is_malformed_or_another_message(message: Any, data: st.DataObject) -> None:
    whole = bytearray(message.build())
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        other = type(message).parse(bytes(whole))
    except Malformed:
        return
    assert type(message).parse(other.build()) == other


@given(st.sampled_from([ChallengeRequest, Challenge, ReleaseRequest, Sealed, Refusal, Bundle]), st.binary(max_size=300))
def test_noise_is_malformed(kind: Any, noise: bytes) -> None:
    with pytest.raises(Malformed):
        kind.parse(noise)


def test_the_right_key_opens_the_bundle() -> None:
    assert open_sealed(seal(BUNDLE, BINDING, QUOTE, EPHEMERAL), BINDING, QUOTE, GUEST) == BUNDLE


@given(bundles, key32, key32)
def test_seal_and_open_agree(bundle: Bundle, private: bytes, ephemeral: bytes) -> None:
    binding = replace(BINDING, key=public_key(private))
    assert open_sealed(seal(bundle, binding, QUOTE, ephemeral), binding, QUOTE, private) == bundle


CHANGES: dict[str, Any] = {
    "nonce": b"m" * 32,
    "key": public_key(EPHEMERAL),
    "broker_key": b"c" * 32,
    "namespace": "other",
    "policy": "other",
    "service": "other",
    "instance": "other",
}


@pytest.mark.parametrize("field", sorted(CHANGES))
def test_every_field_of_the_binding_counts(field: str) -> None:
    changed = replace(BINDING, **{field: CHANGES[field]})
    assert changed.report_data() != BINDING.report_data()
    assert changed.transcript(QUOTE, EPHEMERAL) != BINDING.transcript(QUOTE, EPHEMERAL)
    with pytest.raises(Unverified) as caught:
        open_sealed(seal(BUNDLE, BINDING, QUOTE, EPHEMERAL), changed, QUOTE, GUEST)
    assert caught.value.code == "release-sealed"


def test_moving_a_letter_to_the_next_field_changes_the_report_data() -> None:
    moved = replace(BINDING, namespace="clinici", policy="nference")
    assert moved.report_data() != BINDING.report_data()


def test_report_data_is_the_documented_hash() -> None:
    parts = [b"n" * 32, public_key(GUEST), b"b" * 32, b"clinic", b"inference", b"app", b"instance-1"]
    text = b"kloister/release/v1" + b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    import hashlib

    assert BINDING.report_data() == hashlib.sha512(text).digest()
    assert len(BINDING.report_data()) == 64


OTHERS: dict[str, Callable[[Sealed], tuple[Sealed, bytes, bytes]]] = {
    "quote": lambda sealed: (sealed, QUOTE + b"x", GUEST),
    "private key": lambda sealed: (sealed, QUOTE, EPHEMERAL),
    "ephemeral": lambda sealed: (replace(sealed, ephemeral=public_key(b"e" * 32)), QUOTE, GUEST),
    "truncated": lambda sealed: (replace(sealed, ciphertext=sealed.ciphertext[:-1]), QUOTE, GUEST),
    "empty": lambda sealed: (replace(sealed, ciphertext=b""), QUOTE, GUEST),
}


@pytest.mark.parametrize("what", sorted(OTHERS))
def test_what_else_counts(what: str) -> None:
    sealed, quote, private = OTHERS[what](seal(BUNDLE, BINDING, QUOTE, EPHEMERAL))
    with pytest.raises(Unverified) as caught:
        open_sealed(sealed, BINDING, quote, private)
    assert caught.value.code == "release-sealed"


@given(st.integers(0), st.integers(1, 255))
def test_a_flipped_byte_of_the_ciphertext_is_unverified(at: int, flip: int) -> None:
    sealed = seal(BUNDLE, BINDING, QUOTE, EPHEMERAL)
    changed = bytearray(sealed.ciphertext)
    changed[at % len(changed)] ^= flip
    with pytest.raises(Unverified):
        open_sealed(replace(sealed, ciphertext=bytes(changed)), BINDING, QUOTE, GUEST)


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31)])
def test_points_of_small_order_are_refused(point: bytes) -> None:
    with pytest.raises(Unverified) as sealing:
        seal(BUNDLE, replace(BINDING, key=point), QUOTE, EPHEMERAL)
    with pytest.raises(Unverified) as opening:
        open_sealed(Sealed(point, b"x" * 40), BINDING, QUOTE, GUEST)
    assert (sealing.value.code, opening.value.code) == ("release-key", "release-key")


def test_the_request_makes_the_same_binding() -> None:
    request = ReleaseRequest(BINDING.nonce, "clinic", "inference", "app", "instance-1", public_key(GUEST), QUOTE)
    assert request.binding(b"b" * 32) == BINDING


def test_no_secret_stands_in_the_repr() -> None:
    assert "s3cret" not in repr(BUNDLE)
    assert "key=" not in repr(BUNDLE.files[0])
    assert "--serve" not in repr(BUNDLE)


def bundle_json(**changes: Any) -> bytes:
    plain: dict[str, Any] = {
        "arguments": None,
        "environment": {},
        "files": [],
        "slots": {},
        "keys": {},
        "output": "clear",
    }
    return canonical_json(plain | changes)


def file_json(**changes: Any) -> list[dict[str, Any]]:
    return [{"path": "/a", "mode": "0400", "owner": 0, "group": 0, "content": ""} | changes]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"output": "loud"}, "bundle-fields"),
        ({"keys": {f"k{n}": "" for n in range(1025)}}, "bundle-fields"),
        ({"more": 1}, "bundle-fields"),
        ({"arguments": ["a\0b"]}, "bundle-arguments-text"),
        ({"arguments": [""] * 1025}, "bundle-arguments-list"),
        ({"arguments": ["x" * (128 * 1024 + 1)]}, "bundle-arguments-text"),
        ({"environment": {"A=B": ""}}, "bundle-environment"),
        ({"environment": {"": "x"}}, "bundle-environment"),
        ({"environment": {"A": 1}}, "bundle-environment-text"),
        ({"environment": {str(n): "" for n in range(1025)}}, "bundle-environment-object"),
        ({"slots": {"A": "("}}, "bundle-slots"),
        ({"slots": {"A": "[[a]"}}, "bundle-slots"),
        ({"slots": {"a-b": "x"}}, "bundle-slots"),
        ({"keys": {"Layer": ""}}, "bundle-key-name"),
        ({"files": file_json(mode="400")}, "bundle-file-mode"),
        ({"files": file_json(owner=-1)}, "bundle-file-mode"),
        ({"files": file_json(group=2**32 - 1)}, "bundle-file-mode"),
        ({"files": file_json(owner=True)}, "bundle-file-fields"),
        ({"files": file_json(path="/" + "a" * 4095)}, "bundle-file-path-text"),
        ({"files": file_json(content="*")}, "bundle-file-content-base64url"),
    ],
)
def test_a_bundle_out_of_bounds_is_malformed(changes: dict[str, Any], code: str) -> None:
    assert Bundle.parse(bundle_json()) == Bundle()
    with pytest.raises(Malformed) as caught:
        Bundle.parse(bundle_json(**changes))
    assert caught.value.code == code


def test_half_a_surrogate_pair_is_malformed() -> None:
    data = bundle_json(arguments=["X"]).replace(b'"X"', b'"\\ud800"')
    with pytest.raises(Malformed) as caught:
        Bundle.parse(data)
    assert caught.value.code == "bundle-arguments-text"


@pytest.mark.parametrize(
    ("parse", "data", "code"),
    [
        (Challenge.parse, b'{"nonce":"AAAA","expires":1}', "challenge-nonce-size"),
        (Challenge.parse, b'{"nonce":"' + b"A" * 43 + b'","expires":-1}', "challenge-expires"),
        (ChallengeRequest.parse, b'{"namespace":"a.b","policy":"c"}', "challenge-request-name"),
        (ChallengeRequest.parse, b" " * (128 * 1024 + 1), "challenge-request-size"),
        (Refusal.parse, b'{"error":{"id":"../x","code":"c","text":"","hint":""}}', "refusal-id-name"),
    ],
)
def test_a_message_out_of_bounds_is_malformed(parse: Callable[[bytes], object], data: bytes, code: str) -> None:
    with pytest.raises(KloisterError) as caught:
        parse(data)
    assert (type(caught.value), caught.value.code) == (Malformed, code)
