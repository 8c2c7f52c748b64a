"""The audit log's tables and statements, the same in every store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, MetaData, Table, delete, insert, select

from kloister.services.storage.records import AuditHead, AuditRecord

R = TypeVar("R")
METADATA = MetaData()

AUDIT = Table(
    "audit",
    METADATA,
    Column("sequence", BigInteger, primary_key=True),
    Column("body", LargeBinary),
    Column("hash", LargeBinary),
)

AUDIT_HEAD = Table(
    "audit_head",
    METADATA,
    Column("one", Integer, primary_key=True),
    Column("sequence", BigInteger),
    Column("hash", LargeBinary),
    Column("mac", LargeBinary),
)


class AuditedTransaction:
    """Statements of one transaction, those of the audit log among them; records' fields are the tables' columns."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def audit_head(self) -> AuditHead | None:
        """The end of the audit chain."""
        table = AUDIT_HEAD.c
        return self._first(select(table.sequence, table.hash, table.mac), AuditHead)

    def append_audit(self, record: AuditRecord, head: AuditHead) -> None:
        """Append an entry and move the head to it."""
        self._connection.execute(insert(AUDIT), asdict(record))
        self._connection.execute(delete(AUDIT_HEAD))
        self._connection.execute(insert(AUDIT_HEAD), {"one": 1, **asdict(head)})

    def audit(self, after: int, limit: int) -> Sequence[AuditRecord]:
        """Up to `limit` entries whose sequence is greater than `after`, in order."""
        table = AUDIT.c
        return self._all(select(AUDIT).where(table.sequence > after).order_by(table.sequence).limit(limit), AuditRecord)

    def _first(self, query: Any, kind: type[R]) -> R | None:
        row = self._connection.execute(query.limit(1)).mappings().first()
        return None if row is None else kind(**row)

    def _all(self, query: Any, kind: type[R]) -> list[R]:
        return [kind(**row) for row in self._connection.execute(query).mappings()]
