"""The tables, as SQLAlchemy Core sees them; `migrations` creates them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, String, Table

METADATA = MetaData()

POLICIES = Table(
    "policies",
    METADATA,
    Column("namespace", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("sha256", String),
    Column("document", LargeBinary),
    Column("applied", BigInteger),
)

SECRETS = Table(
    "secrets",
    METADATA,
    Column("id", String, primary_key=True),
    Column("namespace", String),
    Column("policy", String),
    Column("name", String),
    Column("version", Integer),
    Column("kind", String),
    Column("recipe", String),
    Column("wrapped", LargeBinary),
    Column("ciphertext", LargeBinary),
    Column("public", String),
    Column("origin", String),
    Column("created", BigInteger),
    Column("expires", BigInteger),
)

CHALLENGES = Table(
    "challenges",
    METADATA,
    Column("nonce", LargeBinary, primary_key=True),
    Column("peer", String),
    Column("namespace", String),
    Column("policy", String),
    Column("expires", BigInteger),
)

REFUSALS = Table(
    "refusals",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("id", String),
    Column("at", BigInteger),
    Column("code", String),
    Column("detail", LargeBinary),
)
