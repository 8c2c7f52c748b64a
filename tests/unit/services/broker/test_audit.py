from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from kloister import entropy
from kloister.errors import Unverified
from kloister.services.broker import audit
from kloister.services.broker.vault import Vault
from tests.support.broker import Rig

Entries = list[tuple[int, bytes, bytes]]


@dataclass
class Log:
    entries: Entries
    head: tuple[int, bytes]


@pytest.fixture
def log(rig: Rig) -> Log:
    with rig.storage.transaction() as transaction:
        for number in range(4):
            audit.append(transaction, rig.vault, 1000 + number, "event", {"number": number})
        entries = [(one.sequence, one.body, one.hash) for one in transaction.audit(0, 10)]
        head = transaction.audit_head()
    assert head is not None
    return Log(entries, (head.sequence, head.hash))


def rehashed(entries: Entries, index: int, old: bytes, new: bytes) -> Entries:
    sequence, body, _ = entries[index]
    changed = body.replace(old, new)
    assert changed != body
    return [*entries[:index], (sequence, changed, audit.entry_hash(changed)), *entries[index + 1 :]]


def test_a_whole_log_verifies(log: Log) -> None:
    assert audit.verify(log.entries, log.head) == 4
    assert audit.verify([], None) == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e[:-1],
        lambda e: e[1:],
        lambda e: e[:1] + e[2:],
        lambda e: [e[1], e[0], *e[2:]],
        lambda e: [*e, e[-1]],
        lambda e: e[:0],
        lambda e: [(e[0][0], e[0][1].replace(b"1000", b"1001"), e[0][2]), *e[1:]],
        lambda e: rehashed(e, 1, b"event", b"tneve"),
        lambda e: rehashed(e, 3, b"event", b"tneve"),
        lambda e: [(e[0][0], b"{", e[0][2]), *e[1:]],
        lambda e: [(e[0][0], b"[]", e[0][2]), *e[1:]],
        lambda e: [(e[0][0], e[0][1] + b" ", audit.entry_hash(e[0][1] + b" ")), *e[1:]],
    ],
)
def test_every_change_is_found(log: Log, change: Callable[[Entries], Entries]) -> None:
    with pytest.raises(Unverified) as caught:
        audit.verify(change(list(log.entries)), log.head)
    assert caught.value.code == "audit-broken"
    assert audit.verify(log.entries, log.head) == 4


def test_a_head_that_was_written_without_the_root_key_is_not_genuine(rig: Rig, log: Log) -> None:
    assert rig.admin.audit(0)["head"]["genuine"] is True
    database = sqlite3.connect(rig.directory / "broker.db")
    database.execute("DELETE FROM audit WHERE sequence = 4")
    database.execute("UPDATE audit_head SET sequence = 3, hash = ?", (log.entries[2][2],))
    database.commit()
    database.close()
    assert rig.admin.audit(0)["head"]["genuine"] is False
    with rig.storage.transaction() as transaction:
        head = transaction.audit_head()
    assert head is not None
    assert not audit.head_is_genuine(head, Vault(bytes(32), entropy.draw))


def test_pages(rig: Rig, log: Log) -> None:
    assert [one["sequence"] for one in rig.admin.audit(2)["entries"]] == [3, 4]
    assert [one["sequence"] for one in rig.admin.audit(0, limit=1)["entries"]] == [1]
    assert rig.admin.audit(4)["entries"] == []
    assert log.head[0] == 4
