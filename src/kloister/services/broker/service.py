"""What the broker's owner can do: apply policies, upload secrets, look up refusals and the audit log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from kloister import __version__, clock, entropy
from kloister.errors import Denied
from kloister.formats.policy import Policy, parse_policy
from kloister.formats.policy.parse import MAX_DOCUMENT
from kloister.formats.wire import load_json
from kloister.services import yaml
from kloister.services.broker import audit
from kloister.services.broker.policies import admit, load_policy, store_policy
from kloister.services.broker.secrets import Secrets
from kloister.services.broker.settings import Settings
from kloister.services.broker.vault import Vault
from kloister.services.storage import PolicyRecord, Storage, Transaction

MAX_PAGE = 1000  # audit entries of one answer: some 500 kB


class Administration:
    """The owner's side of the broker; callers have been authenticated.

    Args:
        storage, vault: where everything is kept.
        settings: limits, and whether this instance is declared simulated.
        now, draw: time and randomness.
    """

    def __init__(
        self,
        storage: Storage,
        vault: Vault,
        settings: Settings,
        now: Callable[[], datetime] = clock.now,
        draw: Callable[[int], bytes] = entropy.draw,
    ) -> None:
        self._storage = storage
        self._vault = vault
        self._secrets = Secrets(vault, draw)
        self._settings = settings
        self._now = now

    def apply(self, document: bytes, actor: str) -> dict[str, Any]:
        """Parse, check and store a policy (YAML or JSON), and generate its secrets.

        Raises:
            Malformed: `yaml-*`, `policy-*`, `template-*`. Denied: `simulated-not-declared`.
        """
        policy = parse_policy(yaml.load(document, "the policy"))
        admit(policy, simulated=self._settings.simulated)
        now = self._now()
        with self._storage.transaction() as transaction:
            record, new = store_policy(transaction, policy, now)
            made = self._secrets.prepare(transaction, policy, now)
            facts = {"namespace": policy.namespace, "policy": policy.name, "actor": actor}
            if new:
                entry = facts | {"document": record.sha256, "version": record.version}
                self._audit(transaction, now, "policy-applied", entry)
            for one in made:
                self._audit(transaction, now, "secret-generated", facts | {"secret": one.name, "version": one.version})
            missing = self._missing(transaction, policy)
        return {**_summary(record), "changed": new, "generated": [one.name for one in made], "missing": missing}

    def policies(self) -> list[dict[str, Any]]:
        """A summary of the newest version of every policy."""
        with self._storage.transaction() as transaction:
            return [_summary(record) for record in transaction.policies()]

    def policy(self, namespace: str, name: str) -> dict[str, Any]:
        """The newest version with its document. Raises `Denied` `policy-unknown`."""
        with self._storage.transaction() as transaction:
            record = transaction.policy(namespace, name)
        if record is None:
            raise _unknown(namespace, name)
        return {**_summary(record), "document": load_json(record.document, "policy", MAX_DOCUMENT)}

    def secrets(self, namespace: str, name: str) -> list[dict[str, Any]]:
        """Names, kinds and public parts of a policy's secrets; never a value. Raises `Denied` `policy-unknown`."""
        with self._storage.transaction() as transaction:
            policy = self._known(transaction, namespace, name)
            records = {one.name: transaction.secret(namespace, name, one.name) for one in policy.secrets}
        result = []
        for spec in policy.secrets:
            record = records[spec.name]
            entry: dict[str, Any] = {"name": spec.name, "kind": str(spec.kind)}
            if record is None:
                state = "missing" if spec.uploaded else "per instance"
                result.append(entry | {"state": state, "version": 0, "created": None, "expires": None, "public": ""})
                continue
            expires = record.expires or None
            result.append(
                entry
                | {"state": record.origin, "version": record.version, "created": record.created}
                | {"expires": expires, "public": record.public}
            )
        return result

    def set_secret(self, namespace: str, name: str, secret: str, value: bytes, actor: str) -> dict[str, Any]:
        """Store an uploaded value as a new version.

        Raises:
            Denied: `policy-unknown`, `secret-unknown`, `secret-generated`. Malformed: `secret-size`.
        """
        now = self._now()
        with self._storage.transaction() as transaction:
            policy = self._known(transaction, namespace, name)
            record = self._secrets.upload(transaction, policy, secret, value, now)
            facts = {"namespace": namespace, "policy": name, "secret": secret, "version": record.version}
            self._audit(transaction, now, "secret-uploaded", facts | {"actor": actor})
        return {"name": secret, "kind": record.kind, "version": record.version}

    def refusal(self, identifier: str) -> dict[str, Any]:
        """A refusal with its conditions. Raises `Denied` `refusal-unknown`."""
        with self._storage.transaction() as transaction:
            record = transaction.refusal(identifier)
        if record is None:
            raise Denied(
                "refusal-unknown",
                f"There is no refusal {identifier}.",
                f"The newest {self._settings.refusals} are kept; `kloister audit show` has all of them in short.",
            )
        detail: dict[str, Any] = load_json(record.detail, "refusal", MAX_DOCUMENT)
        return detail

    def audit(self, after: int, limit: int = MAX_PAGE) -> dict[str, Any]:
        """Entries after a sequence number, and the end of the chain with whether it is genuine."""
        with self._storage.transaction() as transaction:
            records = transaction.audit(after, min(limit, MAX_PAGE))
            head = transaction.audit_head()
        entries = [
            {"sequence": one.sequence, "body": one.body.decode("utf-8", "replace"), "hash": one.hash.hex()}
            for one in records
        ]
        if head is None:
            return {"entries": entries, "head": None}
        genuine = audit.head_is_genuine(head, self._vault)
        return {
            "entries": entries,
            "head": {"sequence": head.sequence, "hash": head.hash.hex(), "genuine": genuine},
        }

    def status(self) -> dict[str, Any]:
        """Version, whether this instance is simulated, and how much it holds."""
        with self._storage.transaction() as transaction:
            policies, head = len(transaction.policies()), transaction.audit_head()
        return {
            "version": __version__,
            "simulated": self._settings.simulated,
            "policies": policies,
            "auditEntries": head.sequence if head else 0,
        }

    def _known(self, transaction: Transaction, namespace: str, name: str) -> Policy:
        policy = load_policy(transaction, namespace, name)
        if policy is None:
            raise _unknown(namespace, name)
        return policy

    def _missing(self, transaction: Transaction, policy: Policy) -> list[str]:
        return [
            spec.name
            for spec in policy.secrets
            if spec.uploaded and transaction.secret(policy.namespace, policy.name, spec.name) is None
        ]

    def _audit(self, transaction: Transaction, now: datetime, event: str, facts: dict[str, Any]) -> None:
        audit.append(transaction, self._vault, int(now.timestamp()), event, facts)


def _summary(record: PolicyRecord) -> dict[str, Any]:
    return {
        "namespace": record.namespace,
        "name": record.name,
        "version": record.version,
        "sha256": record.sha256,
        "applied": record.applied,
    }


def _unknown(namespace: str, name: str) -> Denied:
    return Denied(
        "policy-unknown", f"There is no policy {namespace}/{name}.", "See `kloister policy list`, or apply it first."
    )
