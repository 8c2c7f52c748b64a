"""The attestation service's tables, and the numbered steps that make them; a step that was released is never changed.

The statements are those that SQLite and PostgreSQL share; `{bytes}` stands for the type of byte strings.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, String, Table

METADATA = MetaData()

STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE instance_policies (
            instance TEXT NOT NULL, kind TEXT NOT NULL, version BIGINT NOT NULL, token TEXT NOT NULL,
            sha256 TEXT NOT NULL, issued BIGINT NOT NULL, applied BIGINT NOT NULL,
            PRIMARY KEY (instance, kind, version))""",
        """CREATE TABLE management_certificates (
            instance TEXT NOT NULL, sha256 TEXT NOT NULL, certificate {bytes} NOT NULL, added BIGINT NOT NULL,
            PRIMARY KEY (instance, sha256))""",
        """CREATE TABLE signing_keys (
            instance TEXT NOT NULL, kid TEXT NOT NULL, algorithm TEXT NOT NULL, wrapped {bytes} NOT NULL,
            ciphertext {bytes} NOT NULL, certificate {bytes} NOT NULL, begins BIGINT NOT NULL, ends BIGINT NOT NULL,
            forgotten BIGINT NOT NULL, PRIMARY KEY (instance, kid))""",
        "CREATE TABLE audit (sequence BIGINT PRIMARY KEY, body {bytes} NOT NULL, hash {bytes} NOT NULL)",
        """CREATE TABLE audit_head (
            one BIGINT PRIMARY KEY CHECK (one = 1), sequence BIGINT NOT NULL, hash {bytes} NOT NULL,
            mac {bytes} NOT NULL)""",
        "CREATE TABLE generation (one BIGINT PRIMARY KEY CHECK (one = 1), number BIGINT NOT NULL)",
        "INSERT INTO generation (one, number) VALUES (1, 1)",
    ),
)

VERSION = Table("schema_version", METADATA, Column("version", BigInteger))

GENERATION = Table("generation", METADATA, Column("one", BigInteger, primary_key=True), Column("number", BigInteger))

POLICIES = Table(
    "instance_policies",
    METADATA,
    Column("instance", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("token", String),
    Column("sha256", String),
    Column("issued", BigInteger),
    Column("applied", BigInteger),
)

CERTIFICATES = Table(
    "management_certificates",
    METADATA,
    Column("instance", String, primary_key=True),
    Column("sha256", String, primary_key=True),
    Column("certificate", LargeBinary),
    Column("added", BigInteger),
)

KEYS = Table(
    "signing_keys",
    METADATA,
    Column("instance", String, primary_key=True),
    Column("kid", String, primary_key=True),
    Column("algorithm", String),
    Column("wrapped", LargeBinary),
    Column("ciphertext", LargeBinary),
    Column("certificate", LargeBinary),
    Column("begins", BigInteger),
    Column("ends", BigInteger),
    Column("forgotten", BigInteger),
)
