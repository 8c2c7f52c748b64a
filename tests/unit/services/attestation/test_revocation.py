"""AMD's revocation lists in the service: from files, from AMD's service, absent, old, of others."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kloister.formats.wire import b64url
from kloister.serve.attestation import AttestationProcess
from kloister.serve.collateral import open_amd_source
from kloister.services.attestation.revocation import FetchedLists
from kloister.services.attestation.waiting import NeedsWaiting
from kloister.services.collateral.settings import Settings
from kloister.simulator.pcs import PcsAnswer
from tests.support.attestation import AAD, Answer, ask, running, settings
from tests.support.pcs import Server, serving, status
from tests.support.snp import Issued, SnpForge, pem

TODAY = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
PERIOD = Issued(start=TODAY - 30 * DAY, end=TODAY + 30 * DAY)
FORGE = SnpForge(vek=PERIOD, ask=PERIOD, ark=PERIOD)
ASK_SERIAL = 2


def crl(*revoked: int, **others: Any) -> bytes:
    return FORGE.crl(*revoked, **{"start": TODAY - DAY, "end": TODAY + DAY, **others})


def body(forge: SnpForge = FORGE) -> dict[str, str]:
    chain = pem(forge.vek_der()) + forge.chain()
    evidence = {"SnpReport": b64url(forge.signed()), "VcekCertChain": b64url(chain)}
    return {"report": b64url(json.dumps(evidence).encode())}


def attest(process: AttestationProcess, forge: SnpForge = FORGE) -> Answer:
    return ask(process, "POST", "/attest/SevSnpVm", body(forge), bearer=None)


def service(tmp_path: Path, **collateral: Any) -> Any:
    (tmp_path / "ark.der").write_bytes(FORGE.ark_der())
    given: dict[str, Any] = {
        "instances": [{"base_url": AAD}],
        "appraisal": {"extra_roots": ["ark.der"]},
        "collateral": collateral,
    }
    return running(settings(tmp_path, **given))


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    directory = tmp_path / "lists"
    directory.mkdir()
    return directory


def test_a_list_among_the_files_is_judged_by(tmp_path: Path, lists: Path) -> None:
    given = crl()
    (lists / "milan.crl").write_bytes(given)
    with service(tmp_path, directory="lists") as process:
        collateral = attest(process).claims["kloister-collateral"]
        assert collateral["hashes"] == {"crlhash": hashlib.sha256(given).hexdigest()}
        assert collateral["expires"] == (TODAY + DAY).strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = ask(process, "GET", "/readyz").json
        assert [one["name"] for one in ready["collateral"]] == ["revocations, milan.crl"]
        assert ready["collateral"][0]["expires"] == collateral["expires"]

        (lists / "newer.crl").write_bytes(crl(ASK_SERIAL, start=TODAY - DAY / 2))
        process._look()
        assert (attest(process).status, attest(process).reason) == (400, "ask-revoked")
        text = ask(process, "GET", "/metrics").body.decode()
        (age,) = re.findall(r"^kloister_attestation_collateral_age_seconds (\S+)$", text, re.MULTILINE)
        assert 86400 <= float(age) <= (datetime.now(UTC) - TODAY + DAY).total_seconds()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (crl(3), ""),
        (crl(end=TODAY - DAY / 2), "ark-crl-expired"),
        (crl(signer=(2, 3)), "ark-crl-signature"),
    ],
)
def test_a_list_counts_as_the_verifier_says(tmp_path: Path, lists: Path, data: bytes, reason: str) -> None:
    (lists / "milan.crl").write_bytes(data)
    with service(tmp_path, directory="lists") as process:
        assert attest(process).reason == reason
        assert ask(process, "GET", "/readyz").status == (503 if reason == "ark-crl-expired" else 200)


def test_without_a_list_of_this_root_revocation_is_not_judged(tmp_path: Path, lists: Path) -> None:
    (lists / "other.crl").write_bytes(crl(ASK_SERIAL, issuer="ARK-Genoa"))
    (lists / "damaged.crl").write_bytes(b"no list")
    with service(tmp_path, directory="lists") as process:
        claims = attest(process).claims
    assert set(claims["kloister-collateral"]) == {"expires"}


class Kds:
    """What AMD's service hands out."""

    def __init__(self) -> None:
        self.crl = crl()

    def answer(self, path: str, _query: Mapping[str, str]) -> PcsAnswer:
        return PcsAnswer(200, "application/pkix-crl", self.crl) if path == "/vcek/v1/Milan/crl" else PcsAnswer(404)


@pytest.fixture
def kds() -> Iterator[tuple[Kds, Server]]:
    made = Kds()
    with serving(made.answer) as server:
        yield made, server


def test_a_list_is_fetched_once_and_kept(tmp_path: Path, kds: tuple[Kds, Server]) -> None:
    _, server = kds
    with service(tmp_path, kds_url=server.url) as process:
        assert "hashes" in attest(process).claims["kloister-collateral"]
        assert attest(process).status == 200
        process._look()
    assert len(server.asked) == 1


def test_what_is_fetched_revokes(tmp_path: Path, kds: tuple[Kds, Server]) -> None:
    kds[0].crl = crl(ASK_SERIAL)
    with service(tmp_path, kds_url=kds[1].url) as process:
        assert (attest(process).status, attest(process).reason) == (400, "ask-revoked")


def test_without_the_list_that_is_wanted_nothing_is_judged(tmp_path: Path, kds: tuple[Kds, Server]) -> None:
    _, server = kds
    with service(tmp_path, kds_url=server.url) as process:
        server.always(status(404))
        assert attest(process).status == 503
        server.fail()
        assert attest(process).status == 200


def test_a_strangers_report_asks_nobody(tmp_path: Path, kds: tuple[Kds, Server]) -> None:
    stranger = replace(FORGE, ark_key=(2, 3))
    with service(tmp_path, kds_url=kds[1].url) as process:
        assert attest(process, stranger).reason == "root-untrusted"
        assert attest(process, replace(FORGE, signing=2)).reason == "snp-report-signature"
    assert not kds[1].asked


def test_what_was_fetched_grows_old(tmp_path: Path, kds: tuple[Kds, Server]) -> None:
    now = [0.0]
    source = open_amd_source(Settings.of({}, sources=[f"kds+{kds[1].url}"], cache=tmp_path), [FORGE.root])
    found = FetchedLists({FORGE.root.fingerprint: source}, lambda: now[0])
    with pytest.raises(NeedsWaiting):
        found.of(FORGE.root, wait=False)
    first = found.of(FORGE.root, wait=True)
    now[0] = FetchedLists.FRESH
    assert found.of(FORGE.root, wait=False) is first
    now[0] += 1
    with pytest.raises(NeedsWaiting):
        found.of(FORGE.root, wait=False)
    found.refresh()
    assert found.of(FORGE.root, wait=False).data == first.data
