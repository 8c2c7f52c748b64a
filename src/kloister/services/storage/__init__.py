"""Keeps records durably. Knows SQL and nothing of what the records mean: values of secrets arrive here encrypted."""

from kloister.services.storage.ports import Storage, Transaction
from kloister.services.storage.records import (
    AuditHead,
    AuditRecord,
    ChallengeRecord,
    PolicyRecord,
    RefusalRecord,
    SecretRecord,
)

__all__ = [
    "AuditHead",
    "AuditRecord",
    "ChallengeRecord",
    "PolicyRecord",
    "RefusalRecord",
    "SecretRecord",
    "Storage",
    "Transaction",
]
