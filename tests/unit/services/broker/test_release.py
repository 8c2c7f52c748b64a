from __future__ import annotations

import json
import logging
import sqlite3
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509 import load_pem_x509_certificates

from kloister.errors import Unavailable, Unverified
from kloister.formats.dcap import TcbStatus
from kloister.formats.protocol.release import Bundle, ChallengeRequest
from kloister.formats.sgx import Attributes, Flag
from kloister.formats.wire import b64url
from kloister.services.broker.release import Refused
from kloister.services.broker.settings import Settings
from kloister.simulator.documents import TcbStage
from kloister.simulator.pki import SimulatedPki
from tests.support.broker import Guest, Rig, document
from tests.support.evidence import ENCLAVE, Forge

DEBUG = Attributes(ENCLAVE.attributes.flags | Flag.DEBUG, ENCLAVE.attributes.xfrm)
CHALLENGE = ChallengeRequest("clinic", "inference")


def refused(guest: Guest, nonce: bytes | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        guest.ask(nonce)
    return caught.value


def events(rig: Rig) -> list[dict[str, Any]]:
    return [json.loads(one["body"]) for one in rig.admin.audit(0)["entries"]]


def test_the_measured_workload_gets_its_secrets(rig: Rig) -> None:
    bundle = rig.prepared().guest().ask()
    assert bundle.arguments == ("serve", "--licence=licence-1234")
    assert len(bundle.environment["DB_PASSWORD"]) == 32
    assert len(bundle.keys["layer"]) == 32
    key, chain = bundle.files
    assert key.content.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert len(load_pem_x509_certificates(chain.content)) == 2
    assert events(rig)[-1]["event"] == "released"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"enclave": replace(ENCLAVE, mrenclave=bytes(32))}, "measurement-not-allowed"),
        ({"enclave": replace(ENCLAVE, attributes=DEBUG)}, "debug-not-allowed"),
        ({"namespace": "bank"}, "policy-unknown"),
        ({"policy": "training"}, "policy-unknown"),
        ({"service": "nobody"}, "service-unknown"),
        ({"report_data": bytes(64)}, "purpose-mismatch"),
        ({"broker_key": bytes(32)}, "purpose-mismatch"),
        ({"forge": Forge(pki=SimulatedPki.derive(bytes(32)))}, "root-untrusted"),
    ],
)
def test_anybody_else_is_refused_by_code(rig: Rig, changes: dict[str, Any], code: str) -> None:
    rig.prepared().guest().ask()
    refusal = refused(rig.guest(**changes))
    assert refusal.code == code
    detail = rig.admin.refusal(refusal.id)
    assert detail["code"] == code
    entry = events(rig)[-1]
    assert (entry["event"], entry["refusal"], entry["code"]) == ("refused", refusal.id, code)
    rig.guest().ask()


def test_a_quote_for_another_instance_service_or_key_is_for_another_purpose(rig: Rig) -> None:
    rig.prepared()
    for change in ({"instance": "two"}, {"service": "other"}, {"key": bytes([9]) + bytes(31)}):
        request = replace(rig.guest().request(), **change)
        with pytest.raises(Refused) as caught:
            rig.desk.release(request, "guest")
        assert caught.value.code == "purpose-mismatch"


def test_the_detail_names_condition_expected_seen_and_the_way(rig: Rig) -> None:
    rig.prepared()
    detail = rig.admin.refusal(refused(rig.guest(enclave=replace(ENCLAVE, mrenclave=bytes(32)))).id)
    condition = detail["conditions"][0]
    assert condition["path"] == "attestation.any[0].sgx.mrenclave"
    assert (condition["expected"], condition["seen"]) == ("11" * 32, "00" * 32)
    assert "00" * 32 in condition["allow"]
    assert detail["evidence"]["simulated"] is True
    assert (detail["instance"], detail["peer"]) == ("instance-1", "guest")


def test_a_staged_tcb_recovery_refuses_and_the_policy_may_accept(rig: Rig) -> None:
    rig.prepared()
    rig.source.stage = TcbStage(status=TcbStatus.OUT_OF_DATE, advisories=("INTEL-SA-00615",))
    assert refused(rig.guest()).code == "tcb-not-accepted"
    rig.prepared(path="attestation.tcb", change={"accept": ["OutOfDate"]})
    rig.guest().ask()


def test_an_exchange_cannot_be_replayed(rig: Rig) -> None:
    rig.prepared()
    request = rig.guest().request()
    rig.desk.release(request, "guest")
    with pytest.raises(Refused) as caught:
        rig.desk.release(request, "guest")
    assert caught.value.code == "nonce-unknown"


def test_a_refused_request_uses_its_nonce_up(rig: Rig) -> None:
    rig.prepared()
    nonce = rig.desk.challenge(CHALLENGE, "guest").nonce
    assert refused(rig.guest(report_data=bytes(64)), nonce).code == "purpose-mismatch"
    assert refused(rig.guest(), nonce).code == "nonce-unknown"


def test_a_nonce_is_for_one_policy_and_two_minutes(rig: Rig) -> None:
    rig.prepared()
    other = rig.desk.challenge(ChallengeRequest("clinic", "training"), "guest").nonce
    assert refused(rig.guest(), other).code == "nonce-unknown"
    challenge = rig.desk.challenge(CHALLENGE, "guest")
    rig.now += timedelta(seconds=121)
    assert refused(rig.guest(), challenge.nonce).code == "nonce-unknown"
    late = rig.desk.challenge(CHALLENGE, "guest").nonce
    rig.now += timedelta(seconds=120)
    rig.guest().ask(late)


def test_one_of_many_concurrent_requests_wins(rig: Rig) -> None:
    guest = rig.prepared().guest()
    request = guest.request()
    outcomes: list[str] = []
    barrier = threading.Barrier(6)

    def ask() -> None:
        barrier.wait()
        try:
            rig.desk.release(request, "guest")
            outcomes.append("released")
        except Refused as refusal:
            outcomes.append(refusal.code)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["nonce-unknown"] * 5 + ["released"]
    assert [one["event"] for one in events(rig)].count("released") == 1


def test_outstanding_nonces_are_bounded_per_peer_and_in_all(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Settings(simulated=True, outstanding=3, outstanding_per_peer=2))

    def take(peer: str) -> None:
        rig.desk.challenge(CHALLENGE, peer)

    take("a")
    take("a")
    with pytest.raises(Unavailable) as caught:
        take("a")
    assert caught.value.code == "too-many-challenges"
    take("b")
    with pytest.raises(Unavailable):
        take("c")
    rig.now += timedelta(seconds=121)
    take("a")
    rig.close()


def test_a_stranger_cannot_fill_the_disk(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Settings(simulated=True, strangers=2))
    request = rig.guest().request(nonce=bytes(32))
    for _ in range(2):
        with pytest.raises(Refused):
            rig.desk.release(request, "guest")
    with pytest.raises(Unavailable) as caught:
        rig.desk.release(request, "guest")
    assert caught.value.code == "too-many-requests"
    assert len(events(rig)) == 2
    rig.now += timedelta(minutes=1)
    with pytest.raises(Refused):
        rig.desk.release(request, "guest")
    rig.close()


@pytest.mark.parametrize("evidence", [{"forge": Forge(pki=SimulatedPki.derive(bytes(32)))}, {"report_data": bytes(64)}])
def test_a_stranger_with_nonces_cannot_fill_the_disk_either(tmp_path: Path, evidence: dict[str, Any]) -> None:
    """Anybody gets nonces, and a genuine quote is no secret."""
    rig = Rig(tmp_path, Settings(simulated=True, strangers=2)).prepared()
    before = len(events(rig))
    for _ in range(2):
        refused(rig.guest(**evidence))
    with pytest.raises(Unavailable) as caught:
        rig.guest(**evidence).ask()
    assert caught.value.code == "too-many-requests"
    assert len(events(rig)) == before + 2
    assert refused(rig.guest(enclave=replace(ENCLAVE, mrenclave=bytes(32)))).code == "measurement-not-allowed"
    rig.guest().ask()  # who proves what it is finds the door open all the while
    rig.close()


def test_a_secret_that_was_not_uploaded_is_named(rig: Rig) -> None:
    assert rig.apply(document())["missing"] == ["licence"]
    refusal = refused(rig.guest())
    assert refusal.code == "secret-missing"
    assert "kloister secret set clinic/inference licence" in rig.admin.refusal(refusal.id)["hint"]
    rig.prepared().guest().ask()


def test_without_collateral_the_broker_says_that_it_is_its_fault(rig: Rig) -> None:
    rig.prepared()
    rig.source.error = Unavailable("platform-unreachable", "It is away.")
    refusal = refused(rig.guest())
    assert (refusal.code, refusal.ours) == ("collateral-unavailable", True)
    rig.source.error = None
    rig.guest().ask()


def test_collateral_is_kept_while_its_source_is_away_and_refreshed_before_its_end(rig: Rig) -> None:
    rig.prepared().guest().ask()
    rig.guest().ask()
    assert rig.source.asked == 1
    rig.now += timedelta(days=20)
    rig.source.error = Unavailable("platform-unreachable", "It is away.")
    rig.guest().ask()
    rig.now += timedelta(days=20)
    assert refused(rig.guest()).code.endswith("-expired")
    rig.source.error, rig.source.now = None, rig.now
    rig.now += timedelta(minutes=6)
    rig.guest().ask()


def test_a_point_of_small_order_is_refused(rig: Rig) -> None:
    rig.prepared()
    request = rig.guest().request()
    zero = replace(request, key=bytes(32))
    data = zero.binding(bytes(range(100, 132))).report_data()
    quote = replace(Forge(), enclave=replace(ENCLAVE, report_data=data)).quote()
    with pytest.raises(Refused) as caught:
        rig.desk.release(replace(zero, quote=quote), "guest")
    assert caught.value.code == "release-key"


def test_the_answer_is_for_the_asker_alone(rig: Rig) -> None:
    guest = rig.prepared().guest()
    request = guest.request()
    sealed = rig.desk.release(request, "guest")
    with pytest.raises(Unverified):
        replace(guest, private=bytes([7]) * 32).open(request, sealed)
    assert guest.open(request, sealed).environment


def markers(bundle: Bundle) -> list[bytes]:
    raw = [bundle.environment["DB_PASSWORD"].encode(), b"licence-1234", bundle.keys["layer"], bundle.files[0].content]
    return [form for one in raw for form in (one, one.hex().encode(), b64url(one).encode(), b64url(one)[:40].encode())]


def test_no_secret_stands_on_disk_in_logs_or_in_errors(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    bundle = rig.prepared().guest().ask()
    refusal = refused(rig.guest(service="nobody"))
    said = json.dumps([rig.admin.refusal(refusal.id), rig.admin.secrets("clinic", "inference"), events(rig)])
    said += repr(refusal) + repr(bundle) + caplog.text + json.dumps(rig.admin.policy("clinic", "inference"))
    rig.prepared(b"planted-marker")
    (rig.directory / "planted").write_bytes(b"xx" + bundle.keys["layer"])
    found = {
        path.name
        for path in rig.directory.iterdir()
        for marker in markers(bundle)
        if marker in path.read_bytes() or marker in said.encode()
    }
    assert found == {"planted"}


def test_everything_survives_a_restart(rig: Rig) -> None:
    first = rig.prepared().guest().ask()
    refusal = refused(rig.guest(service="nobody"))
    request = rig.guest().request()
    again = Rig(rig.directory)
    second = again.guest().open(request, again.desk.release(request, "guest"))
    assert second.environment == first.environment
    assert second.keys == first.keys
    assert second.files != first.files
    assert again.admin.refusal(refusal.id)["code"] == "service-unknown"
    again.close()


def test_a_damaged_record_is_refused_and_not_released(rig: Rig) -> None:
    rig.prepared().guest().ask()
    database = sqlite3.connect(rig.directory / "broker.db")
    database.execute("UPDATE secrets SET ciphertext = zeroblob(100) WHERE name = 'db'")
    database.commit()
    database.close()
    refusal = refused(rig.guest())
    assert (refusal.code, refusal.ours) == ("secret-damaged", True)
