from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from kloister.services.storage.records import (
    AuditHead,
    AuditRecord,
    ChallengeRecord,
    PolicyRecord,
    RefusalRecord,
    SecretRecord,
)


class Transaction(Protocol):
    """What can be read and written in one transaction; writers are serialised."""

    def add_policy(self, record: PolicyRecord) -> None:
        """Append a version of a policy."""

    def policy(self, namespace: str, name: str) -> PolicyRecord | None:
        """The newest version."""

    def policies(self) -> Sequence[PolicyRecord]:
        """The newest version of every policy, by namespace and name."""

    def add_secret(self, record: SecretRecord) -> None:
        """Append a version of a secret."""

    def secret(self, namespace: str, policy: str, name: str) -> SecretRecord | None:
        """The newest version."""

    def add_challenge(self, record: ChallengeRecord) -> None:
        """Remember a nonce."""

    def challenges(self, now: int, peer: str | None = None) -> int:
        """How many nonces are outstanding at `now`, of one peer or of all; those that ended are dropped."""

    def consume_challenge(self, nonce: bytes) -> ChallengeRecord | None:
        """Remove the nonce and return what it was; None if it is not there. Only one caller ever gets it."""

    def add_refusal(self, record: RefusalRecord, keep: int) -> None:
        """Remember a refusal; only the newest `keep` stay."""

    def refusal(self, identifier: str) -> RefusalRecord | None:
        """The refusal of that id."""

    def audit_head(self) -> AuditHead | None:
        """The end of the audit chain."""

    def append_audit(self, record: AuditRecord, head: AuditHead) -> None:
        """Append an entry and move the head to it."""

    def audit(self, after: int, limit: int) -> Sequence[AuditRecord]:
        """Up to `limit` entries whose sequence is greater than `after`, in order."""


class Storage(Protocol):
    """A durable store."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """All or nothing; on leaving normally everything is on disk.

        Raises:
            Unavailable: `storage-full`, `storage-failed`.
            Misconfigured: `storage-damaged`.
        """

    def close(self) -> None:
        """Let go of the store."""
