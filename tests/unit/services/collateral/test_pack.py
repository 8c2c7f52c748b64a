from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Misconfigured
from kloister.services.collateral import Held, Item, Key, Kind, Update, Window
from kloister.services.collateral.bundle import Bundle, collateral_document, is_bundle
from kloister.services.collateral.pack import Pack, State, state_of
from kloister.services.collateral.settings import Settings
from kloister.trust.verifier import Collateral
from tests.support.evidence import code_of

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
times = st.datetimes(datetime(2001, 1, 1), datetime(2099, 1, 1)).map(  # noqa: DTZ001 -- the zone is set below
    lambda at: at.replace(tzinfo=UTC, microsecond=0)
)
texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
keys = st.builds(
    lambda kind, about: Key.of(kind, **about),
    st.sampled_from(Kind),
    st.dictionaries(texts.filter(bool), texts, max_size=8),
)
items = st.builds(Item, key=keys, body=st.binary(max_size=60), chain=texts, source=texts, fetched=times)
packs = st.builds(Pack, times, st.lists(st.builds(Held, items, st.builds(Window, times, times)), max_size=3).map(tuple))
bundles = st.builds(
    Bundle,
    evidence=st.binary(max_size=60),
    collateral=st.dictionaries(texts, texts, max_size=3),
    policy=st.none() | texts,
    at=times,
)
PACK = Pack(AT, (Held(Item(key=Key.of(Kind.ROOT_CRL), body=b"x", source="s", fetched=AT), Window(AT, AT)),)).build()
BUNDLE = Bundle(evidence=b"quote", collateral={"a": "b"}, policy=None, at=AT).build()


@given(packs)
def test_a_pack_is_read_as_it_was_written(pack: Pack) -> None:
    assert Pack.parse(pack.build()) == pack


@given(bundles)
def test_a_bundle_is_read_as_it_was_written(bundle: Bundle) -> None:
    assert Bundle.parse(bundle.build()) == bundle
    assert is_bundle(bundle.build())


@pytest.mark.parametrize(("parse", "data"), [(Pack.parse, PACK), (Bundle.parse, BUNDLE)], ids=["pack", "bundle"])
@given(cut=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_damage_is_malformed(parse: Any, data: bytes, cut: int, flip: int) -> None:
    at = cut % len(data)
    changed = data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
    for damaged in (data[:at], changed):
        with contextlib.suppress(Malformed):
            found = parse(damaged)
            assert isinstance(found, Pack), "only the date of a pack is outside of what the hash covers"
            assert found.items == Pack.parse(PACK).items


def rehashed(data: bytes, **changes: Any) -> bytes:
    return json.dumps({**json.loads(data), **changes}).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "x"},
        {"items": {}},
        {"items": [1.5]},
        {"items": ["\ud800"]},
        {"created": 1},
        {"created": "now"},
        {"more": 1},
    ],
)
def test_packs_that_are_none(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        Pack.parse(rehashed(PACK, **changes))


@pytest.mark.parametrize(
    "changes",
    [{"format": "x"}, {"collateral": []}, {"collateral": {"a": 1.5}}, {"collateral": {"a": "\ud800"}}, {"policy": 1},
     {"evidence": 1}, {"at": None}, {"sha256": "0"}, {"more": 1}],
)  # fmt: skip
def test_bundles_that_are_none(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        Bundle.parse(rehashed(BUNDLE, **changes))


def test_the_collateral_of_a_bundle_is_that_of_the_verifier() -> None:
    parts = {name: name for name in Collateral.__dataclass_fields__ if not name.startswith("_")}
    assert collateral_document(Collateral.from_json(parts)) == parts
    without = Collateral.from_json({name: text for name, text in parts.items() if name != "pck_certificate_chain"})
    assert "pck_certificate_chain" not in collateral_document(without)


def test_states_of_a_window() -> None:
    window, warn = Window(AT, AT + timedelta(days=30)), timedelta(days=7)
    expected = {0: State.VALID, -1: State.NOT_YET, 23: State.VALID, 24: State.EXPIRES_SOON, 30: State.EXPIRES_SOON}
    expected[31] = State.EXPIRED
    assert {days: state_of(window, AT + timedelta(days=days), warn) for days in expected} == expected


def test_a_chips_identifier_stands_in_no_name() -> None:
    key = Key.of(Kind.VCEK, product="Milan", chip="ab" * 64, tcb="1")
    assert "abab" not in key.label
    assert "abab" not in key.name
    assert "hashed:" in key.label


def test_options_over_variables_over_defaults(tmp_path: Path) -> None:
    environment = {
        "KLOISTER_COLLATERAL_SOURCES": "https://one:1 pcs",
        "KLOISTER_COLLATERAL_CACHE": "/somewhere",
        "KLOISTER_COLLATERAL_TIMEOUT": "5",
        "KLOISTER_COLLATERAL_UPDATE": "early",
        "KLOISTER_COLLATERAL_CA": "/ca.pem",
        "KLOISTER_COLLATERAL_API_KEY": "0123",
    }
    settings = Settings.of(environment)
    assert [source.name for source in settings.sources] == ["pccs one:1", "pcs api.trustedservices.intel.com:443"]
    assert [len(source.headers) for source in settings.sources] == [0, 1]
    assert (settings.cache, settings.ca, settings.timeout) == (Path("/somewhere"), Path("/ca.pem"), 5.0)
    assert settings.update is Update.EARLY
    typed = Settings.of(environment, sources=["thim"], cache=tmp_path, ca=tmp_path, timeout=1.0, update="standard")
    assert [source.name for source in typed.sources] == ["thim global.acccache.azure.net:443"]
    assert (typed.cache, typed.ca, typed.timeout, typed.update) == (tmp_path, tmp_path, 1.0, Update.STANDARD)
    bare = Settings.of({"XDG_CACHE_HOME": "/x"})
    assert [source.name for source in bare.sources] == ["pcs api.trustedservices.intel.com:443"]
    assert bare.cache == Path("/x/kloister/collateral")


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", "601"])
def test_times_to_wait_that_are_none(text: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        Settings.of({"KLOISTER_COLLATERAL_TIMEOUT": text})
    assert caught.value.code == "collateral-timeout"


def test_baselines_that_are_none() -> None:
    with pytest.raises(Misconfigured) as caught:
        Settings.of({"KLOISTER_COLLATERAL_UPDATE": "late"})
    assert caught.value.code == "collateral-update"


@pytest.mark.parametrize("name", ["kind", "cls", "self", ""])
def test_what_a_document_is_about_may_have_any_name(name: str) -> None:
    key = Key(Kind.ROOT_CRL, ((name, "x"),))
    assert Key.from_json({"kind": "root-crl", "about": {name: "x"}}) == key


@pytest.mark.parametrize("kind", [None, 1, "", "other", ["root-crl"], {"root-crl": 1}])
def test_a_kind_that_is_not_known_is_none(kind: object) -> None:
    assert code_of(lambda: Key.from_json({"kind": "root-crl", "about": {}})) == "accepted"
    assert code_of(lambda: Key.from_json({"kind": kind, "about": {}})) == "item-key"
