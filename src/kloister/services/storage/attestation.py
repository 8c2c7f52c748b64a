"""The attestation service's store: one text of SQLAlchemy Core for SQLite and PostgreSQL."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict

from sqlalchemy import Engine, delete, func, insert, select, text, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from kloister import clock
from kloister.errors import KloisterError, Misconfigured, Unavailable
from kloister.services.storage import attestation_schema as schema
from kloister.services.storage.attestation_records import InstancePolicy, ManagementCertificate, SigningKeyRecord
from kloister.services.storage.auditing import AuditedTransaction
from kloister.services.storage.engines import postgresql_engine, sqlite_engine, translated

_SETTLED = 10.0  # seconds after which what was written is committed, and another write has another time
_TRUSTED = 1.0  # seconds after which SQLite is asked in any case
_LOCK = 0x6B6C6F6973746572  # "kloister": the advisory lock of PostgreSQL that writers take in turn
_DRIVERS = ("sqlite", "postgresql+psycopg")


class AttestationStore:
    """Policies, certificates, keys and the audit log of all instances; replicas share one.

    Args:
        url: `sqlite:///PATH` or `postgresql+psycopg://USER@HOST/NAME`.

    Raises:
        Misconfigured: `storage-url`, `storage-damaged`, `storage-newer`.
        Unavailable: `storage-full`, `storage-failed`.
    """

    def __init__(self, url: str) -> None:
        self._url = _checked(url)
        self._engine = _sqlite(self._url) if self._is_sqlite else postgresql_engine(self._url)
        self._watch: _FileWatch | None = None
        try:
            self._migrate()
        except KloisterError:
            self.close()
            raise
        if self._is_sqlite:
            self._watch = _FileWatch(self._url.database or "")

    @contextmanager
    def read(self) -> Iterator[AttestationTransaction]:
        """A transaction that only reads, all of one moment."""
        with self._transaction() as transaction:
            if not self._is_sqlite:
                transaction.freeze()
            yield transaction

    @contextmanager
    def write(self) -> Iterator[AttestationTransaction]:
        """All or nothing, in turn with every other writer; on leaving normally it is on disk, and seen by everybody."""
        with self.note() as transaction:
            yield transaction
            transaction.advance()
        if self._watch is not None:
            self._watch.tell()

    @contextmanager
    def note(self) -> Iterator[AttestationTransaction]:
        """As `write`, for what changes nothing that is in force: the generation stays."""
        with self._transaction() as transaction:
            transaction.lock(sqlite=self._is_sqlite)
            yield transaction

    def generation(self) -> int:
        """A number that every `write` of any replica has changed when it returns: cheap enough for each request."""
        if self._watch is not None:
            return self._watch.generation()
        with self._transaction() as transaction:
            return transaction.generation()

    def close(self) -> None:
        """Let go of the store."""
        if self._watch is not None:
            self._watch.close()
        self._engine.dispose()

    @property
    def local(self) -> bool:
        """Whether it is a file of this machine, so that reading never waits for a network."""
        return self._is_sqlite

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @contextmanager
    def _transaction(self) -> Iterator[AttestationTransaction]:
        try:
            with self._engine.begin() as connection:
                yield AttestationTransaction(connection)
        except SQLAlchemyError as error:
            raise translated(error, self._name) from None

    @property
    def _name(self) -> str:
        return self._url.database or "" if self._is_sqlite else f"PostgreSQL at {self._url.host}"

    def _migrate(self) -> None:
        with self._transaction() as transaction:
            transaction.lock(sqlite=self._is_sqlite)
            transaction.migrate("BLOB" if self._is_sqlite else "BYTEA", self._name)


class _FileWatch:
    """Sees that a file of SQLite was changed by any other connection, without a transaction (PRAGMA data_version).

    SQLite is asked only if its log (PATH-wal), to which every commit writes and which stays while anybody is connected,
    was written to since, or so shortly before that the commit may not be through, or the next have the same time. Who
    has committed touches the log: however long that took, it has a new time, and what `tell` returned from is seen by
    all. What others than this class write is seen when its commit is through, or `_TRUSTED` later.
    """

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._log: int | None = None
        # when the log was written, until when that counts, the number
        self._known: tuple[float, float, int] | None = None
        self._path = path

    def generation(self) -> int:
        """A number that changes with every commit of others; this connection makes none."""
        if self._log is None:
            number = self._asked()
            with self._lock, suppress(OSError):  # there is a log from here on
                self._log = self._log or os.open(f"{self._path}-wal", os.O_RDONLY | os.O_CLOEXEC)
            return number
        now, known, written = clock.monotonic(), self._known, os.fstat(self._log).st_mtime
        if known is not None and known[0] == written and now < known[1]:
            return known[2]
        number = self._asked()
        settled = clock.now().timestamp() - written > _SETTLED
        self._known = (written, now + _TRUSTED, number) if settled else None
        return number

    def tell(self) -> None:
        """Have all look, after a commit; where the log cannot be touched they do within `_TRUSTED`."""
        with suppress(OSError):
            os.utime(f"{self._path}-wal")

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
        if self._log is not None:
            os.close(self._log)

    def _asked(self) -> int:
        try:
            with self._lock:
                return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error as error:
            raise Unavailable("storage-failed", f"The database cannot be used now: {error}.", "Try again.") from None


def _checked(text_: str) -> URL:
    try:
        url = make_url(text_)
    except SQLAlchemyError:
        url = None
    if url is None or url.drivername not in _DRIVERS or not url.database:
        raise Misconfigured(
            "storage-url",
            "The database is neither sqlite:///PATH nor postgresql+psycopg://USER@HOST/NAME.",
            "See docs/how-to/attestation.md.",
        )
    return url


def _sqlite(url: URL) -> Engine:
    path = url.database or ""
    try:
        return sqlite_engine(path, "BEGIN")
    except OSError as error:
        raise Misconfigured("storage-url", f"{path}: {error.strerror}.", "Name a place that can be written.") from None


class AttestationTransaction(AuditedTransaction):
    """The statements of one transaction; the records' fields are the tables' columns."""

    def lock(self, *, sqlite: bool) -> None:
        """Become the one writer until the end."""
        if sqlite:
            self._connection.exec_driver_sql("ROLLBACK")
            self._connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            self._connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))

    def freeze(self) -> None:
        """See one moment (PostgreSQL; SQLite does so anyway)."""
        self._connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

    def migrate(self, type_of_bytes: str, name: str) -> None:
        """Apply the steps that are missing. Raises `Misconfigured`: `storage-newer`."""
        self._connection.execute(text("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)"))
        found = self._connection.execute(select(schema.VERSION.c.version)).scalar_one_or_none()
        version = int(found or 0)
        if version > len(schema.STEPS):
            raise Misconfigured(
                "storage-newer", f"{name} was written by a later version of Kloister.", "Use that version."
            )
        for step in schema.STEPS[version:]:
            for statement in step:
                self._connection.execute(text(statement.format(bytes=type_of_bytes)))
        self._connection.execute(delete(schema.VERSION))
        self._connection.execute(insert(schema.VERSION), {"version": len(schema.STEPS)})

    def generation(self) -> int:
        """See `AttestationStore.generation`."""
        return int(self._connection.execute(select(schema.GENERATION.c.number)).scalar_one())

    def advance(self) -> None:
        """Change the generation."""
        self._connection.execute(update(schema.GENERATION).values(number=schema.GENERATION.c.number + 1))

    def add_policy(self, record: InstancePolicy) -> None:
        """Append a version of a policy."""
        self._connection.execute(insert(schema.POLICIES), asdict(record))

    def policy(self, instance: str, kind: str) -> InstancePolicy | None:
        """The newest version; its token is empty where it was reset."""
        return next(iter(self.policies(instance, kind)), None)

    def policies(self, instance: str, kind: str, limit: int = 1) -> Sequence[InstancePolicy]:
        """Up to `limit` versions, the newest first."""
        table = schema.POLICIES.c
        query = select(schema.POLICIES).where(table.instance == instance, table.kind == kind)
        return self._all(query.order_by(table.version.desc()).limit(limit), InstancePolicy)

    def had_policy(self, instance: str, kind: str, sha256: str) -> int | None:
        """The newest version with this hash."""
        table = schema.POLICIES.c
        query = select(func.max(table.version)).where(
            table.instance == instance, table.kind == kind, table.sha256 == sha256
        )
        return self._connection.execute(query).scalar_one_or_none()

    def last_issued(self, instance: str, kind: str) -> int:
        """The greatest `iat` of any version, 0 where none had one."""
        table = schema.POLICIES.c
        query = select(func.max(table.issued)).where(table.instance == instance, table.kind == kind)
        return int(self._connection.execute(query).scalar_one_or_none() or 0)

    def certificates(self, instance: str) -> Sequence[ManagementCertificate]:
        """All of an instance, in the order in which they were added."""
        table = schema.CERTIFICATES.c
        query = select(schema.CERTIFICATES).where(table.instance == instance)
        return self._all(query.order_by(table.added, table.sha256), ManagementCertificate)

    def add_certificate(self, record: ManagementCertificate) -> None:
        """Add one that is not there."""
        self._connection.execute(insert(schema.CERTIFICATES), asdict(record))

    def remove_certificate(self, instance: str, sha256: str) -> None:
        """Remove one, if it is there."""
        table = schema.CERTIFICATES
        self._connection.execute(delete(table).where(table.c.instance == instance, table.c.sha256 == sha256))

    def signing_keys(self, instance: str) -> Sequence[SigningKeyRecord]:
        """All of an instance, by when they begin."""
        table = schema.KEYS.c
        query = select(schema.KEYS).where(table.instance == instance)
        return self._all(query.order_by(table.begins, table.kid), SigningKeyRecord)

    def add_signing_key(self, record: SigningKeyRecord) -> None:
        """Add one."""
        self._connection.execute(insert(schema.KEYS), asdict(record))

    def forget_signing_keys(self, instance: str, at: int) -> None:
        """Remove those that are to be forgotten by `at`."""
        table = schema.KEYS
        self._connection.execute(delete(table).where(table.c.instance == instance, table.c.forgotten < at))
