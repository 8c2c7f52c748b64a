from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kloister.errors import Misconfigured
from kloister.formats.tokens import Algorithm, JwkSet, Jws
from kloister.services.attestation.keys import KeyKeeper, KeyRing
from kloister.services.broker.vault import Vault
from kloister.services.storage.attestation import AttestationStore

URL, DAY = "https://one.test", 86400
ROTATION, VALIDITY = 10 * DAY, 8 * 3600
START = 1_800_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AttestationStore]:
    made = AttestationStore(f"sqlite:///{tmp_path / 'a.db'}")
    yield made
    made.close()


def keeper(root: bytes = bytes(32), algorithm: Algorithm = Algorithm.ES256) -> KeyKeeper:
    return KeyKeeper(Vault(root, os.urandom), algorithm, ROTATION, VALIDITY)


def at(store: AttestationStore, now: int, keys: KeyKeeper | None = None) -> tuple[KeyRing, int]:
    """The ring at a time, after the maintenance of that time; and how many keys that made."""
    keys = keys or keeper()
    with store.write() as transaction:
        made = keys.keep(transaction, URL, now, os.urandom)
    with store.read() as transaction:
        records = transaction.signing_keys(URL)
        assert not keys.due(records, now)
        return keys.ring(records, URL, now), len(made)


def kids(ring: KeyRing) -> list[str]:
    return [key["kid"] for key in ring.jwks["keys"]]


def test_a_key_signs_for_its_time_and_is_published_around_it(store: AttestationStore) -> None:
    first, made = at(store, START)
    assert made == 1
    assert kids(first) == [first.current.kid]
    assert at(store, START + ROTATION - DAY - 1)[1] == 0

    before, made = at(store, START + ROTATION - 3600)
    assert made == 1
    assert before.current.kid == first.current.kid
    assert kids(before)[0] == first.current.kid
    assert len(kids(before)) == 2

    after, _ = at(store, START + ROTATION + 1)
    assert after.current.kid == kids(before)[1]
    assert set(kids(after)) == set(kids(before))

    later, _ = at(store, START + ROTATION + VALIDITY + 1)
    assert kids(later) == [after.current.kid]


def test_tokens_of_both_keys_verify_in_the_overlap(store: AttestationStore) -> None:
    old, _ = at(store, START)
    at(store, START + ROTATION - 3600)
    new, _ = at(store, START + ROTATION + 1)
    published = JwkSet((*JwkSet.parse(_json(new)).keys,))
    for ring in (old, new):
        jws = Jws.parse(ring.current.sign(b'{"a":1}'))
        (key,) = published.named(jws.kid)
        jws.check_signed_by(key.key)


def test_after_a_long_sleep_a_new_key_signs_at_once(store: AttestationStore) -> None:
    first, _ = at(store, START)
    ring, made = at(store, START + 5 * ROTATION)
    assert made == 1
    assert kids(ring) == [ring.current.kid] != [first.current.kid]


def test_another_algorithm_begins_at_once_and_the_old_key_stays_published(store: AttestationStore) -> None:
    first, _ = at(store, START)
    ring, _ = at(store, START + 60, keeper(algorithm=Algorithm.ES384))
    assert Jws.parse(ring.current.sign(b"{}")).algorithm == "ES384"
    assert kids(ring) == [ring.current.kid, first.current.kid]


def test_two_replicas_make_one_key(store: AttestationStore) -> None:
    assert [at(store, START)[1], at(store, START, keeper())[1]] == [1, 0]


def test_another_root_key_opens_nothing(store: AttestationStore) -> None:
    at(store, START)
    with pytest.raises(Misconfigured) as caught:
        at(store, START, keeper(bytes([1]) * 32))
    assert caught.value.code == "attestation-key-damaged"


def test_without_a_key_nothing_is_signed() -> None:
    with pytest.raises(Misconfigured) as caught:
        keeper().ring([], URL, START)
    assert caught.value.code == "attestation-key-missing"


def test_no_private_key_stands_in_the_database(store: AttestationStore, tmp_path: Path) -> None:
    at(store, START)
    data = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"PRIVATE KEY" not in data


def _json(ring: KeyRing) -> bytes:
    import json

    return json.dumps(ring.jwks).encode()
