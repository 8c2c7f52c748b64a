from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from kloister.errors import KloisterError, Misconfigured, Unavailable
from kloister.services.storage import ChallengeRecord, PolicyRecord, RefusalRecord, engines
from kloister.services.storage.sqlite import SqliteStorage

NONCE = bytes(range(32))


def record(version: int, name: str = "inference") -> PolicyRecord:
    return PolicyRecord("clinic", name, version, f"sha256:{version}", b"{}", 1)


def test_the_newest_version_counts_and_survives_a_restart(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "broker.db")
    with storage.transaction() as transaction:
        for version in (1, 2, 10):
            transaction.add_policy(record(version))
        transaction.add_policy(record(1, "another"))
    storage.close()
    again = SqliteStorage(tmp_path / "broker.db")
    with again.transaction() as transaction:
        assert transaction.policy("clinic", "inference") == record(10)
        assert [(one.name, one.version) for one in transaction.policies()] == [("another", 1), ("inference", 10)]
        assert transaction.policy("clinic", "nobody") is None
    again.close()


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "broker.db")
    with storage.transaction() as transaction:
        transaction.add_policy(record(1))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    storage.close()
    assert modes == dict.fromkeys(modes, 0o600)
    assert "broker.db-wal" in modes


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "broker.db")

    def fail() -> None:
        with storage.transaction() as transaction:
            transaction.add_policy(record(1))
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    with storage.transaction() as transaction:
        assert transaction.policy("clinic", "inference") is None
    storage.close()


def test_only_one_of_many_consumes_a_nonce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_BUSY", 120.0)  # seconds; a busy machine's disk may take some for each
    storage = SqliteStorage(tmp_path / "broker.db")
    with storage.transaction() as transaction:
        transaction.add_challenge(ChallengeRecord(NONCE, "peer", "clinic", "inference", 100))
    winners: list[ChallengeRecord] = []
    barrier = threading.Barrier(8)

    def consume() -> None:
        barrier.wait()
        with storage.transaction() as transaction:
            found = transaction.consume_challenge(NONCE)
        if found is not None:
            winners.append(found)

    threads = [threading.Thread(target=consume) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    storage.close()
    assert [one.peer for one in winners] == ["peer"]


def test_nonces_that_ended_do_not_count(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "broker.db")
    with storage.transaction() as transaction:
        for number, peer in enumerate(("a", "a", "b")):
            transaction.add_challenge(ChallengeRecord(bytes([number]) * 32, peer, "n", "p", 100 + number))
        assert (transaction.challenges(100, "a"), transaction.challenges(100)) == (2, 3)
        assert (transaction.challenges(101, "a"), transaction.challenges(103)) == (1, 0)
    storage.close()


def test_only_the_newest_refusals_stay(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "broker.db")
    with storage.transaction() as transaction:
        for number in range(5):
            transaction.add_refusal(RefusalRecord(f"id{number}", number, "code", b"{}"), keep=2)
        assert transaction.refusal("id2") is None
        assert transaction.refusal("id4") == RefusalRecord("id4", 4, "code", b"{}")
    storage.close()


def opened(path: Path) -> KloisterError:
    with pytest.raises(KloisterError) as caught:
        SqliteStorage(path)
    return caught.value


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    path.write_bytes(b"not a database at all" * 100)
    error = opened(path)
    assert isinstance(error, Misconfigured)
    assert error.code == "storage-damaged"
    assert path.read_bytes().startswith(b"not a database")


def test_a_later_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    SqliteStorage(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert opened(path).code == "storage-newer"


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "broker.db")

    def fill() -> None:
        with storage.transaction() as transaction:
            transaction._connection.exec_driver_sql("PRAGMA max_page_count = 1")  # the same SQLITE_FULL as a disk's
            transaction.add_policy(PolicyRecord("clinic", "big", 1, "", bytes(1 << 20), 1))

    with pytest.raises(Unavailable) as caught:
        fill()
    assert caught.value.code == "storage-full"
    storage.close()


def test_any_name_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "what?mode=ro&x%20#.db"
    SqliteStorage(path).close()
    assert path.stat().st_size > 0
