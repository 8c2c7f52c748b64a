"""The release exchange (architecture.md 10): challenge, then evidence against secrets."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn

from kloister import clock, entropy
from kloister.errors import Denied, KloisterError, Misconfigured, Misused, Unavailable
from kloister.formats.policy import Policy, Service
from kloister.formats.protocol.release import (
    NONCE_SECONDS,
    NONCE_SIZE,
    Binding,
    Bundle,
    Challenge,
    ChallengeRequest,
    ReleaseRequest,
    Sealed,
    seal,
)
from kloister.formats.wire import canonical_json
from kloister.services.broker import audit
from kloister.services.broker.policies import load_policy
from kloister.services.broker.ports import Appraiser
from kloister.services.broker.secrets import Made, Secrets
from kloister.services.broker.settings import Settings
from kloister.services.broker.vault import Vault
from kloister.services.storage import ChallengeRecord, RefusalRecord, Storage, Transaction
from kloister.trust.evidence import VerifiedSgx
from kloister.trust.policy import reasons
from kloister.trust.policy.decision import Condition, decide
from kloister.trust.policy.release import assemble, needed


class Refused(Exception):
    """The broker's no to a guest; `id` finds the whole reason, which the guest does not get."""

    def __init__(self, identifier: str, reason: KloisterError) -> None:
        super().__init__(identifier, reason.code)
        self.id = identifier
        self.code = reason.code
        self.ours = isinstance(reason, (Unavailable, Misconfigured, Misused))  # not the guest's fault: try again


@dataclass(slots=True)
class _Facts:
    """What is known of a request so far, for the record of a refusal."""

    request: ReleaseRequest
    peer: str
    verified: VerifiedSgx | None = None
    policy: Policy | None = None
    failed: tuple[Condition, ...] = ()

    def as_json(self) -> dict[str, Any]:
        asked = self.request
        facts: dict[str, Any] = {
            "namespace": asked.namespace,
            "policy": asked.policy,
            "service": asked.service,
            "instance": asked.instance,
            "peer": self.peer,
        }
        if self.policy is not None:
            facts["document"] = self.policy.sha256
        if self.verified is not None:
            facts["evidence"] = _evidence(self.verified)
        return facts


@dataclass(slots=True)
class _Window:
    """Counts events within one minute."""

    limit: int
    minute: int = -1
    count: int = field(default=0)

    def admits(self, now: int) -> bool:
        if now // 60 != self.minute:
            self.minute, self.count = now // 60, 0
        self.count += 1
        return self.count <= self.limit


class ReleaseDesk:
    """Gives out nonces and, for evidence that a policy wants, secrets.

    Args:
        storage, vault, secrets: where policies, secrets and the audit log are.
        appraise: says whether a quote is genuine.
        broker_key: SHA-256 of this broker's TLS SubjectPublicKeyInfo, 32 bytes.
        settings: limits.
        now, draw: time and randomness.
    """

    def __init__(
        self,
        storage: Storage,
        vault: Vault,
        appraise: Appraiser,
        broker_key: bytes,
        settings: Settings,
        now: Callable[[], datetime] = clock.now,
        draw: Callable[[int], bytes] = entropy.draw,
    ) -> None:
        self._storage = storage
        self._vault = vault
        self._secrets = Secrets(vault, draw)
        self._appraise = appraise
        self._broker_key = broker_key
        self._settings = settings
        self._now = now
        self._draw = draw
        self._strangers = _Window(settings.strangers)

    def challenge(self, request: ChallengeRequest, peer: str) -> Challenge:
        """A fresh nonce. Whether the policy exists is not said here: that is for genuine evidence to learn.

        Raises:
            Unavailable: `too-many-challenges`.
        """
        now = int(self._now().timestamp())
        nonce = self._draw(NONCE_SIZE)
        record = ChallengeRecord(nonce, peer, request.namespace, request.policy, now + NONCE_SECONDS)
        with self._storage.transaction() as transaction:
            mine, all_ = transaction.challenges(now, peer), transaction.challenges(now)
            if mine >= self._settings.outstanding_per_peer or all_ >= self._settings.outstanding:
                reason = reasons.describe("too-many-challenges")
                raise Unavailable("too-many-challenges", reason.text, reason.allow)
            transaction.add_challenge(record)
        return Challenge(nonce, record.expires)

    def release(self, request: ReleaseRequest, peer: str) -> Sealed:
        """The secrets, sealed to the guest's key. The nonce is used up whatever the outcome.

        Raises:
            Refused: with the id under which the reason is kept.
            Unavailable: `too-many-requests`, the storage failed.
        """
        now = self._now()
        facts = _Facts(request, peer)
        if not self._consume(request, int(now.timestamp())):
            reason = reasons.describe("nonce-unknown")
            self._refuse(facts, Denied("nonce-unknown", reason.text, reason.allow), now)
        try:
            return self._released(facts, now)
        except KloisterError as error:
            self._refuse(facts, error, now)

    def _consume(self, request: ReleaseRequest, now: int) -> bool:
        with self._storage.transaction() as transaction:
            record = transaction.consume_challenge(request.nonce)
        return (
            record is not None
            and now <= record.expires
            and (record.namespace, record.policy) == (request.namespace, request.policy)
        )

    def _released(self, facts: _Facts, now: datetime) -> Sealed:
        request = facts.request
        facts.verified = self._appraise(request.quote, now)
        binding = request.binding(self._broker_key)
        if not hmac.compare_digest(binding.report_data(), facts.verified.report.report_data):
            reason = reasons.describe("purpose-mismatch")
            facts.failed = (_mismatch(binding, facts.verified),)
            raise Denied("purpose-mismatch", reason.text, reason.allow)
        with self._storage.transaction() as transaction:
            facts.policy = load_policy(transaction, request.namespace, request.policy)
            decision = decide(facts.policy, facts.verified, request.service, now)
            facts.failed = decision.failed
            policy = decision.enforce()
            service = next(one for one in policy.services if one.name == request.service)
            bundle, made = self._collect(transaction, policy, service, now)
            sealed = seal(bundle, binding, request.quote, self._draw(32))
            record = facts.as_json() | {"secrets": [_made(one) for one in made], "alternative": decision.alternative}
            audit.append(transaction, self._vault, int(now.timestamp()), "released", record)
        return sealed

    def _collect(
        self, transaction: Transaction, policy: Policy, service: Service, now: datetime
    ) -> tuple[Bundle, list[Made]]:
        obtained = {name: self._secrets.obtain(transaction, policy, name, now) for name in needed(policy, service)}
        bundle = assemble(policy, service, {name: material for name, (material, _) in obtained.items()})
        return bundle, [made for _, made in obtained.values()]

    def _refuse(self, facts: _Facts, reason: KloisterError, now: datetime) -> NoReturn:
        identifier, at = entropy.identifier(), int(now.timestamp())
        # without a policy yet, nobody has proved anything: a nonce is there for the asking, and quotes are no secret
        if facts.policy is None and not self._strangers.admits(at):
            raise Unavailable("too-many-requests", "Too many requests that prove nothing.", "Wait a minute.") from None
        detail = facts.as_json() | {
            "id": identifier,
            "at": at,
            "code": reason.code,
            "text": reason.text,
            "hint": reason.hint,
            "conditions": [condition.as_json() for condition in facts.failed],
        }
        with self._storage.transaction() as transaction:
            record = RefusalRecord(identifier, at, reason.code, canonical_json(detail))
            transaction.add_refusal(record, self._settings.refusals)
            entry = facts.as_json() | {"refusal": identifier, "code": reason.code}
            audit.append(transaction, self._vault, at, "refused", entry)
        raise Refused(identifier, reason) from None


def _mismatch(binding: Binding, verified: VerifiedSgx) -> Condition:
    reason = reasons.describe("purpose-mismatch")
    expected, seen = binding.report_data().hex(), verified.report.report_data.hex()
    return Condition("purpose-mismatch", "reportData", expected, seen, reason.allow)


def _evidence(verified: VerifiedSgx) -> dict[str, Any]:
    report = verified.report
    return {
        "tee": verified.tee,
        "mrenclave": report.mrenclave.hex(),
        "mrsigner": report.mrsigner.hex(),
        "isvprodid": report.isvprodid,
        "isvsvn": report.isvsvn,
        "tcbStatus": str(verified.tcb_status),
        "advisories": list(verified.advisories),
        "fmspc": verified.fmspc,
        "simulated": verified.simulated,
    }


def _made(made: Made) -> dict[str, Any]:
    return {"name": made.name, "version": made.version, "event": made.event}
