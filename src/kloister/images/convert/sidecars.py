"""What is written beside a converted image: the policy to approve, and the secrets to hand to the broker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kloister import files
from kloister.errors import Malformed
from kloister.formats.wire import canonical_json, load_json, unhex
from kloister.images.convert.options import Conversion
from kloister.images.sources.reference import parse_reference
from kloister.images.staging import disk_errors


@dataclass(frozen=True, slots=True)
class Sidecars:
    """The two files' places: `out.policy.yaml` and `out.keys.json` for `oci:out`, `out.TAG...` for a tag."""

    policy: Path
    keys: Path

    @classmethod
    def beside(cls, destination: str) -> Sidecars:
        """The places for a destination reference.

        Raises:
            Misconfigured: `reference-*`.
        """
        reference = parse_reference(destination)
        tag = f".{reference.tag.replace('/', '_')}" if reference.tag not in ("", "latest") else ""
        return cls.named(reference.path.parent, reference.path.name + tag)

    @classmethod
    def named(cls, directory: Path, name: str) -> Sidecars:
        """The places for an image of the local store."""
        return cls(directory / f"{name}.policy.yaml", directory / f"{name}.keys.json")

    def write(self, conversion: Conversion, policy: tuple[str, str]) -> tuple[Path, ...]:
        """Write both (the keys readable by their owner only, and only where something is encrypted); what was written.

        Raises:
            Misconfigured: `disk-full`, `destination-unwritable`.
        """
        with disk_errors(self.policy):
            self.policy.parent.mkdir(parents=True, exist_ok=True)
            files.replace(self.policy, conversion.policy.encode("utf-8"), mode=None)
            if not conversion.secrets:
                self.keys.unlink(missing_ok=True)  # of an earlier conversion of the same name
                return (self.policy,)
            files.replace(self.keys, keys_document(conversion, policy))
        return (self.policy, self.keys)


MAX_KEYS = 64 * 1024  # bytes of a keys file; each key has 64 digits


def parse_keys(data: bytes) -> tuple[str, dict[str, bytes]]:
    """The policy (`namespace/name`) and the secrets of a keys file.

    Raises:
        Malformed: `keys-json`, `keys-size`, `keys-fields`, `keys-hex`.
    """
    document = load_json(data, "keys", MAX_KEYS)
    if not isinstance(document, dict) or document.keys() != {"policy", "secrets"}:
        raise _not_keys()
    policy, secrets = document["policy"], document["secrets"]
    if not isinstance(policy, str) or not isinstance(secrets, dict):
        raise _not_keys()
    return policy, {name: unhex(value, "keys") for name, value in secrets.items()}


def _not_keys() -> Malformed:
    return Malformed(
        "keys-fields", "This is no keys file of `kloister convert`.", "Name the .keys.json beside the image."
    )


def keys_document(conversion: Conversion, policy: tuple[str, str]) -> bytes:
    """The keys file: JSON, `{"policy": "namespace/name", "secrets": {name: hexadecimal}}`.

    `kloister policy apply --keys` hands them over and deletes the file; the sealed key cache still has them.
    """
    secrets = {name: value.hex() for name, value in conversion.secrets.items()}
    return canonical_json({"policy": "/".join(policy), "secrets": secrets}) + b"\n"
