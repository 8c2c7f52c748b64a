"""The policy to approve: what the broker will ask of this image, as a YAML text that is the same every time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from kloister.errors import Misconfigured
from kloister.formats.enclave.launch import LaunchDocument
from kloister.formats.policy import parse_policy
from kloister.images.convert.options import ConvertOptions

MRENCLAVE, MRSIGNER = "@MRENCLAVE@", "@MRSIGNER@"
LAYER_SECRET = "layer"  # noqa: S105 - the name of a secret of the policy
_HEADER = """\
# The policy to approve for this image, written by `kloister convert`.
# Read it, then: kloister policy apply FILE
"""


def policy_text(mrenclave: bytes, mrsigner: bytes, launch: LaunchDocument, options: ConvertOptions) -> str:
    """The policy as YAML: the user's template filled in, or one that admits exactly this enclave.

    Raises:
        Misconfigured: `policy-template`, when the template has no place for the measurement.
        Malformed: `policy-invalid`, when a name cannot be a policy's.
    """
    if options.template is not None:
        return _filled(options.template, mrenclave, mrsigner)
    document = policy_document(mrenclave, launch, options)
    parse_policy(document)
    return _HEADER + "\n".join(_yaml(document, 0)) + "\n"


def policy_document(mrenclave: bytes, launch: LaunchDocument, options: ConvertOptions) -> dict[str, Any]:
    """The policy as plain values."""
    namespace, name = options.policy
    attestation: dict[str, Any] = {
        "any": [{"sgx": {"mrenclave": mrenclave.hex(), "debug": options.debug}}],
        "tcb": {"accept": ["UpToDate"]},
    }
    if options.simulated:
        attestation["simulated"] = "allow"
    document: dict[str, Any] = {
        "apiVersion": "kloister.dev/v1",
        "kind": "Policy",
        "metadata": {"namespace": namespace, "name": name},
        "attestation": attestation,
    }
    if launch.private is not None:
        secret = {"name": launch.private.secret, "kind": "symmetric-key", "bits": 256, "imported": True}
        document["secrets"] = [secret]
    service: dict[str, Any] = {"name": launch.broker.service if launch.broker else "app"}
    if not any("{{" in argument for argument in launch.image.arguments):  # it would be read as a template
        service["arguments"] = list(launch.image.arguments)
    document["services"] = [service]
    return document


def _filled(template: str, mrenclave: bytes, mrsigner: bytes) -> str:
    if MRENCLAVE not in template and MRSIGNER not in template:
        raise Misconfigured(
            "policy-template",
            f"The policy template has no {MRENCLAVE}: the policy would not name this image.",
            f"Write `mrenclave: {MRENCLAVE!r}` under attestation.any[].sgx.",
        )
    return template.replace(MRENCLAVE, mrenclave.hex()).replace(MRSIGNER, mrsigner.hex())


def _yaml(value: Mapping[str, Any], depth: int) -> Iterator[str]:
    """Block style for maps and lists of maps; everything else is JSON, which YAML 1.2 contains."""
    indent = "  " * depth
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield f"{indent}{key}:"
            yield from _yaml(item, depth + 1)
        elif isinstance(item, list) and item and all(isinstance(one, Mapping) for one in item):
            yield f"{indent}{key}:"
            for one in item:
                first, *rest = _yaml(one, depth + 2)
                yield f"{indent}  - {first.strip()}"
                yield from rest
        else:
            yield f"{indent}{key}: {json.dumps(item, ensure_ascii=False)}"
