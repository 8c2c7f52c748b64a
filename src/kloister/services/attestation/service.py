"""What the service does, apart from HTTP: evidence, policies and certificates in, tokens out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from kloister import clock, entropy
from kloister.errors import Denied, KloisterError
from kloister.formats.protocol.maa import AttestRequest, evidence_text, read_object
from kloister.services.attestation import baselines, policies
from kloister.services.attestation.evidence import Judge, Judged, instant
from kloister.services.attestation.instances import Instances, Snapshot
from kloister.services.attestation.keys import KeyKeeper
from kloister.services.attestation.kinds import Kind, member_of
from kloister.services.attestation.metrics import Metrics, Watch
from kloister.services.attestation.nonces import MEMBER, Nonces
from kloister.services.attestation.policies import ActivePolicy, Change
from kloister.services.attestation.repeats import Again, keeps_outcome
from kloister.services.attestation.settings import InstanceSettings, Settings
from kloister.services.attestation.tokens import (
    attestation_claims,
    draft_token,
    json_text,
    payload,
    result_token,
    stamped,
)
from kloister.services.attestation.waiting import NeedsTrying
from kloister.services.broker import audit
from kloister.services.broker.vault import Vault
from kloister.services.collateral import Tee
from kloister.services.storage.attestation import AttestationStore, AttestationTransaction
from kloister.trust.policy.maa import MaaPolicyError
from kloister.trust.policy.maa.meter import MAX_STEPS

JTI_SIZE = 32  # bytes
_DRAFTS, _DRAFT_PATIENCE = 2, 1.0  # at a time; seconds to wait for a turn
_QUICK = 20_000  # steps of a policy on the loop, some 20 ms; most take a hundred
_TOO_LONG = "maa-limit"
_PAGE = 500  # entries of the audit log in one answer
_TEES = {Kind.SGX_ENCLAVE: Tee.SGX, Kind.OPEN_ENCLAVE: Tee.SGX, Kind.TDX_VM: Tee.TDX}
Act = Callable[[AttestationTransaction, datetime], Change]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the service is composed of.

    Attributes:
        settings: the operator's.
        store: shared by replicas.
        vault: of the root key.
        keys: signing keys.
        judge: evidence.
        metrics: what is measured.
        certificates: DER of the settings' policy certificates, by base URL.
        draw: randomness.
        now: the present, aware.
    """

    settings: Settings
    store: AttestationStore
    vault: Vault = field(repr=False)
    keys: KeyKeeper = field(repr=False)
    judge: Judge = field(repr=False)
    metrics: Metrics = field(repr=False)
    certificates: dict[str, Sequence[bytes]] = field(repr=False)
    draw: Callable[[int], bytes] = entropy.draw
    now: Callable[[], datetime] = clock.now

    def unix(self) -> int:
        """The present in whole seconds."""
        return int(self.now().timestamp())


class AttestationService:
    """All instances of one process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._instances = Instances(parts.store, parts.keys)
        self._nonces = Nonces(parts.vault, parts.draw)
        self._drafts = threading.BoundedSemaphore(_DRAFTS)
        # whether `attest` without `wait` never waits: not where it writes, or asks a database over the network
        self.at_hand = parts.store.local and not parts.settings.audit_attestations

    def prepare(self) -> None:
        """Make what is missing: signing keys, and the first certificates of isolated instances."""
        for instance in self._parts.settings.instances:
            now = self._parts.now()
            with self._parts.store.read() as transaction:
                due = self._parts.keys.due(transaction.signing_keys(instance.signer), int(now.timestamp()))
                seeded = bool(transaction.certificates(instance.base_url))
            if due or not seeded:
                self._make(instance, now)

    def snapshot(self, instance: InstanceSettings) -> Snapshot:
        """What is in force."""
        return self._instances.of(instance, self._parts.unix())

    def attest(self, instance: InstanceSettings, kind: Kind, body: bytes, *, wait: bool) -> str:
        """A token for evidence.

        Args:
            instance: who is asked.
            kind: of evidence.
            body: the request.
            wait: whether it may take long: fetch collateral, try a draft.

        Raises:
            NeedsWaiting, NeedsTrying: something must be waited for, or tried, and `wait` is false.
            KloisterError: the evidence, the policy or the request is refused; see `refusals`.
        """
        watch = self._parts.metrics.watch()
        now = self._parts.now()
        seconds = now.timestamp()
        snapshot = self._instances.of(instance, seconds)
        watch.step("policy")
        document, member = read_object(body), member_of(kind)
        text = evidence_text(document, member)
        again = snapshot.repeats.find(kind, text)
        request = AttestRequest.of(document, member, None if again is None else again.evidence)
        watch.step("parse")
        if again is not None and request.draft is None and self._parts.judge.holds(again.repeat.precedent, now):
            return self._attest_again(instance, kind, request, snapshot, again, watch, int(seconds))
        if request.draft is None:
            try:
                return self._attest(
                    instance, kind, request, snapshot, snapshot.policies[kind], watch, wait=wait, text=text
                )
            except MaaPolicyError as error:
                if wait or error.code != _TOO_LONG:
                    raise
                raise NeedsTrying from None
        if not wait:
            raise NeedsTrying
        with self._trying():
            active = ActivePolicy.of_text(request.draft)
            return self._attest(instance, kind, request, snapshot, active, watch, wait=wait)

    def _attest(
        self,
        instance: InstanceSettings,
        kind: Kind,
        request: AttestRequest,
        snapshot: Snapshot,
        active: ActivePolicy,
        watch: Watch,
        *,
        wait: bool,
        text: str | None = None,
    ) -> str:
        parts, now = self._parts, self._parts.now()
        steps = MAX_STEPS if wait else _QUICK
        judged = parts.judge.judge(
            kind,
            request,
            simulated=instance.simulated,
            now=now,
            evaluation_number=lambda: baselines.evaluation_number(active, steps),
            wait=wait,
        )
        self._check_nonce(judged, instance, int(now.timestamp()))
        watch.step("verify")
        claims = self._claims(judged, active, steps, draft=request.draft is not None)
        watch.step("evaluate")
        claims = stamped(claims, instance.base_url, int(now.timestamp()), parts.settings.tokens_validity)
        key = snapshot.ring.current
        token = draft_token(claims, key) if request.draft is not None else key.sign(payload(claims))
        watch.step("sign")
        if text is not None and judged.precedent is not None and keeps_outcome(active.wanted):
            snapshot.repeats.keep(kind, text, request.evidence, judged.precedent, claims)
        if parts.settings.audit_attestations:
            self._audit(instance, "attested", {"kind": str(kind), "jti": claims["jti"], "policy": active.hash})
        return token

    def _attest_again(
        self,
        instance: InstanceSettings,
        kind: Kind,
        request: AttestRequest,
        snapshot: Snapshot,
        again: Again,
        watch: Watch,
        now: int,
    ) -> str:
        """As `_attest`, for an enclave whose token needs but a few places filled in."""
        parts, precedent = self._parts, again.repeat.precedent
        claims, report_data = parts.judge.again(precedent, again.quote, request)
        nonce = self._nonces.bound(claims, instance.base_url, now)
        if nonce is not None:
            claims[MEMBER] = nonce
        watch.step("verify")
        jti, hashes = parts.draw(JTI_SIZE).hex(), precedent.hashes % sha256(request.evidence).hexdigest()
        texts = {
            **{name: json_text(value) for name, value in claims.items()},
            "exp": str(now + parts.settings.tokens_validity),
            "iat": str(now),
            "jti": f'"{jti}"',
            "maa-attestationcollateral": hashes,
            "nbf": str(now),
            "x-ms-sgx-collateral": hashes,
            "x-ms-sgx-report-data": f'"{report_data}"',
        }
        filled = again.repeat.payload(texts)
        watch.step("evaluate")
        token = snapshot.ring.current.sign(filled)
        watch.step("sign")
        if parts.settings.audit_attestations:
            facts = {"kind": str(kind), "jti": jti, "policy": snapshot.policies[kind].hash}
            self._audit(instance, "attested", facts)
        return token

    @contextmanager
    def _trying(self) -> Iterator[None]:
        """A few drafts at a time: each may take as long as a thousand attestations."""
        if not self._drafts.acquire(timeout=_DRAFT_PATIENCE):
            raise Denied("rate-exceeded", "Too many draft policies are being tried.", "Wait a second.")
        try:
            yield
        finally:
            self._drafts.release()

    def nonce(self, instance: InstanceSettings) -> dict[str, Any]:
        """One for a client's runtime data."""
        return self._nonces.make(instance.base_url, self._parts.unix())

    def audit(self, after: int) -> dict[str, Any]:
        """Entries of the audit log from `after` on, at most a page, and the end of the log."""
        with self._parts.store.read() as transaction:
            entries, head = transaction.audit(after, _PAGE), transaction.audit_head()
        genuine = head is None or audit.head_is_genuine(head, self._parts.vault)
        return {
            "entries": [
                {"sequence": each.sequence, "body": each.body.decode("utf-8"), "hash": each.hash.hex()}
                for each in entries
            ],
            "head": None if head is None else {"sequence": head.sequence, "hash": head.hash.hex()},
            "headIsGenuine": genuine,
        }

    def refused(self, instance: InstanceSettings, kind: Kind, error: KloisterError) -> None:
        """Note a refused attestation in the audit, if that is switched on."""
        if self._parts.settings.audit_attestations:
            self._audit(instance, "attest-refused", {"kind": str(kind), "code": error.code})

    def policy(self, instance: InstanceSettings, kind: Kind) -> str:
        """The policy in force, in a signed answer."""
        snapshot = self.snapshot(instance)
        return self._answer(instance, {"x-ms-policy": snapshot.policies[kind].token})

    def baselines(self, instance: InstanceSettings, kind: Kind) -> dict[str, Any]:
        """The TCB baselines that a policy of this type can name; none for types that Intel does not vouch for.

        Raises:
            Denied: `tcb-identifier`. MaaPolicyError: the policy's configuration fails.
        """
        tee = _TEES.get(kind)
        if tee is None:
            return baselines.baselines({}, None)
        selected = baselines.evaluation_number(self.snapshot(instance).policies[kind])
        return baselines.baselines(self._parts.judge.collateral.baselines(tee), selected)

    def set_policy(self, instance: InstanceSettings, kind: Kind, text: str, actor: str) -> str:
        """Put a policy JWS into force. Raises as `policies.set_policy`."""
        monotonic = self._parts.settings.policies_monotonic_iat

        def act(transaction: AttestationTransaction, now: datetime) -> Change:
            return policies.set_policy(transaction, instance, kind, text, now, monotonic=monotonic)

        return self._change(instance, "policy-set", actor, act)

    def reset_policy(self, instance: InstanceSettings, kind: Kind, text: str, actor: str) -> str:
        """Put the default into force again. Raises as `policies.reset_policy`."""
        monotonic = self._parts.settings.policies_monotonic_iat

        def act(transaction: AttestationTransaction, now: datetime) -> Change:
            return policies.reset_policy(transaction, instance, kind, text, now, monotonic=monotonic)

        return self._change(instance, "policy-reset", actor, act)

    def certificates(self, instance: InstanceSettings) -> str:
        """The policy management certificates, in a signed answer."""
        return self._answer(instance, policies.certificates_claims(self.snapshot(instance).certificates))

    def change_certificate(self, instance: InstanceSettings, text: str, actor: str, *, add: bool) -> str:
        """Add or remove one. Raises as `policies.add_certificate`."""
        monotonic = self._parts.settings.policies_monotonic_iat
        change = policies.add_certificate if add else policies.remove_certificate

        def act(transaction: AttestationTransaction, now: datetime) -> Change:
            return change(transaction, instance, text, now, monotonic=monotonic)

        return self._change(instance, "certificate-added" if add else "certificate-removed", actor, act)

    def _claims(self, judged: Judged, active: ActivePolicy, steps: int, *, draft: bool) -> dict[str, Any]:
        """All claims but issuer and times."""
        claims = {**judged.claims, **judged.own}
        issued = active.outcomes.of(claims, steps)
        claims["x-ms-policy-hash"] = active.hash
        claims["jti"] = self._parts.draw(JTI_SIZE).hex()
        if active.signer and not draft:
            claims["x-ms-policy-signer"] = active.signer
        if self._parts.settings.tokens_audience is not None:
            claims["aud"] = self._parts.settings.tokens_audience
        if self._parts.judge.at is not None:
            claims["kloister-dangerous-judged-at"] = instant(self._parts.judge.at)
        return attestation_claims(claims, issued)

    def _check_nonce(self, judged: Judged, instance: InstanceSettings, now: int) -> None:
        nonce = self._nonces.bound(judged.claims, instance.base_url, now)
        if nonce is not None:
            judged.own[MEMBER] = nonce

    def _answer(self, instance: InstanceSettings, claims: dict[str, Any]) -> str:
        key = self.snapshot(instance).ring.current
        return result_token(claims, key, instance.base_url, self._parts.unix())

    def _change(self, instance: InstanceSettings, event: str, actor: str, act: Act) -> str:
        """An administrative act and its audit entry, both or neither."""
        now = self._parts.now()
        with self._parts.store.write() as transaction:
            change = act(transaction, now)
            facts = {"instance": instance.base_url, "actor": actor, **change.facts}
            audit.append(transaction, self._parts.vault, int(now.timestamp()), event, facts)
        return self._answer(instance, change.claims)

    def _audit(self, instance: InstanceSettings, event: str, facts: dict[str, Any]) -> None:
        with self._parts.store.note() as transaction:
            facts = {"instance": instance.base_url, **facts}
            audit.append(transaction, self._parts.vault, self._parts.unix(), event, facts)

    def _make(self, instance: InstanceSettings, now: datetime) -> None:
        parts, url, unix = self._parts, instance.base_url, int(now.timestamp())
        with parts.store.write() as transaction:
            for kid in parts.keys.keep(transaction, instance.signer, unix, parts.draw):
                audit.append(transaction, parts.vault, unix, "key-made", {"instance": url, "kid": kid})
            given = parts.certificates.get(url, ())
            if policies.seed_certificates(transaction, instance, given, now):
                audit.append(transaction, parts.vault, unix, "certificates-seeded", {"instance": url})
