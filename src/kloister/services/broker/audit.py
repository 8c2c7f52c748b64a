"""The audit log: entries chained by hash, the end of the chain authenticated under the broker's root key.

A changed, removed, added or reordered entry breaks the chain; a shortened chain does not match the head; a forged head
needs the root key. What is not seen: an older copy of the whole database put back.
Compare the head with a remembered one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from kloister.errors import KloisterError, Unverified
from kloister.formats.wire import canonical_json, load_json
from kloister.services.broker.vault import Vault
from kloister.services.storage import AuditHead, AuditRecord

START = bytes(32)  # the hash before the first entry
_DOMAIN = b"kloister/audit/v1"
_MAX_ENTRY = 64 * 1024  # bytes; entries hold names and codes, no documents


class Log(Protocol):
    """As much of a transaction as the log needs."""

    def audit_head(self) -> AuditHead | None:
        """The end of the chain."""

    def append_audit(self, record: AuditRecord, head: AuditHead) -> None:
        """Append an entry and move the head to it."""


def entry_hash(body: bytes) -> bytes:
    """SHA-256 (32 bytes) of an entry's canonical JSON under this log's own prefix."""
    return hashlib.sha256(_DOMAIN + body).digest()


def append(transaction: Log, vault: Vault, at: int, event: str, facts: Mapping[str, Any]) -> AuditRecord:
    """Append an entry in the caller's transaction: it is on disk before, or together with, what it speaks of."""
    head = transaction.audit_head()
    sequence, previous = (head.sequence + 1, head.hash) if head else (1, START)
    fields = {"sequence": sequence, "at": at, "event": event, "previous": previous.hex(), **facts}
    body = canonical_json(fields)
    record = AuditRecord(sequence, body, entry_hash(body))
    transaction.append_audit(record, AuditHead(sequence, record.hash, vault.authenticate(_head(sequence, record.hash))))
    return record


def head_is_genuine(head: AuditHead, vault: Vault) -> bool:
    """Whether the head was written with this root key."""
    return hmac.compare_digest(head.mac, vault.authenticate(_head(head.sequence, head.hash)))


def verify(
    records: Iterable[tuple[int, bytes, bytes]],
    head: tuple[int, bytes] | None,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Walk a chain from its start; the number of entries.

    Args:
        records: (sequence, body, hash) from the first entry on, in order.
        head: (sequence, hash) of the end, None for an empty log.
        progress: told each sequence number that was found sound.

    Raises:
        Unverified: `audit-broken`, naming the first entry that does not fit.
    """
    previous, count = START, 0
    for sequence, body, digest in records:
        count += 1
        fields = _fields(body, count)
        if sequence != count or fields.get("sequence") != count or fields.get("previous") != previous.hex():
            raise _broken(count, "it does not follow the entry before it")
        if canonical_json(fields) != body or not hmac.compare_digest(entry_hash(body), digest):
            raise _broken(count, "its content does not have its hash")
        previous = digest
        progress(count)
    if (count, previous) != (head or (0, START)):
        raise _broken(count + 1, f"the log's end is authenticated as entry {head[0] if head else 0}")
    return count


def _fields(body: bytes, number: int) -> dict[str, Any]:
    try:
        fields = load_json(body, "audit", _MAX_ENTRY)
    except KloisterError:
        raise _broken(number, "it cannot be read") from None
    if not isinstance(fields, dict):
        raise _broken(number, "it cannot be read")
    return fields


def _broken(number: int, why: str) -> Unverified:
    return Unverified(
        "audit-broken",
        f"The audit log is not whole at entry {number}: {why}.",
        "Somebody changed the database. Keep it as evidence, and restore from a copy.",
    )


def _head(sequence: int, digest: bytes) -> bytes:
    return sequence.to_bytes(8, "big") + digest
