"""Policies of instances: which is in force, and who may change it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from kloister.errors import Denied, Malformed
from kloister.formats.pki.unreadable import UNREADABLE
from kloister.formats.tokens.policy import EMPTY, PolicyToken, certificate_of, key_of, policy_token
from kloister.services.attestation.kinds import Kind
from kloister.services.attestation.outcomes import Outcomes
from kloister.services.attestation.settings import InstanceSettings, TrustModel
from kloister.services.storage.attestation import AttestationTransaction
from kloister.services.storage.attestation_records import InstancePolicy, ManagementCertificate
from kloister.trust.policy.maa import Policy, default_policy, parse_policy, policy_hash
from kloister.trust.policy.maa.claims import ALIASES

_NO_CHAIN: tuple[type[Exception], ...] = (*UNREADABLE, x509.ExtensionNotFound, InvalidSignature)
_MAX_CERTIFICATES = 64  # of an instance
_ACTS = "certificates"  # beside the kinds: under it stand the tokens that added or removed certificates
_CLAIMS = ("policyCertificate", "x-ms-policyCertificate", "maa-policyCertificate")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivePolicy:
    """The policy in force for one attestation type.

    Attributes:
        token: the JWS as it was set, or that of the default.
        policy: None where there is no default and none was set.
        hash: `x-ms-policy-hash`.
        signer: `{kty, x5c}`, empty where it is not signed.
    """

    token: str = field(repr=False)
    policy: Policy | None = field(repr=False)
    hash: str
    signer: dict[str, Any] = field(default_factory=dict, repr=False)
    wanted: frozenset[str] | None = field(init=False, repr=False)  # claims it asks for by name; None: it may ask any
    outcomes: Outcomes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "wanted", _wanted(self.policy))
        object.__setattr__(self, "outcomes", Outcomes(self.policy, self.wanted))

    @classmethod
    def of_text(cls, text: str) -> ActivePolicy:
        """A draft or a default. Raises `Malformed`: `maa-parsing`."""
        return cls(token=policy_token(text), policy=parse_policy(text), hash=policy_hash(text))

    @classmethod
    def stored(cls, record: InstancePolicy | None, kind: Kind) -> ActivePolicy:
        """What is in force where `record` is the newest version."""
        if record is not None and record.token:
            token = PolicyToken.parse(record.token)
            text = token.policy
            return cls(
                token=record.token, policy=parse_policy(text), hash=policy_hash(text), signer=token.signer()
            )  # fmt: skip
        default = default_policy(kind.value)
        return cls.of_text(default) if default else cls(token=EMPTY, policy=None, hash="")


@dataclass(frozen=True, slots=True)
class Change:
    """What an administrative act found and did, for its answer and for the audit.

    Attributes:
        claims: of the answer.
        facts: for the audit.
    """

    claims: dict[str, Any]
    facts: dict[str, Any]


def _wanted(policy: Policy | None) -> frozenset[str] | None:
    if policy is None:
        return frozenset()
    rules = (*policy.configuration, *policy.authorization, *policy.issuance)
    names = [condition.wanted for rule in rules for condition in rule.conditions]
    return None if None in names else frozenset(ALIASES.get(name, name) for name in names if name is not None)


def set_policy(
    transaction: AttestationTransaction,
    instance: InstanceSettings,
    kind: Kind,
    text: str,
    now: datetime,
    *,
    monotonic: bool,
) -> Change:
    """Put a policy JWS into force.

    Args:
        transaction: one that writes.
        instance: whose.
        kind: for which evidence.
        text: the JWS.
        now: the present.
        monotonic: whether a signed token needs an `iat` later than that of every one before, of whatever kind.

    Raises:
        Malformed: `policy-token-*`, `token-*`, `maa-parsing`.
        Unverified: `policy-token-signature`.
        Denied: `policy-shared`, `policy-unsigned`, `policy-signer`, `policy-replayed`.
    """
    token = PolicyToken.parse(text)
    _authorise(transaction, instance, token, now)
    parse_policy(token.policy)
    _require_new(transaction, instance, token, monotonic=monotonic)
    facts = _append(transaction, instance, kind, token, now)
    claims: dict[str, Any] = {"x-ms-policy-result": "Updated", "x-ms-policy-token-hash": token.sha256}
    if token.chain:
        claims["x-ms-policy-signer"] = {"alg": token.algorithm, "use": "sig", **token.signer()}
    return Change(claims, facts)


def reset_policy(
    transaction: AttestationTransaction,
    instance: InstanceSettings,
    kind: Kind,
    text: str,
    now: datetime,
    *,
    monotonic: bool,
) -> Change:
    """Put the default into force again; with `monotonic` a signed one counts once. Raises as `set_policy`."""
    token = PolicyToken.parse(text)
    _authorise(transaction, instance, token, now)
    if token.payload:
        raise Malformed("policy-token-payload", "A reset is a token whose payload is empty.")
    _require_new(transaction, instance, token, monotonic=monotonic)
    facts = _append(transaction, instance, kind, token, now)
    return Change({"x-ms-policy-result": "Removed"}, facts)


def certificates_claims(records: Sequence[ManagementCertificate]) -> dict[str, Any]:
    """The answer that lists them."""
    keys = [{"alg": _alg(record.certificate), "use": "sig", **key_of((record.certificate,))} for record in records]
    return {"x-ms-policy-certificates": {"keys": keys}}


def add_certificate(
    transaction: AttestationTransaction, instance: InstanceSettings, text: str, now: datetime, *, monotonic: bool
) -> Change:
    """Let the holder of another certificate change policies. Raises as `set_policy`, `Denied`: `certificates-many`."""
    certificate, facts = _certificate(transaction, instance, text, now, monotonic=monotonic)
    held = transaction.certificates(instance.base_url)
    digest = hashlib.sha256(certificate).hexdigest()
    if digest not in {each.sha256 for each in held}:
        if len(held) >= _MAX_CERTIFICATES:
            raise Denied("certificates-many", f"An instance has at most {_MAX_CERTIFICATES} certificates.")
        transaction.add_certificate(
            ManagementCertificate(instance.base_url, digest, certificate, int(now.timestamp()))
        )  # fmt: skip
    return _certificate_change(certificate, "IsPresent", facts)


def remove_certificate(
    transaction: AttestationTransaction, instance: InstanceSettings, text: str, now: datetime, *, monotonic: bool
) -> Change:
    """The reverse. Raises as `set_policy`, `Denied`: `certificate-last`."""
    certificate, facts = _certificate(transaction, instance, text, now, monotonic=monotonic)
    held = {each.sha256 for each in transaction.certificates(instance.base_url)}
    digest = hashlib.sha256(certificate).hexdigest()
    if held == {digest}:
        raise Denied("certificate-last", "The last policy management certificate cannot be removed.", "Add another.")
    transaction.remove_certificate(instance.base_url, digest)
    return _certificate_change(certificate, "IsAbsent", facts)


def seed_certificates(
    transaction: AttestationTransaction, instance: InstanceSettings, given: Sequence[bytes], now: datetime
) -> bool:
    """Take the settings' certificates (DER) where the instance has none yet; whether it was done."""
    if transaction.certificates(instance.base_url):
        return False
    for certificate in given:
        digest = hashlib.sha256(certificate).hexdigest()
        transaction.add_certificate(
            ManagementCertificate(instance.base_url, digest, certificate, int(now.timestamp()))
        )  # fmt: skip
    return bool(given)


def _append(
    transaction: AttestationTransaction,
    instance: InstanceSettings,
    kind: str,
    token: PolicyToken,
    now: datetime,
) -> dict[str, Any]:
    """Add the version; the audit's facts name an older one that is put into force again, and a reset sent again."""
    url = instance.base_url
    before = transaction.policy(url, kind)
    replayed = transaction.had_policy(url, kind, token.content)
    version = before.version + 1 if before else 1
    text = token.text if token.payload else ""
    transaction.add_policy(
        InstancePolicy(url, kind, version, text, token.content, _issued(token), int(now.timestamp()))
    )  # fmt: skip
    facts = {"kind": str(kind), "version": version, "sha256": token.sha256, "signer": _thumbprint(token)}
    current = before is not None and before.sha256 == token.content
    everybodys = not token.chain and not token.payload
    return facts if replayed is None or current or everybodys else {**facts, "replayed": replayed}


def _require_new(
    transaction: AttestationTransaction, instance: InstanceSettings, token: PolicyToken, *, monotonic: bool
) -> None:
    """Whoever administers may keep signed tokens: none shall do twice what its signer wanted once."""
    if not monotonic or not token.chain:
        return
    url, kinds = instance.base_url, (*Kind, _ACTS)
    if token.payload:
        old = _issued(token) <= max(transaction.last_issued(url, kind) for kind in kinds)
    else:  # a reset has no claims
        old = any(transaction.had_policy(url, kind, token.content) for kind in kinds)
    if old:
        raise Denied(
            "policy-replayed",
            "What was signed is not newer than all that this instance was told before.",
            "Sign it again, with an `iat` (unix seconds) later than every one before; a reset has it in its header.",
        )


def _issued(token: PolicyToken) -> int:
    issued = token.claims().get("iat", 0) if token.payload else 0
    return issued if type(issued) is int and 0 <= issued < 1 << 62 else 0


def _authorise(
    transaction: AttestationTransaction, instance: InstanceSettings, token: PolicyToken, now: datetime
) -> None:
    """Whether the token may change this instance; who sent it was authenticated before."""
    if instance.trust_model is TrustModel.SHARED:
        raise Denied("policy-shared", "The policies of a shared instance cannot be changed.", "Use one of your own.")
    if instance.trust_model is not TrustModel.ISOLATED:
        return
    if not token.chain:
        raise Denied(
            "policy-unsigned",
            "An isolated instance takes signed policies only.",
            "Sign it with the key of a policy management certificate.",
        )
    trusted = [each.certificate for each in transaction.certificates(instance.base_url)]
    if token.chain[0] not in trusted and not _chains(token.chain, trusted, now):
        raise Denied(
            "policy-signer",
            "The policy's signer is not among the policy management certificates of this instance.",
            "See GET /certificates for those that are.",
        )


def _chains(chain: tuple[bytes, ...], trusted: Sequence[bytes], now: datetime) -> bool:
    """Whether each certificate was issued by the next, up to a trusted one, all of them CAs and in force."""
    try:
        certificates = [x509.load_der_x509_certificate(each) for each in chain]
        for number, (subject, issuer) in enumerate(pairwise(certificates)):
            constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
            subject.verify_directly_issued_by(issuer)
            length = constraints.path_length
            if not constraints.ca or (length is not None and length < number):
                return False
            if not all(one.not_valid_before_utc <= now <= one.not_valid_after_utc for one in (subject, issuer)):
                return False
            if chain[number + 1] in trusted:
                return True
    except _NO_CHAIN:
        pass
    return False


def _certificate(
    transaction: AttestationTransaction, instance: InstanceSettings, text: str, now: datetime, *, monotonic: bool
) -> tuple[bytes, dict[str, Any]]:
    """The certificate that an authorised token is about, and the audit's facts."""
    if instance.trust_model is not TrustModel.ISOLATED:
        raise Denied(
            "certificates-not-isolated",
            "Policy management certificates exist on isolated instances only.",
            "Declare the instance isolated.",
        )
    token = PolicyToken.parse(text)
    _authorise(transaction, instance, token, now)
    certificate = certificate_of(token.claims(), _CLAIMS)
    _require_new(transaction, instance, token, monotonic=monotonic)
    return certificate, _append(transaction, instance, _ACTS, token, now)


def _certificate_change(certificate: bytes, result: str, facts: dict[str, Any]) -> Change:
    thumbprint = hashlib.sha1(certificate, usedforsecurity=False).hexdigest().upper()
    claims = {
        "x-ms-certificate-thumbprint": thumbprint,
        "x-ms-certificate-result": result,
        "x-ms-policycertificates-result": result,
    }
    return Change(claims, {**facts, "certificate": hashlib.sha256(certificate).hexdigest()})


def _thumbprint(token: PolicyToken) -> str:
    return hashlib.sha256(token.chain[0]).hexdigest() if token.chain else ""


def _alg(certificate: bytes) -> str:
    key = x509.load_der_x509_certificate(certificate).public_key()
    size = getattr(key, "key_size", 0)
    return "ES256" if size == 256 else "ES384" if size == 384 else "RS256"  # noqa: PLR2004  bits of P-256, P-384
