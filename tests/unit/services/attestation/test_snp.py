from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import pytest

from kloister.formats.snp import SnpReport
from kloister.formats.wire import b64url
from tests.support.attestation import AAD, Answer, ask, client_data, running, settings
from tests.support.paths import vectors

AT = "2025-06-01T00:00:00Z"


def evidence(directory: Path) -> dict[str, Any]:
    chain = (
        ssl.DER_cert_to_PEM_cert((directory / "vek.der").read_bytes()).encode()
        + (directory / "ask_ark.pem").read_bytes()
    )
    report = (directory / "report.bin").read_bytes()
    return {"SnpReport": b64url(report), "VcekCertChain": b64url(chain)}


def attest(name: str, tmp_path: Path, *, simulated: bool = False, **members: Any) -> tuple[Answer, SnpReport]:
    directory = vectors("evidence", "snp", name)
    with running(
        settings(tmp_path, [{"base_url": AAD, "simulated": simulated}], appraisal={"dangerous_at": AT})
    ) as process:
        body = {"report": b64url(json.dumps(evidence(directory)).encode()), **members}
        answer = ask(process, "POST", "/attest/SevSnpVM", body, bearer=None)
    return answer, SnpReport.parse((directory / "report.bin").read_bytes().ljust(SnpReport.SIZE, b"\0"))


def test_the_claims_of_a_guest(tmp_path: Path) -> None:
    answer, report = attest("v3-SEV-Milan-2cf09fff", tmp_path, nonce=7)
    claims = {name.removeprefix("x-ms-sevsnpvm-"): value for name, value in answer.claims.items()}
    assert claims["x-ms-attestation-type"] == "sevsnpvm"
    assert claims["launchmeasurement"] == report.measurement.hex()
    assert claims["reportdata"] == report.report_data.hex()
    assert claims["hostdata"] == report.host_data.hex()
    assert claims["reportid"] == report.report_id.hex()
    assert (claims["familyId"], claims["imageId"]) == (report.family_id.hex(), report.image_id.hex())
    assert (claims["idkeydigest"], claims["authorkeydigest"]) == (
        report.id_key_digest.hex(), report.author_key_digest.hex(),
    )  # fmt: skip
    tcb = report.reported_tcb
    assert [claims[f"{name}-svn"] for name in ("bootloader", "tee", "snpfw", "microcode")] == [
        tcb[0], tcb[1], tcb[6], tcb[7],
    ]  # fmt: skip
    assert (claims["guestsvn"], claims["vmpl"]) == (report.guest_svn, report.vmpl)
    assert claims["is-debuggable"] is report.policy.debug
    assert {type(claims[name]) for name in ("migration-allowed", "smt-allowed")} == {bool}
    assert claims["nonce"] == 7
    assert "x-ms-compliance-status" not in answer.claims
    assert answer.claims["x-ms-policy-hash"] == "9NY0VnTQ-IiBriBplVUpFbczcDaEBUwsiFYAzHu_gco"


@pytest.mark.parametrize(
    "name",
    [
        "neg-truncated-v3-SEV-Milan-2cf09fff",
        "neg-flip-measurement-v3-SEV-Milan-2cf09fff",
        "neg-wrong-vek-v3-SEV-Milan-2cf09fff",
    ],
)
def test_what_is_not_genuine_is_refused(name: str, tmp_path: Path) -> None:
    answer, _ = attest(name, tmp_path)
    assert (answer.status, answer.code) == (400, "InvalidParameter")


def test_data_that_the_report_does_not_bind(tmp_path: Path) -> None:
    answer, _ = attest("v3-SEV-Milan-2cf09fff", tmp_path, runtimeData=client_data(b"{}", "JSON"))
    assert answer.reason == "client-data-binding"


def test_no_key_signs_claims_of_both_kinds(tmp_path: Path) -> None:
    answer, _ = attest("v3-SEV-Milan-2cf09fff", tmp_path, simulated=True)
    assert (answer.status, answer.reason) == (400, "genuine-not-allowed")
