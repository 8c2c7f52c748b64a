"""Nonces that the service gives out, so that evidence can show that it was made after: nothing is kept of them.

A client puts one as `kloister-nonce` into its JSON runtime data, whose hash the evidence binds.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Any

from kloister.errors import KloisterError, Unverified
from kloister.formats.wire import b64url, length_prefixed, unb64url
from kloister.services.broker.vault import Vault

MEMBER = "kloister-nonce"
LIFE = 120  # seconds
_RANDOM, _MAC, _TIME = 16, 16, 8  # bytes
_DOMAIN = b"kloister/attestation/nonce/v1"


class Nonces:
    """Makes and knows them; any replica knows those of the others.

    Args:
        vault: authenticates them.
        draw: randomness.
    """

    def __init__(self, vault: Vault, draw: Callable[[int], bytes]) -> None:
        self._vault = vault
        self._draw = draw

    def make(self, instance: str, now: int) -> dict[str, Any]:
        """`{"nonce", "expires"}`; `expires` in unix seconds."""
        body = (now + LIFE).to_bytes(_TIME, "big") + self._draw(_RANDOM)
        return {"nonce": b64url(body + self._mac(instance, body)), "expires": now + LIFE}

    def check(self, nonce: Any, instance: str, now: int) -> None:
        """Return if this service gave it out for this instance, not long ago.

        Raises:
            Unverified: `attestation-nonce`, `attestation-nonce-expired`.
        """
        body = self._opened(nonce, instance)
        if body is None:
            raise Unverified("attestation-nonce", f"The {MEMBER} of the runtime data is not one of this instance's.")
        if now > int.from_bytes(body[:_TIME], "big"):
            raise Unverified("attestation-nonce-expired", f"The {MEMBER} of the runtime data is too old.", "Get one.")

    def is_ours(self, nonce: Any, instance: str) -> bool:
        """Whether this service gave it out for this instance, ever: who only sends it has not bound anything to it."""
        return self._opened(nonce, instance) is not None

    def _opened(self, nonce: Any, instance: str) -> bytes | None:
        try:
            data = unb64url(nonce, "nonce")
        except KloisterError:
            return None
        body, mac = data[: _TIME + _RANDOM], data[_TIME + _RANDOM :]
        return body if hmac.compare_digest(mac, self._mac(instance, body)) else None

    def bound(self, claims: Mapping[str, Any], instance: str, now: int) -> str | None:
        """The nonce that evidence binds by its JSON runtime data; None where there is none. Raises as `check`."""
        runtime = claims.get("x-ms-runtime")
        if not isinstance(runtime, dict) or MEMBER not in runtime:
            return None
        self.check(runtime[MEMBER], instance, now)
        return str(runtime[MEMBER])

    def _mac(self, instance: str, body: bytes) -> bytes:
        return self._vault.authenticate(_DOMAIN + length_prefixed([instance.encode(), body]))[:_MAC]
