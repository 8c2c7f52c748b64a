from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from kloister.errors import Misconfigured, Unavailable
from kloister.services.broker import audit
from kloister.services.broker.vault import Vault
from kloister.services.storage import attestation, engines
from kloister.services.storage import attestation_schema as schema
from kloister.services.storage.attestation import AttestationStore
from kloister.services.storage.attestation_records import InstancePolicy, ManagementCertificate, SigningKeyRecord
from tests.support.postgresql import Server, running

URL, KIND = "https://one.test", "SgxEnclave"
VAULT = Vault(bytes(32), bytes)


def policy(version: int, sha256: str = "", kind: str = KIND, issued: int = 0) -> InstancePolicy:
    return InstancePolicy(URL, kind, version, f"token {version}", sha256 or str(version), issued, 1)


def signing_key(kid: str, begins: int) -> SigningKeyRecord:
    return SigningKeyRecord(URL, kid, "RS256", b"w", b"c", b"d", begins, begins + 10, begins + 20)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as found:
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database: every test that takes it is what any store must do."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'a.db'}"
    found: Server = request.getfixturevalue("server")
    return found.database()


@pytest.fixture
def store(url: str) -> Iterator[AttestationStore]:
    made = AttestationStore(url)
    yield made
    made.close()


def test_the_newest_policy_counts_and_survives(url: str) -> None:
    store = AttestationStore(url)
    with store.write() as transaction:
        for version in (1, 2, 10):
            transaction.add_policy(policy(version, issued=100 - version))
        transaction.add_policy(policy(3, kind="Tpm"))
    store.close()
    again = AttestationStore(url)
    with again.read() as transaction:
        assert transaction.policy(URL, KIND) == policy(10, issued=90)
        assert transaction.policy(URL, "TdxVm") is None
        assert transaction.policy("https://two.test", KIND) is None
        assert [each.version for each in transaction.policies(URL, KIND, 5)] == [10, 2, 1]
        assert transaction.had_policy(URL, KIND, "2") == 2
        assert transaction.had_policy(URL, KIND, "3") is None
        assert (transaction.last_issued(URL, KIND), transaction.last_issued(URL, "TdxVm")) == (99, 0)
    again.close()


def test_certificates_come_and_go(store: AttestationStore) -> None:
    records = [ManagementCertificate(URL, name, name.encode(), number) for number, name in enumerate("ba")]
    with store.write() as transaction:
        for record in records:
            transaction.add_certificate(record)
        assert transaction.certificates(URL) == records
        transaction.remove_certificate(URL, "b")
        transaction.remove_certificate(URL, "unknown")
        assert transaction.certificates(URL) == records[1:]


def test_keys_are_forgotten_after_their_time(store: AttestationStore) -> None:
    with store.write() as transaction:
        for kid, begins in (("late", 50), ("early", 0)):
            transaction.add_signing_key(signing_key(kid, begins))
        assert [each.kid for each in transaction.signing_keys(URL)] == ["early", "late"]
        transaction.forget_signing_keys(URL, 20)
        assert len(transaction.signing_keys(URL)) == 2
        transaction.forget_signing_keys(URL, 21)
        assert [each.kid for each in transaction.signing_keys(URL)] == ["late"]


def test_every_write_of_any_replica_is_seen(url: str, store: AttestationStore) -> None:
    other = AttestationStore(url)
    seen = store.generation()
    assert store.generation() == seen
    for writer in (store, other):
        with writer.write() as transaction:
            transaction.add_policy(policy(1, kind=str(id(writer))))
        assert store.generation() != seen
        seen = store.generation()
    other.close()


def test_a_failed_write_leaves_nothing(store: AttestationStore) -> None:
    def fail() -> None:
        with store.write() as transaction:
            transaction.add_policy(policy(1))
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    with store.read() as transaction:
        assert transaction.policy(URL, KIND) is None
        assert transaction.generation() == 1


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers wait for their turn also where the disk of a busy machine takes seconds for each commit."""
    monkeypatch.setattr(engines, "_BUSY", 120.0)
    monkeypatch.setattr(engines, "_CONNECT", 120)


def test_writers_take_turns_and_the_audit_chain_holds(store: AttestationStore, url: str) -> None:
    stores = [store, AttestationStore(url)]

    def write(number: int) -> None:
        for _ in range(5):
            with stores[number % 2].write() as transaction:
                audit.append(transaction, VAULT, 1, "event", {"writer": number})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as transaction:
        records, head = transaction.audit(0, 100), transaction.audit_head()
        assert len(transaction.audit(15, 3)) == 3
    stores[1].close()
    assert head is not None
    assert audit.head_is_genuine(head, VAULT)
    assert audit.verify([(one.sequence, one.body, one.hash) for one in records], (head.sequence, head.hash)) == 20


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    store = AttestationStore(f"sqlite:///{tmp_path / 'a.db'}")
    with store.write() as transaction:
        transaction.add_policy(policy(1))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    store.close()
    assert modes == dict.fromkeys(modes, 0o600)
    assert "a.db-wal" in modes


@pytest.mark.parametrize("text", ["", "nonsense", "mysql://host/name", "sqlite://", "postgresql://host/name"])
def test_other_databases_are_refused(text: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        AttestationStore(text)
    assert caught.value.code == "storage-url"


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "damaged.db").write_bytes(b"not a database at all" * 100)
    for name, code in (("damaged.db", "storage-damaged"), ("missing/a.db", "storage-url")):
        with pytest.raises(Misconfigured) as caught:
            AttestationStore(f"sqlite:///{tmp_path / name}")
        assert caught.value.code == code


def test_replicas_that_start_at_once_make_the_tables_once(url: str) -> None:
    opened: list[AttestationStore] = []
    threads = [threading.Thread(target=lambda: opened.append(AttestationStore(url))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.generation() for store in opened[1:]] == [opened[0].generation()] * 5
    for store in opened:
        store.close()


def test_a_migration_keeps_what_is_there_and_happens_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = AttestationStore(url)
    with store.write() as transaction:
        transaction.add_policy(policy(1))
    store.close()
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, ("CREATE TABLE later (value {bytes} NOT NULL)",)))
    for _ in range(2):
        later = AttestationStore(url)
        with later.write() as transaction:
            transaction._connection.exec_driver_sql("SELECT value FROM later")
            assert transaction.policy(URL, KIND) == policy(1)
        later.close()


def test_a_migration_that_fails_leaves_what_was(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    AttestationStore(url).close()
    with monkeypatch.context() as changed:
        changed.setattr(schema, "STEPS", (*schema.STEPS, ("CREATE TABLE later (value BIGINT)", "CREATE NONSENSE")))
        with pytest.raises(Unavailable) as caught:
            AttestationStore(url)
    assert caught.value.code == "storage-failed"
    again = AttestationStore(url)  # at the version that it had
    with again.write() as transaction:
        transaction._connection.exec_driver_sql("CREATE TABLE later (value BIGINT)")
    again.close()


def test_connections_that_the_server_ended_are_made_anew(server: Server) -> None:
    store = AttestationStore(server.database(by_socket=True))
    before = store.generation()
    with store.write() as transaction:
        transaction.add_policy(policy(1))
    server.end_sessions()
    with store.read() as transaction:
        assert transaction.policy(URL, KIND) == policy(1)
    assert store.generation() != before
    store.close()


def test_a_later_schema_is_refused(url: str) -> None:
    store = AttestationStore(url)
    with store.write() as transaction:
        transaction._connection.exec_driver_sql("UPDATE schema_version SET version = 99")
    store.close()
    with pytest.raises(Misconfigured) as caught:
        AttestationStore(url)
    assert caught.value.code == "storage-newer"


def test_a_server_that_is_away_is_said() -> None:
    with pytest.raises(Unavailable) as caught:
        AttestationStore("postgresql+psycopg://nobody@127.0.0.1:1/none")
    assert caught.value.code == "storage-failed"
    assert "nobody" not in str(caught.value)


def test_a_write_that_returned_is_seen_at_once_however_long_its_commit_took(tmp_path: Path) -> None:
    url, log = f"sqlite:///{tmp_path / 'a.db'}", tmp_path / "a.db-wal"
    store, other = AttestationStore(url), AttestationStore(url)
    try:
        seen = [store.generation(), store.generation()]
        long_ago = (1, 1)
        os.utime(log, long_ago)
        seen.append(store.generation())
        # a disk that took minutes: the log was written to that long before the commit was through
        event.listen(other._engine, "checkin", lambda *_: os.utime(log, long_ago))
        with other.write() as transaction:
            transaction.add_policy(policy(1))
        assert store.generation() not in seen
    finally:
        store.close()
        other.close()


def test_the_file_is_asked_only_after_it_was_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    original = attestation._FileWatch._asked

    def counted(self: attestation._FileWatch) -> int:
        asked.append(self)
        return original(self)

    monkeypatch.setattr(attestation._FileWatch, "_asked", counted)
    monkeypatch.setattr(attestation, "_SETTLED", 3600.0)  # however long this takes
    monkeypatch.setattr(attestation, "_TRUSTED", 3600.0)
    url, log = f"sqlite:///{tmp_path / 'a.db'}", tmp_path / "a.db-wal"
    store, other = AttestationStore(url), AttestationStore(url)
    store.generation()
    for number in range(3):
        with other.write() as transaction:
            transaction.add_policy(policy(number + 1))
        seen = [store.generation() for _ in range(3)]  # written to lately: asked each time
        os.utime(log, (1, 1 + number))  # long ago
        seen += [store.generation() for _ in range(3)]
        assert len(set(seen)) == 1
        with other.write() as transaction:
            transaction.add_policy(policy(number + 11))
        assert store.generation() != seen[0]
    assert asked.count(store._watch) == 1 + 3 * (3 + 1 + 1)
    os.utime(log, (1, 1))
    monkeypatch.setattr(attestation, "_TRUSTED", 0.0)
    assert len({store.generation() for _ in range(3)}) == 1
    assert asked.count(store._watch) == 1 + 3 * (3 + 1 + 1) + 3
    store.close()
    other.close()
