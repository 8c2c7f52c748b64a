"""Policies as they are stored: canonical JSON in, the parsed document out."""

from __future__ import annotations

from datetime import datetime

from kloister.errors import Denied
from kloister.formats.policy import Policy, parse_policy
from kloister.formats.policy.parse import MAX_DOCUMENT
from kloister.formats.wire import load_json
from kloister.services.storage import PolicyRecord, Transaction
from kloister.trust.policy import template


def load_policy(transaction: Transaction, namespace: str, name: str) -> Policy | None:
    """The newest version of a policy, None where there is none."""
    record = transaction.policy(namespace, name)
    return None if record is None else parse_policy(load_json(record.document, "policy", MAX_DOCUMENT))


def admit(policy: Policy, *, simulated: bool) -> None:
    """Refuse a policy that this broker could not keep.

    Raises:
        Malformed: `template-*`.
        Denied: `simulated-not-declared`, it allows simulated platforms and this broker is not declared simulated.
    """
    template.check(policy)
    if policy.attestation.simulated and not simulated:
        raise Denied(
            "simulated-not-declared",
            "attestation.simulated is allow, but this broker is not declared simulated.",
            "Remove the line, or apply the policy to a broker that admits a simulated platform's root.",
        )


def store_policy(transaction: Transaction, policy: Policy, now: datetime) -> tuple[PolicyRecord, bool]:
    """Append the policy as a new version unless it is the newest already; the record, and whether it is new."""
    before = transaction.policy(policy.namespace, policy.name)
    if before is not None and before.sha256 == policy.sha256:
        return before, False
    version = before.version + 1 if before else 1
    record = PolicyRecord(
        policy.namespace, policy.name, version, policy.sha256, policy.canonical(), int(now.timestamp())
    )
    transaction.add_policy(record)
    return record, True
