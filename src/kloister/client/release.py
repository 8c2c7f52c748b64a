"""The guest's half of the release exchange (architecture.md 10)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from kloister.client.tls import Connection
from kloister.clock import monotonic
from kloister.errors import Denied, KloisterError, Malformed, Unavailable
from kloister.formats.protocol.release import (
    CHALLENGE_PATH,
    MAX_REQUEST,
    MAX_RESPONSE,
    RELEASE_PATH,
    Bundle,
    Challenge,
    ChallengeRequest,
    Refusal,
    ReleaseRequest,
    Sealed,
    open_sealed,
    public_key,
)

_OK = 200
_SERVER_ERROR = 500
_TOO_MANY = 429
_FIRST_PAUSE = 0.1  # seconds before the second attempt; doubled each time


@dataclass(frozen=True, slots=True)
class Purpose:
    """Whose secrets are asked for: the measured names, and the instance that the host chose."""

    namespace: str
    policy: str
    service: str
    instance: str


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try: seconds for finding a broker that answers, seconds for one exchange with it."""

    reach: float = 30.0
    exchange: float = 30.0


def request_release(
    address: str,
    ca: str,
    purpose: Purpose,
    private: bytes,
    quote: Callable[[bytes], bytes],
    patience: Patience = Patience(),
) -> Bundle:
    """Ask the broker for the secrets of this workload.

    Args:
        address: `HOST:PORT`, not trusted.
        ca: the one certificate authority that the broker must be under, PEM.
        purpose: what is asked for.
        private: a fresh X25519 private key, 32 bytes, used for this call only.
        quote: makes a quote with the 64 bytes of report data given.
        patience: time limits.

    Raises:
        Denied: the broker's refusal with its own code; the text names the id for `kloister explain`.
        Unverified: `broker-impostor`, `release-sealed`, `release-key`.
        Unavailable: `broker-unreachable`, `broker-unavailable`.
        Malformed: `broker-response` and the messages' own codes.
        Misconfigured: `broker-address`, `broker-ca`.
    """
    connection, challenge = _reach(address, ca, purpose, patience)
    try:
        names = (purpose.namespace, purpose.policy, purpose.service, purpose.instance)
        key, broker_key = public_key(private), connection.peer_key
        asked = ReleaseRequest(challenge.nonce, *names, key=key, quote=b"")
        binding = asked.binding(broker_key)
        evidence = quote(binding.report_data())
        request = ReleaseRequest(challenge.nonce, *names, key=key, quote=evidence)
        answer = _ask(connection, RELEASE_PATH, request.build(), MAX_RESPONSE)
        return open_sealed(Sealed.parse(answer), binding, evidence, private)
    finally:
        connection.close()


def _reach(address: str, ca: str, purpose: Purpose, patience: Patience) -> tuple[Connection, Challenge]:
    """A connection on which a challenge was answered; only what cannot have had an effect is tried again."""
    request = ChallengeRequest(purpose.namespace, purpose.policy).build()
    end = monotonic() + patience.reach
    pause = _FIRST_PAUSE
    while True:
        try:
            return _challenge(address, ca, request, patience.exchange)
        except Unavailable:
            if monotonic() + pause > end:
                raise
        time.sleep(pause)
        pause *= 2


def _challenge(address: str, ca: str, request: bytes, seconds: float) -> tuple[Connection, Challenge]:
    connection = Connection(address, ca, seconds)
    try:
        return connection, Challenge.parse(_ask(connection, CHALLENGE_PATH, request, MAX_REQUEST))
    except BaseException:
        connection.close()
        raise


def _ask(connection: Connection, path: str, body: bytes, limit: int) -> bytes:
    status, answer = connection.post(path, body, limit)
    if status == _OK:
        return answer
    raise _refusal(status, answer)


def _refusal(status: int, answer: bytes) -> KloisterError:
    if status >= _SERVER_ERROR or status == _TOO_MANY:
        return Unavailable(
            "broker-unavailable", f"The broker answered with status {status}.", "Try again; look into the broker's log."
        )
    try:
        refusal = Refusal.parse(answer)
    except Malformed:
        return Malformed("broker-response", f"The broker answered with status {status} and no reason that can be read.")
    return Denied(
        refusal.code,
        f"The broker refused: {refusal.text} (refusal {refusal.id})",
        refusal.hint or f"Its operator sees the whole reason with: kloister explain {refusal.id}",
    )
