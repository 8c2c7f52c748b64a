"""Evidence appraised into an EAR (draft-ietf-rats-ear): a signed result whatever the verdict, and its reasons.

Whoever sends evidence learns the verdict, aspect by aspect, and what its own evidence says; who administers the
instance also learns every condition that was not met, and what was wanted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import kloister
from kloister.errors import KloisterError, Malformed, Unverified
from kloister.formats.dcap import TcbStatus
from kloister.formats.protocol.maa import AttestRequest, read_object
from kloister.formats.tokens.ear import Ear, EarAppraisal, Profile, TrustVector
from kloister.services.attestation.evidence import Judge, Judged, instant
from kloister.services.attestation.instances import Snapshot
from kloister.services.attestation.kinds import JUDGED, Kind, kind_of, member_of
from kloister.services.attestation.nonces import Nonces
from kloister.services.attestation.settings import InstanceSettings, Settings
from kloister.services.attestation.tokens import payload, stamped
from kloister.trust.evidence import TcbUnsupported
from kloister.trust.policy.appraisal import AppraisalPolicy, judge, parse_appraisal
from kloister.trust.policy.ar4si import refused_vector, trust_vector
from kloister.trust.verifier.explain import explain

_DEVELOPER = "https://kloister.dev"
_PARTS = {Kind.SEV_SNP_VM: "snp", Kind.TDX_VM: "tdx"}
_NONCE = range(8, 89)  # characters of `eat_nonce` (RFC 9711, section 4.1)
_ALIASES = ("aas-ehd", "maa-ehd", "maa-attestationcollateral", "x-ms-ver")  # Azure's old names say nothing new


@dataclass(frozen=True, slots=True)
class OwnersPolicy:
    """What the operator wants of evidence, and the name that results give it."""

    policy: AppraisalPolicy
    id: str  # sha256: of the document

    @classmethod
    def of(cls, document: bytes, policy: AppraisalPolicy) -> OwnersPolicy:
        """A policy with the name that its document gives it."""
        return cls(policy, f"sha256:{hashlib.sha256(document).hexdigest()}")

    @classmethod
    def default(cls, accept: frozenset[TcbStatus]) -> OwnersPolicy:
        """Genuine hardware of an accepted TCB status, whatever runs on it."""
        document = json.dumps({"tcb": {"accept": sorted(accept)}}).encode("ascii")
        return cls.of(document, parse_appraisal(document))


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is said of one piece of evidence; `reasons` and `explanation` are for the owner only."""

    appraisal: EarAppraisal
    nonce: str | None
    reasons: list[dict[str, Any]] = field(repr=False)
    explanation: dict[str, Any] | None = field(repr=False)


class EarDesk:
    """Appraises evidence.

    Args:
        settings: the operator's.
        policy: what is wanted of evidence; an instance that is declared simulated admits simulated platforms.
        judge: verifies it.
        snapshot: what is in force on an instance.
        nonces: that the service gave out.
        draw: randomness.
        now: the present, aware.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        policy: OwnersPolicy,
        judge: Judge,
        snapshot: Callable[[InstanceSettings], Snapshot],
        nonces: Nonces,
        draw: Callable[[int], bytes],
        now: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._judge = replace(judge, accept=frozenset(TcbStatus))  # what is not accepted is said, not refused
        self._snapshot = snapshot
        self._nonces = nonces
        self._draw = draw
        self._now = now

    def answer(self, instance: InstanceSettings, body: bytes, *, owner: bool) -> dict[str, Any]:
        """`{"ear", "status"}`, for the owner also `reasons` and `explanation`.

        Args:
            instance: who is asked.
            body: a request to attest, with `attestationType` and, if wanted, `profile`.
            owner: whether the caller administers the instance.

        Raises:
            Malformed: `attest-request-*`, `attestation-type`: the request itself cannot be read.
            Unavailable: the collateral could not be fetched.
        """
        document = read_object(body)
        kind, profile = _kind(document), _profile(document)
        now = self._now()
        found = self._verdict(instance, kind, AttestRequest.parse(body, member_of(kind)), now)
        unix, part = int(now.timestamp()), _PARTS.get(kind, "sgx")
        ear = Ear(
            profile=profile,
            issued=unix,
            developer=_DEVELOPER,
            build=kloister.__version__,
            parts={part: found.appraisal},
            nonce=found.nonce,
        )
        claims = stamped(ear.build_claims(), instance.base_url, unix, self._settings.tokens_validity)
        claims["jti"] = self._draw(32).hex()
        if self._settings.tokens_audience is not None:
            claims["aud"] = self._settings.tokens_audience
        token = self._snapshot(instance).ring.current.sign(payload(claims))
        answer: dict[str, Any] = {"ear": token, "status": str(found.appraisal.status)}
        return {**answer, "reasons": found.reasons, "explanation": found.explanation} if owner else answer

    def _verdict(self, instance: InstanceSettings, kind: Kind, request: AttestRequest, now: datetime) -> _Verdict:
        nonce = request.nonce if isinstance(request.nonce, str) and len(request.nonce) in _NONCE else None
        if self._nonces.is_ours(nonce, instance.base_url):
            nonce = None  # whoever gave it to the attester would read that the evidence binds it
        try:
            judged = self._judge.judge(
                kind, request, simulated=instance.simulated, now=now, evaluation_number=lambda: None, wait=True
            )
            bound = self._nonces.bound(judged.claims, instance.base_url, int(now.timestamp()))
        except (Malformed, Unverified) as reason:
            return self._refused(reason, nonce)
        verified, policy, at = judged.verified, self._policy_of(instance), self._judge.at or now
        return _Verdict(
            self._said(trust_vector(verified, policy, at), self._evidence(judged)),
            bound or nonce,
            [each.as_json() for each in judge(verified, policy, at)],
            None if verified.basis is None else explain(verified.basis).as_json(),
        )

    def _refused(self, reason: KloisterError, nonce: str | None) -> _Verdict:
        """Nothing that the evidence says is repeated."""
        basis = reason.basis if isinstance(reason, TcbUnsupported) else None
        explanation = None if basis is None else explain(basis).as_json()
        return _Verdict(self._said(refused_vector(reason), {}), nonce, [reason.as_json()], explanation)

    def _policy_of(self, instance: InstanceSettings) -> AppraisalPolicy:
        """An instance judges platforms of one kind only, and says by itself which."""
        return replace(self._policy.policy, simulated=instance.simulated)

    def _said(self, vector: TrustVector, more: dict[str, Any]) -> EarAppraisal:
        return EarAppraisal(vector=vector, status=vector.status, policies=(self._policy.id,), more=more)

    def _evidence(self, judged: Judged) -> dict[str, Any]:
        """What genuine evidence says, under the names that tokens of the other form have."""
        found = {**judged.claims, **judged.own}
        if self._judge.at is not None:
            found["kloister-dangerous-judged-at"] = instant(self._judge.at)
        return {name: value for name, value in found.items() if name not in _ALIASES}


def _kind(document: dict[str, Any]) -> Kind:
    name = document.get("attestationType")
    kind = kind_of(name) if isinstance(name, str) else None
    if kind not in JUDGED:
        raise Malformed("attestation-type", f"attestationType must be one of {', '.join(sorted(JUDGED))}.")
    return kind


def _profile(document: dict[str, Any]) -> Profile:
    name = document.get("profile", Profile.VERAISON)
    found = next((each for each in Profile if each == name), None)
    if found is None:
        raise Malformed("attest-request-field", f"The profile must be one of {', '.join(Profile)}.")
    return found
