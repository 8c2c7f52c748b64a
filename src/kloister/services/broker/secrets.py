"""Makes, keeps and renews the secrets of policies. No person sees a generated value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from kloister import entropy
from kloister.errors import Denied, Malformed, Misconfigured
from kloister.formats.policy import Kind, Policy, Scope, SecretSpec
from kloister.formats.wire import b64url, canonical_json, load_json, unb64url
from kloister.services.broker import certificates
from kloister.services.broker.vault import Vault
from kloister.services.storage import SecretRecord, Transaction
from kloister.trust.policy.template import Material

MAX_VALUE = 1024 * 1024  # bytes of an uploaded value; configuration files and key stores fit
_MAX_RECORD = 4 * MAX_VALUE  # bytes of the JSON around it
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_FAIR = 256 - 256 % len(_LETTERS)  # bytes from here on would favour the first letters


@dataclass(frozen=True, slots=True)
class Made:
    """What happened to a secret on the way, for the audit log."""

    name: str
    version: int
    event: str  # "kept", "generated", "issued"


class Secrets:
    """The secrets of all policies, within a transaction that the caller holds.

    Args:
        vault: encrypts what is stored.
        draw: the source of randomness.
    """

    def __init__(self, vault: Vault, draw: Callable[[int], bytes] = entropy.draw) -> None:
        self._vault = vault
        self._draw = draw

    def prepare(self, transaction: Transaction, policy: Policy, now: datetime) -> list[Made]:
        """Generate whatever of the policy is stored and not there yet, so that nothing is made in a hurry."""
        return [
            made
            for spec in policy.secrets
            if not spec.uploaded and not _per_instance(spec)
            for made in (self._stored(transaction, policy, spec, now)[1],)
            if made.event != "kept"
        ]

    def obtain(self, transaction: Transaction, policy: Policy, name: str, now: datetime) -> tuple[Material, Made]:
        """The value for one release: stored, generated now, or issued for this instance alone.

        Raises:
            Denied: `secret-missing`, it has to be uploaded and has not been.
        """
        spec = policy.secret(name)
        if spec is None:
            raise Denied("secret-missing", f"The policy has no secret {name}.")
        if _per_instance(spec):
            material, _ = self._issue(transaction, policy, spec, now)
            return material, Made(name, 0, "issued")
        return self._stored(transaction, policy, spec, now)

    def upload(self, transaction: Transaction, policy: Policy, name: str, value: bytes, now: datetime) -> SecretRecord:
        """Store a value that a person or `convert` brings.

        Raises:
            Denied: `secret-unknown`, `secret-generated`. Malformed: `secret-size`.
        """
        spec = policy.secret(name)
        if spec is None:
            raise Denied("secret-unknown", f"The policy defines no secret {name}.", "Add it under secrets and apply.")
        if not spec.uploaded and spec.kind is not Kind.SYMMETRIC_KEY:
            raise Denied(
                "secret-generated",
                f"The secret {name} is of kind {spec.kind}, which the broker makes itself.",
                "Declare it as kind value to upload it.",
            )
        if spec.kind is Kind.SYMMETRIC_KEY and len(value) * 8 != spec.bits:
            raise Malformed("secret-size", f"The key {name} has {spec.bits} bits, not {8 * len(value)}.")
        if not 0 < len(value) <= MAX_VALUE:
            raise Malformed("secret-size", f"A secret has 1 to {MAX_VALUE} bytes, not {len(value)}.")
        return self._store(transaction, policy, spec, Material(value=value), now, "uploaded")

    def _stored(
        self, transaction: Transaction, policy: Policy, spec: SecretSpec, now: datetime
    ) -> tuple[Material, Made]:
        record = transaction.secret(policy.namespace, policy.name, spec.name)
        if record is not None and self._still_good(transaction, policy, spec, record, now):
            return self._open(record), Made(spec.name, record.version, "kept")
        if spec.uploaded:
            raise Denied(
                "secret-missing",
                f"The secret {spec.name} has to be uploaded and has not been.",
                f"kloister secret set {policy.namespace}/{policy.name} {spec.name} --file FILE",
            )
        material, expires = self._generate(transaction, policy, spec, now)
        record = self._store(transaction, policy, spec, material, now, "generated", expires)
        return material, Made(spec.name, record.version, "generated")

    def _still_good(
        self, transaction: Transaction, policy: Policy, spec: SecretSpec, record: SecretRecord, now: datetime
    ) -> bool:
        if record.kind != spec.kind or (record.expires and record.expires - _margin(spec) < now.timestamp()):
            return False
        issuer = self._issuer_version(transaction, policy, spec)
        return record.recipe == _recipe(spec, issuer)

    def _issuer_version(self, transaction: Transaction, policy: Policy, spec: SecretSpec) -> int:
        record = transaction.secret(policy.namespace, policy.name, spec.issuer) if spec.issuer else None
        return record.version if record else 0

    def _generate(
        self, transaction: Transaction, policy: Policy, spec: SecretSpec, now: datetime
    ) -> tuple[Material, int]:
        if spec.kind is Kind.X509_CA:
            return self._authority(spec, now)
        if spec.kind is Kind.X509:
            return self._issue(transaction, policy, spec, now)
        if spec.kind is Kind.PASSWORD:
            return Material(value=self._password(spec.length)), 0
        size = spec.bits // 8 if spec.kind is Kind.SYMMETRIC_KEY else spec.length
        return Material(value=self._draw(size)), 0

    def _password(self, length: int) -> bytes:
        letters = bytearray()
        while len(letters) < length:
            letters += bytes(_LETTERS[one % len(_LETTERS)] for one in self._draw(length) if one < _FAIR)
        return bytes(letters[:length])

    def _authority(self, spec: SecretSpec, now: datetime) -> tuple[Material, int]:
        key = certificates.new_key()
        certificate = certificates.issue_ca(spec.common_name, key, now, self._draw(16))
        text = certificates.pem(certificate)
        material = Material(key=certificates.key_pem(key), certificate=text, chain=text)
        return material, int(certificate.not_valid_after_utc.timestamp())

    def _issue(self, transaction: Transaction, policy: Policy, spec: SecretSpec, now: datetime) -> tuple[Material, int]:
        issuer_spec = policy.secret(spec.issuer)
        if issuer_spec is None:
            raise Misconfigured("secret-issuer", f"The issuer of {spec.name} is not in its policy.")
        issuer, _ = self._stored(transaction, policy, issuer_spec, now)
        authority = certificates.load_certificate(issuer.certificate), certificates.load_key(issuer.key)
        key = certificates.new_key()
        certificate = certificates.issue_leaf(spec.common_name, spec.dns, key, authority, now, self._draw(16))
        text = certificates.pem(certificate)
        material = Material(key=certificates.key_pem(key), certificate=text, chain=text + issuer.certificate)
        return material, int(certificate.not_valid_after_utc.timestamp())

    def _store(
        self,
        transaction: Transaction,
        policy: Policy,
        spec: SecretSpec,
        material: Material,
        now: datetime,
        origin: str,
        expires: int = 0,
    ) -> SecretRecord:
        before = transaction.secret(policy.namespace, policy.name, spec.name)
        record = SecretRecord(
            id=entropy.identifier(),
            namespace=policy.namespace,
            policy=policy.name,
            name=spec.name,
            version=before.version + 1 if before else 1,
            kind=spec.kind,
            recipe=_recipe(spec, self._issuer_version(transaction, policy, spec)),
            wrapped=b"",
            ciphertext=b"",
            public=material.certificate.decode("ascii"),
            origin=origin,
            created=int(now.timestamp()),
            expires=expires,
        )
        wrapped, ciphertext = self._vault.lock(_pack(material), _bound(record))
        record = replace(record, wrapped=wrapped, ciphertext=ciphertext)
        transaction.add_secret(record)
        return record

    def _open(self, record: SecretRecord) -> Material:
        return _unpack(self._vault.unlock(record.wrapped, record.ciphertext, _bound(record)))


def _per_instance(spec: SecretSpec) -> bool:
    return spec.kind is Kind.X509 and spec.scope is Scope.INSTANCE


def _margin(spec: SecretSpec) -> float:
    """Seconds before its end at which a certificate is replaced; an authority is used to its end."""
    return certificates.RENEW_BEFORE.total_seconds() if spec.kind is Kind.X509 else 0.0


def _recipe(spec: SecretSpec, issuer: int) -> str:
    fields: dict[str, Any] = {"kind": str(spec.kind)}
    if spec.kind in (Kind.RANDOM, Kind.PASSWORD):
        fields["length"] = spec.length
    if spec.kind is Kind.SYMMETRIC_KEY:
        fields["bits"] = spec.bits
    if spec.kind in (Kind.X509, Kind.X509_CA):
        fields |= {"commonName": spec.common_name, "dns": list(spec.dns), "issuer": spec.issuer, "of": issuer}
    return canonical_json(fields).decode()


def _bound(record: SecretRecord) -> tuple[str, ...]:
    return record.namespace, record.policy, record.name, str(record.version)


def _pack(material: Material) -> bytes:
    parts = ("value", "key", "certificate", "chain")
    return canonical_json({part: b64url(getattr(material, part)) for part in parts})


def _unpack(data: bytes) -> Material:
    fields = load_json(data, "secret", _MAX_RECORD)
    return Material(**{part: unb64url(value, "secret") for part, value in fields.items()})
