"""Numbered steps from an empty database to the present schema; a step that was released is never changed."""

from __future__ import annotations

STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE policies (
            namespace TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
            sha256 TEXT NOT NULL, document BLOB NOT NULL, applied INTEGER NOT NULL,
            PRIMARY KEY (namespace, name, version)) WITHOUT ROWID""",
        """CREATE TABLE secrets (
            id TEXT PRIMARY KEY, namespace TEXT NOT NULL, policy TEXT NOT NULL, name TEXT NOT NULL,
            version INTEGER NOT NULL, kind TEXT NOT NULL, recipe TEXT NOT NULL, wrapped BLOB NOT NULL,
            ciphertext BLOB NOT NULL, public TEXT NOT NULL, origin TEXT NOT NULL,
            created INTEGER NOT NULL, expires INTEGER NOT NULL,
            UNIQUE (namespace, policy, name, version))""",
        """CREATE TABLE challenges (
            nonce BLOB PRIMARY KEY, peer TEXT NOT NULL, namespace TEXT NOT NULL, policy TEXT NOT NULL,
            expires INTEGER NOT NULL) WITHOUT ROWID""",
        "CREATE INDEX challenges_peer ON challenges (peer)",
        "CREATE INDEX challenges_expires ON challenges (expires)",
        """CREATE TABLE refusals (
            number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at INTEGER NOT NULL, code TEXT NOT NULL,
            detail BLOB NOT NULL)""",
        "CREATE TABLE audit (sequence INTEGER PRIMARY KEY, body BLOB NOT NULL, hash BLOB NOT NULL)",
        """CREATE TABLE audit_head (
            one INTEGER PRIMARY KEY CHECK (one = 1), sequence INTEGER NOT NULL, hash BLOB NOT NULL,
            mac BLOB NOT NULL)""",
    ),
)
