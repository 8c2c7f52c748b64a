from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kloister.client.release import Patience, Purpose, request_release
from kloister.errors import Denied, KloisterError, Malformed, Unavailable, Unverified
from kloister.formats.protocol.release import (
    Bundle,
    Challenge,
    ChallengeRequest,
    Refusal,
    ReleaseRequest,
    Sealed,
    seal,
)
from tests.unit.client.tls_server import Authority, answer, make_authority, serve

PURPOSE = Purpose("clinic", "inference", "app", "instance-1")
BUNDLE = Bundle(environment={"DB_PASSWORD": "s3cret"}, keys={"layer": bytes(32)})
PRIVATE = bytes(range(32))
PATIENT = Patience(reach=60, exchange=60)
HASTY = Patience(reach=0.3, exchange=60)


def quote(report_data: bytes) -> bytes:
    return b"quote of " + report_data


@dataclass
class Broker:
    """What the real one does with the messages, minus the policy."""

    broker_key: bytes
    seal: Callable[[ReleaseRequest], Sealed] | None = None
    refusal: bytes | None = None
    failures: int = 0
    requests: list[ReleaseRequest] = field(default_factory=list)

    def reply(self, path: str, body: bytes) -> bytes:
        if self.failures:
            self.failures -= 1
            return answer(503, b"busy")
        if path == "/release/v1/challenge":
            ChallengeRequest.parse(body)
            return answer(200, Challenge(b"n" * 32, 2_000_000_000).build())
        request = ReleaseRequest.parse(body)
        self.requests.append(request)
        if self.refusal is not None:
            return answer(403, self.refusal)
        make = self.seal or self.sealed
        return answer(200, make(request).build())

    def sealed(self, request: ReleaseRequest) -> Sealed:
        return seal(BUNDLE, request.binding(self.broker_key), request.quote, b"e" * 32)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("broker"))


def ask(authority: Authority, broker: Broker, patience: Patience = PATIENT) -> Bundle:
    with serve(authority, broker.reply) as server:
        return request_release(server.address, authority.ca, PURPOSE, PRIVATE, quote, patience)


def test_the_secrets_come_for_a_quote_over_the_binding(authority: Authority) -> None:
    broker = Broker(authority.broker_key)
    assert ask(authority, broker) == BUNDLE
    (request,) = broker.requests
    assert request.quote == quote(request.binding(authority.broker_key).report_data())
    assert (request.namespace, request.policy, request.service, request.instance) == (
        "clinic",
        "inference",
        "app",
        "instance-1",
    )


def test_a_busy_broker_is_asked_again(authority: Authority) -> None:
    assert ask(authority, Broker(authority.broker_key, failures=1)) == BUNDLE


def test_a_broker_that_stays_busy_is_unavailable(authority: Authority) -> None:
    with pytest.raises(Unavailable) as caught:
        ask(authority, Broker(authority.broker_key, failures=100), HASTY)
    assert caught.value.code == "broker-unavailable"


def test_a_refusal_carries_code_and_id(authority: Authority) -> None:
    refusal = Refusal("abcdefghij234567abcd", "measurement", "No policy allows this measurement.", "")
    broker = Broker(authority.broker_key, refusal=refusal.build())
    with pytest.raises(Denied) as caught:
        ask(authority, broker)
    assert caught.value.code == "measurement"
    assert "abcdefghij234567abcd" in caught.value.text
    assert "kloister explain abcdefghij234567abcd" in caught.value.hint
    assert len(broker.requests) == 1  # a release is never repeated: its nonce is consumed


def test_a_refusal_that_cannot_be_read(authority: Authority) -> None:
    with pytest.raises(Malformed) as caught:
        ask(authority, Broker(authority.broker_key, refusal=b"<html>no</html>"))
    assert caught.value.code == "broker-response"


def test_secrets_for_another_broker_key_do_not_open(authority: Authority) -> None:
    with pytest.raises(Unverified) as caught:
        ask(authority, Broker(b"x" * 32))
    assert caught.value.code == "release-sealed"


def test_an_impostor_is_not_even_asked(authority: Authority, tmp_path: Path) -> None:
    impostor = make_authority(tmp_path, "broker")
    broker = Broker(impostor.broker_key)
    with serve(impostor, broker.reply) as server, pytest.raises(Unverified) as caught:
        request_release(server.address, authority.ca, PURPOSE, PRIVATE, quote, PATIENT)
    assert (caught.value.code, server.seen) == ("broker-impostor", [])


def test_a_quote_that_fails_ends_the_exchange(authority: Authority) -> None:
    def broken(_report_data: bytes) -> bytes:
        raise Unavailable("quote-unavailable", "No quote.")

    broker = Broker(authority.broker_key)
    with serve(authority, broker.reply) as server, pytest.raises(KloisterError) as caught:
        request_release(server.address, authority.ca, PURPOSE, PRIVATE, broken, PATIENT)
    assert (caught.value.code, broker.requests) == ("quote-unavailable", [])
