"""What a service receives once it is allowed: its templates filled in, its slots, its keys."""

from __future__ import annotations

from collections.abc import Mapping

from kloister.errors import Denied
from kloister.formats.policy import Kind, Policy, Service
from kloister.formats.protocol.release import Bundle, SecretFile
from kloister.trust.policy.template import Material, references, render


def needed(policy: Policy, service: Service) -> tuple[str, ...]:
    """The secrets that go to a service, in the document's order.

    These are the ones its templates use and every symmetric key: layer keys are wanted by the launcher, not by a text.
    """
    used = references(service)
    return tuple(one.name for one in policy.secrets if one.name in used or one.kind is Kind.SYMMETRIC_KEY)


def assemble(policy: Policy, service: Service, secrets: Mapping[str, Material]) -> Bundle:
    """The bundle for one instance; `secrets` holds what `needed` names.

    Raises:
        Denied: `secret-not-text`, an uploaded value is used where only text can stand.
    """
    arguments = service.arguments
    return Bundle(
        arguments=None if arguments is None else tuple(_text(one, "arguments", secrets) for one in arguments),
        environment={name: _text(one, name, secrets) for name, one in service.environment.items()},
        files=tuple(
            SecretFile(file.path, file.mode, file.owner, file.group, render(file.content, secrets))
            for file in service.files
        ),
        slots=dict(service.slots),
        keys={one.name: secrets[one.name].value for one in policy.secrets if one.kind is Kind.SYMMETRIC_KEY},
        output=service.output,
    )


def _text(template: str, where: str, secrets: Mapping[str, Material]) -> str:
    try:
        text = render(template, secrets).decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise Denied(
            "secret-not-text",
            f"A secret that {where} uses is not text.",
            "Upload text with `kloister secret set`, or use the part hex or base64.",
        )
    return text
