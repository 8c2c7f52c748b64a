"""The first round of TPM attestation: a challenge, and a sealed note to ourselves for the second."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from kloister.errors import Denied, Malformed
from kloister.formats.protocol.maa import decode
from kloister.formats.wire import b64url, canonical_json, load_json
from kloister.services.attestation.instances import Snapshot
from kloister.services.attestation.kinds import Kind
from kloister.services.attestation.settings import InstanceSettings
from kloister.services.broker.vault import Vault

_CHALLENGE = 16  # bytes
_MAX_MESSAGE = 64 * 1024  # bytes
_CONTEXT = "tpm-service-context"


class TpmDesk:
    """Answers the messages of TPM attestation.

    Args:
        snapshot: what is in force on an instance.
        vault: seals the service's context, so that nothing is kept between rounds.
        draw: randomness.
        unix: the present.
    """

    def __init__(
        self,
        snapshot: Callable[[InstanceSettings], Snapshot],
        vault: Vault,
        draw: Callable[[int], bytes],
        unix: Callable[[], int],
    ) -> None:
        self._snapshot = snapshot
        self._vault = vault
        self._draw = draw
        self._unix = unix

    def answer(self, instance: InstanceSettings, document: dict[str, Any]) -> str:
        """`data` of the answer to a request.

        Raises:
            Malformed: `tpm-message`. Denied: `policy-missing`.
        """
        if self._snapshot(instance).policies[Kind.TPM].policy is None:
            raise Denied(
                "policy-missing",
                "A VBS attestation policy has not been set on the attestation provider.",
                "Set a policy for Tpm first.",
            )
        data = document.get("data")
        message = load_json(decode(data if isinstance(data, str) else "", "data"), "tpm-message", _MAX_MESSAGE)
        payload = message.get("payload") if isinstance(message, dict) else None
        if not isinstance(payload, dict) or payload.get("type") != "aikcert":
            raise Malformed("tpm-message", "Only the first message of TPM attestation (aikcert) is answered here.")
        return b64url(json.dumps({"payload": self._challenge(instance)}).encode("ascii"))

    def _challenge(self, instance: InstanceSettings) -> dict[str, str]:
        challenge = b64url(self._draw(_CHALLENGE))
        note = canonical_json({"challenge": challenge, "at": self._unix()})
        wrapped, ciphertext = self._vault.lock(note, (_CONTEXT, instance.base_url))
        return {"challenge": challenge, "service_context": b64url(wrapped + ciphertext)}
