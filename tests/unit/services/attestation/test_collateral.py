from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kloister.errors import Malformed, Misconfigured
from kloister.formats.dcap import CertificationData, CertificationType
from kloister.formats.tokens.policy import policy_token
from kloister.formats.wire import b64url
from kloister.serve.attestation import AttestationProcess
from kloister.services.attestation.collateral import DirectoryCollateral, Need, Needs, NoCollateral
from kloister.services.collateral import Tee
from kloister.simulator.documents import TcbStage
from kloister.simulator.pcs import SimulatedPcs
from kloister.simulator.pki import SimulatedPki
from tests.support.attestation import ask, running, settings, sgx_quote, tdx_quote
from tests.support.evidence import NOW, SEED, Forge
from tests.support.paths import vectors
from tests.support.pcs import reset, serving


def write(directory: Path, name: str, **others: Any) -> None:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(Forge().documents(**others)))


def need(**others: Any) -> Need:
    return Needs().of(sgx_quote(), **others)


def test_what_a_quote_needs() -> None:
    needs = Needs()
    sgx, tdx = needs.of(sgx_quote()), needs.of(tdx_quote())
    assert (sgx.tee, tdx.tee) == (Tee.SGX, Tee.TDX)
    assert sgx.fmspc == tdx.fmspc == Forge().pki.fmspc
    assert needs.of(sgx_quote(b"other")) is sgx
    assert needs.of(sgx_quote(), 12).evaluation_number == 12
    with pytest.raises(Malformed):
        needs.of(b"no quote")


def test_the_best_bundle_is_taken(tmp_path: Path) -> None:
    earlier, number = NOW - timedelta(days=300), TcbStage().evaluation_number
    write(tmp_path, "old.json", now=earlier)
    write(tmp_path, "new/collateral.json", stage=TcbStage(evaluation_number=number + 1))
    write(tmp_path, "same.json")
    found = DirectoryCollateral(tmp_path, pytest.fail)
    now = found.fetch(need(), NOW)
    assert (now.evaluation_number, now.issued <= NOW <= now.expires) == (number + 1, True)
    then = found.fetch(need(), earlier)
    assert then.issued <= earlier <= then.expires
    wanted = found.fetch(need(evaluation_number=number), NOW)
    assert (wanted.evaluation_number, wanted.issued <= NOW <= wanted.expires) == (number, True)
    assert found.held(need(evaluation_number=number + 2), NOW) is None
    with pytest.raises(Malformed) as caught:
        found.fetch(need(evaluation_number=number + 2), NOW)
    assert caught.value.code == "collateral-none"
    assert len(found.windows()) == 1


def test_a_bundle_under_another_root_is_not_taken(tmp_path: Path) -> None:
    sets = [vectors("evidence", "ownpki", name, "collateral.json") for name in ("sgx-v3-uptodate", "tdx-v4-uptodate")]
    for index, path in enumerate(sets):
        (tmp_path / f"{index}.json").write_bytes(path.read_bytes())
    quotes = [(path.parent / "quote.bin").read_bytes() for path in sets]
    found = DirectoryCollateral(tmp_path, pytest.fail)
    for quote in quotes:
        assert found.held(Needs().of(quote), NOW) is not None
    assert found.held(need(), NOW) is None


def test_new_files_are_found_and_damaged_ones_passed_over(tmp_path: Path) -> None:
    warnings: list[str] = []
    write(tmp_path, "a.json")
    found = DirectoryCollateral(tmp_path, warnings.append)
    assert not warnings
    first = found.fetch(need(), NOW)
    found.refresh()
    assert found.fetch(need(), NOW) is first
    (tmp_path / "b.json").write_text("{")
    found.refresh()
    assert len(warnings) == 1
    assert "b.json" in warnings[0]
    write(tmp_path, "a.json", stage=TcbStage(evaluation_number=99))
    os.utime(tmp_path / "a.json", ns=(1, 1))
    found.refresh()
    assert len(warnings) == 1
    assert found.fetch(need(), NOW).evaluation_number == 99
    (tmp_path / "a.json").unlink()
    found.refresh()
    assert found.held(need(), NOW) is None


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_directory_without_collateral_is_a_mistake(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Misconfigured) as caught:
        DirectoryCollateral(tmp_path / name, pytest.fail)
    assert caught.value.code == "collateral-directory"


@pytest.mark.parametrize(
    "kind",
    [
        CertificationType.PPID_PLAIN,
        CertificationType.PPID_RSA2048,
        CertificationType.PPID_RSA3072,
        CertificationType.PCK_LEAF,
    ],
)
def test_a_quote_without_its_chain_is_refused_and_told_so(process: AttestationProcess, kind: CertificationType) -> None:
    leaf = Forge().pki.pck.certificate.pem().encode()
    data = leaf if kind is CertificationType.PCK_LEAF else bytes(404)
    quote = Forge(certification=CertificationData(type=kind, data=data)).quote()
    answer = ask(process, "POST", "/attest/SgxEnclave", {"quote": b64url(quote)})
    assert (answer.status, answer.code, answer.reason) == (400, "InvalidParameter", "certification-type")
    assert f"type {int(kind)}, not 5" in answer.json["error"]["message"]


def test_baselines_that_a_policy_can_name(tmp_path: Path) -> None:
    with running(settings(tmp_path)) as process:
        number = TcbStage().evaluation_number

        def listed(kind: str = "SgxEnclave") -> Any:
            return ask(process, "GET", f"/tcbbaselines/{kind}?api-version=2025-06-01").json["tcbBaselines"]

        (default, one) = listed()
        assert (default["tcbIdentifier"], default["isSelectedTcb"]) == ("azuredefault", True)
        assert (one["tcbIdentifier"], one["isSelectedTcb"]) == (str(number), False)
        assert default["tcbEvaluationDataNumber"] == one["tcbEvaluationDataNumber"] == number
        assert set(one) == {
            "tcbIdentifier", "tcbEvaluationDataNumber", "tcbReleaseDate", "minimumPswLinuxVersion",
            "minimumPswWindowsVersion", "isSelectedTcb",
        }  # fmt: skip
        policy = (
            'version=1.1;configurationrules{=>issueproperty(type="x-ms-sgx-tcbidentifier",value="%s");};'
            "authorizationrules{=>permit();};"
        )
        write(tmp_path / "bundles", "next.json", stage=TcbStage(evaluation_number=number + 1))
        process._look()
        assert ask(process, "PUT", "/policies/SgxEnclave", policy_token(policy % number)).status == 200
        chosen = {each["tcbIdentifier"]: each["isSelectedTcb"] for each in listed()}
        assert chosen == {"azuredefault": False, str(number): True, str(number + 1): False}
        assert listed()[0]["tcbEvaluationDataNumber"] == number + 1
        assert listed("OpenEnclave")[0]["isSelectedTcb"] is True
        assert len(listed("tdxvm")) == 2
        assert listed("SevSnpVm") == listed("Tpm") == []
        assert ask(process, "GET", "/tcbbaselines/Other").status == 404
        assert ask(process, "POST", "/tcbbaselines/SgxEnclave").status == 405
        assert ask(process, "GET", "/tcbbaselines/SgxEnclave", bearer=None).status == 401


def test_without_any(tmp_path: Path) -> None:
    none = NoCollateral()
    none.refresh()
    assert (none.held(need(), NOW), none.windows()) == (None, [])
    with pytest.raises(Malformed):
        none.fetch(need(), NOW)
    with running(settings(tmp_path, collateral={})) as process:
        answer = ask(process, "POST", "/attest/SgxEnclave", {"quote": b64url(sgx_quote())})
        assert answer.reason == "collateral-none"
        assert ask(process, "GET", "/readyz").status == 200


def test_collateral_is_fetched_once_and_a_source_that_is_away_is_no_refusal(tmp_path: Path) -> None:
    documents = Forge().documents(now=datetime.now(UTC) - timedelta(hours=1))
    pcs = SimulatedPcs(ca="platform", standard=documents, early=documents)
    body = {"quote": b64url(sgx_quote())}
    with serving(pcs.answer) as server:
        given = settings(tmp_path, collateral={"pcs_url": server.url}, appraisal={"extra_roots": ["root.der"]})
        with running(given) as process:
            server.always(reset)
            answer = ask(process, "POST", "/attest/SgxEnclave", body)
            assert (answer.status, answer.code) == (503, "ServiceUnavailable")
            assert answer.headers["retry-after"]
            server.fail()
            assert ask(process, "POST", "/attest/SgxEnclave", body).claims["kloister-tcb-status"] == "UpToDate"
            asked = len(server.asked)
            assert ask(process, "POST", "/attest/SgxEnclave", body).status == 200
            assert len(server.asked) == asked
            text = ask(process, "GET", "/metrics").body.decode()
            assert 'kloister_attestation_collateral_total{place="held"} 1.0' in text
            assert ask(process, "GET", "/readyz").status == 200


def test_a_strangers_quote_asks_nobody(tmp_path: Path) -> None:
    stranger = Forge(pki=SimulatedPki.derive(b"another seed".ljust(len(SEED), b"\0")))
    with serving(lambda _path, _headers: pytest.fail("asked")) as server:
        given = settings(tmp_path, collateral={"pcs_url": server.url}, appraisal={"extra_roots": ["root.der"]})
        with running(given) as process:
            answer = ask(process, "POST", "/attest/SgxEnclave", {"quote": b64url(stranger.quote())})
        assert (answer.status, answer.reason) == (400, "root-untrusted")
        assert not server.asked
