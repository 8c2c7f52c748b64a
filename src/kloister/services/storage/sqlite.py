from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.exc import SQLAlchemyError

from kloister.errors import KloisterError, Misconfigured
from kloister.services.storage import schema
from kloister.services.storage.auditing import AuditedTransaction
from kloister.services.storage.engines import sqlite_engine, translated
from kloister.services.storage.migrations import STEPS
from kloister.services.storage.records import ChallengeRecord, PolicyRecord, RefusalRecord, SecretRecord


class SqliteStorage:
    """One SQLite file in WAL mode with full synchronisation: a commit that returned survives a power cut.

    Args:
        path: the file, made with mode 0600 if it is not there; its log files inherit the mode.

    Raises:
        Misconfigured: `storage-damaged`, `storage-newer`, not a database of ours, or one of a later version.
        Unavailable: `storage-full`, `storage-failed`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # each takes the write lock at once: it reads nothing that a later write of its own makes stale
        self._engine = sqlite_engine(path, "BEGIN IMMEDIATE")
        try:
            self._migrate()
        except KloisterError:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[SqliteTransaction]:
        """All or nothing, serialised with every other transaction from its first statement on."""
        try:
            with self._engine.begin() as connection:
                yield SqliteTransaction(connection)
        except SQLAlchemyError as error:
            raise translated(error, str(self._path)) from None

    def close(self) -> None:
        """Close every connection; the last one folds the log into the file."""
        self._engine.dispose()

    def _migrate(self) -> None:
        with self.transaction() as transaction:
            version = transaction.schema_version()
            if version > len(STEPS):
                raise Misconfigured(
                    "storage-newer",
                    f"{self._path} was written by a later version of Kloister.",
                    "Use that version, or another state directory.",
                )
            transaction.migrate(version)


class SqliteTransaction(AuditedTransaction):
    """The statements of one transaction; the records' fields are the tables' columns."""

    def schema_version(self) -> int:
        """How many migration steps were applied."""
        return int(self._connection.execute(text("PRAGMA user_version")).scalar_one())

    def migrate(self, version: int) -> None:
        """Apply the steps after `version`."""
        for step in STEPS[version:]:
            for statement in step:
                self._connection.execute(text(statement))
        self._connection.execute(text(f"PRAGMA user_version = {len(STEPS)}"))

    def add_policy(self, record: PolicyRecord) -> None:
        """Append a version of a policy."""
        self._connection.execute(insert(schema.POLICIES), asdict(record))

    def policy(self, namespace: str, name: str) -> PolicyRecord | None:
        """The newest version."""
        table = schema.POLICIES.c
        query = select(schema.POLICIES).where(table.namespace == namespace, table.name == name)
        return self._first(query.order_by(table.version.desc()), PolicyRecord)

    def policies(self) -> Sequence[PolicyRecord]:
        """The newest version of every policy, by namespace and name."""
        table = schema.POLICIES.c
        newest = select(table.namespace, table.name, func.max(table.version).label("version"))
        latest = newest.group_by(table.namespace, table.name).subquery()
        query = select(schema.POLICIES).join(
            latest,
            (table.namespace == latest.c.namespace)
            & (table.name == latest.c.name)
            & (table.version == latest.c.version),
        )
        return self._all(query.order_by(table.namespace, table.name), PolicyRecord)

    def add_secret(self, record: SecretRecord) -> None:
        """Append a version of a secret."""
        self._connection.execute(insert(schema.SECRETS), asdict(record))

    def secret(self, namespace: str, policy: str, name: str) -> SecretRecord | None:
        """The newest version."""
        table = schema.SECRETS.c
        query = select(schema.SECRETS).where(table.namespace == namespace, table.policy == policy, table.name == name)
        return self._first(query.order_by(table.version.desc()), SecretRecord)

    def add_challenge(self, record: ChallengeRecord) -> None:
        """Remember a nonce."""
        self._connection.execute(insert(schema.CHALLENGES), asdict(record))

    def challenges(self, now: int, peer: str | None = None) -> int:
        """How many nonces are outstanding; those that ended are dropped."""
        table = schema.CHALLENGES.c
        self._connection.execute(delete(schema.CHALLENGES).where(table.expires < now))
        query = select(func.count()).select_from(schema.CHALLENGES)
        return int(self._connection.execute(query if peer is None else query.where(table.peer == peer)).scalar_one())

    def consume_challenge(self, nonce: bytes) -> ChallengeRecord | None:
        """Remove the nonce and return what it was; None if it is not there."""
        table = schema.CHALLENGES
        statement = delete(table).where(table.c.nonce == nonce).returning(*table.c)
        row = self._connection.execute(statement).mappings().first()
        return None if row is None else ChallengeRecord(**row)

    def add_refusal(self, record: RefusalRecord, keep: int) -> None:
        """Remember a refusal; only the newest `keep` stay."""
        table = schema.REFUSALS
        number = self._connection.execute(insert(table), asdict(record)).inserted_primary_key
        if number is not None:
            self._connection.execute(delete(table).where(table.c.number <= number[0] - keep))

    def refusal(self, identifier: str) -> RefusalRecord | None:
        """The refusal of that id."""
        table = schema.REFUSALS.c
        query = select(table.id, table.at, table.code, table.detail).where(table.id == identifier)
        return self._first(query, RefusalRecord)
