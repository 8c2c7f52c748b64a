"""Engines of SQLAlchemy, and what their errors mean to people."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from kloister.errors import KloisterError, Misconfigured, Unavailable

_BUSY = 10.0  # seconds to wait for another writer
_CONNECT = 5  # seconds to wait for PostgreSQL


def sqlite_engine(path: str | Path, begin: str) -> Engine:
    """One SQLite file in WAL mode with full synchronisation: a commit that returned survives a power cut.

    Args:
        path: made with mode 0600 if it is not there; its log files inherit the mode. Raises OSError.
        begin: the statement by which transactions begin.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    engine = create_engine(
        URL.create("sqlite", database=str(path)), connect_args={"timeout": _BUSY}, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # transactions begin below, not in the driver
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def postgresql_engine(url: URL) -> Engine:
    """A pool of connections."""
    return create_engine(
        url,
        connect_args={"connect_timeout": _CONNECT},
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_size=4,
        max_overflow=12,
        hide_parameters=True,
    )


def translated(error: SQLAlchemyError, name: str) -> KloisterError:
    """The same for people: `storage-full`, `storage-damaged`, `storage-failed`; never with what was stored."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    kind = getattr(cause, "sqlite_errorname", "") or type(cause or error).__name__
    if kind in ("SQLITE_FULL", "DiskFull"):
        return Unavailable("storage-full", f"The disk of {name} is full.", "Free some space there.")
    if kind in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
        hint = "Restore it from a copy, or move it away to begin anew without what it holds."
        return Misconfigured("storage-damaged", f"{name} is not a sound database.", hint)
    return Unavailable("storage-failed", f"{name} cannot be used now: {kind}.")
