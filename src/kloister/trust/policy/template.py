"""`{{ secrets.NAME.PART }}` in a policy's texts: replaced by a part of a secret; other braces are an error."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from kloister.errors import Malformed, Misused
from kloister.formats.policy import Kind, Policy, SecretSpec, Service

_REFERENCE = re.compile(r"\{\{ *secrets\.([a-z0-9-]+)\.([a-z0-9]+) *\}\}")

_BYTES = ("value", "hex", "base64")
PARTS: dict[Kind, tuple[str, ...]] = {
    Kind.VALUE: _BYTES,
    Kind.PASSWORD: _BYTES,
    Kind.RANDOM: _BYTES,
    Kind.SYMMETRIC_KEY: _BYTES,
    Kind.X509_CA: ("certificate", "chain"),  # its key never leaves the broker
    Kind.X509: ("key", "certificate", "chain"),
}
_BINARY = (Kind.RANDOM, Kind.SYMMETRIC_KEY)  # their raw value is not text: files only


@dataclass(frozen=True, slots=True)
class Material:
    """A secret's value: `value` for plain kinds, PEM of key and certificates for X.509.

    Attributes:
        value: the bytes of a plain secret.
        key: private key, PEM (PKCS #8).
        certificate: PEM of the certificate itself.
        chain: PEM of the certificate followed by its issuer.
    """

    value: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    certificate: bytes = b""
    chain: bytes = b""

    def part(self, name: str) -> bytes:
        """The bytes that a template's part stands for."""
        if name == "hex":
            return self.value.hex().encode()
        if name == "base64":
            return base64.b64encode(self.value)
        if name in ("value", "key", "certificate", "chain"):
            part: bytes = getattr(self, name)
            return part
        raise Misused("template-part", "A template was not checked before it was filled in.")


@dataclass(frozen=True, slots=True)
class Reference:
    """One `{{ secrets.NAME.PART }}`."""

    secret: str
    part: str


def parse(template: str, path: str) -> tuple[str | Reference, ...]:
    """Texts and references in order.

    Raises:
        Malformed: `template-syntax`, braces that are not a reference.
    """
    pieces: list[str | Reference] = []
    end = 0
    for match in _REFERENCE.finditer(template):
        pieces.extend([template[end : match.start()], Reference(match[1], match[2])])
        end = match.end()
    pieces.append(template[end:])
    for piece in pieces:
        if isinstance(piece, str) and "{{" in piece:
            raise Malformed(
                "template-syntax",
                f"{path} holds {{{{ that does not begin {{{{ secrets.NAME.PART }}}}.",
                "Only secrets are filled in; there are no expressions, filters or loops.",
            )
    return tuple(piece for piece in pieces if piece != "")


def render(template: str, secrets: Mapping[str, Material]) -> bytes:
    """The template with every reference replaced by its bytes; check it first with `check`."""
    return b"".join(
        piece.encode() if isinstance(piece, str) else secrets[piece.secret].part(piece.part)
        for piece in parse(template, "a template")
    )


def templates(service: Service, path: str) -> Iterator[tuple[str, str, bool]]:
    """Every template of a service as (template, path, whether it must give text)."""
    for index, argument in enumerate(service.arguments or ()):
        yield argument, f"{path}.arguments[{index}]", True
    for name, value in service.environment.items():
        yield value, f"{path}.environment.{name}", True
    for index, file in enumerate(service.files):
        yield file.content, f"{path}.files[{index}].content", False


def references(service: Service) -> frozenset[str]:
    """The names of the secrets that a service's templates use."""
    pieces = (piece for template, path, _ in templates(service, "") for piece in parse(template, path))
    return frozenset(piece.secret for piece in pieces if isinstance(piece, Reference))


def check(policy: Policy) -> None:
    """Refuse a policy whose templates could not be filled in.

    Raises:
        Malformed: `template-syntax`, `template-undefined`, `template-part`.
    """
    for index, service in enumerate(policy.services):
        for template, path, text in templates(service, f"services[{index}]"):
            for piece in parse(template, path):
                if isinstance(piece, Reference):
                    _check_reference(piece, policy.secret(piece.secret), path, text=text)


def _check_reference(reference: Reference, secret: SecretSpec | None, path: str, *, text: bool) -> None:
    if secret is None:
        raise Malformed(
            "template-undefined",
            f"{path} uses the secret {reference.secret}, which this policy does not define.",
            "Add it under secrets, or correct the name.",
        )
    parts = PARTS[secret.kind]
    if reference.part not in parts:
        raise Malformed(
            "template-part",
            f"{path} uses {reference.part} of {secret.name}, but kind {secret.kind} has {', '.join(parts)}.",
        )
    if text and reference.part == "value" and secret.kind in _BINARY:
        raise Malformed(
            "template-part",
            f"{path} must be text, but the value of {secret.name} is raw bytes.",
            f"Use secrets.{secret.name}.hex or .base64.",
        )
