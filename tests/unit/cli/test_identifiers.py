"""What names one machine (PPID, platform instance id, CHIP_ID) stands in nothing that is printed, unless asked for."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kloister.formats.dcap import TcbStatus
from kloister.simulator.documents import TcbStage
from kloister.simulator.pki import PlatformTcb, SimulatedPki
from tests.support.cli import Done, kloister
from tests.support.evidence import NOW, SEED, Forge
from tests.support.serde import serde
from tests.support.snp import NOW as NOW_SNP
from tests.support.snp import SnpForge
from tests.unit.services.appraisal.test_kbs import azure

FORGE = Forge()
BELOW = Forge(pki=SimulatedPki.derive(SEED, tcb=PlatformTcb(components=(0,) * 16, pcesvn=1)))
EXTENSION = FORGE.pki.extension
SNP = SnpForge()


@dataclass(frozen=True)
class Subject:
    """Evidence, what vouches for it, and what must not be seen."""

    evidence: Callable[[], bytes]
    files: Callable[[Path], list[str]]
    secrets: tuple[bytes, ...]
    refused: bool = False


def _intel(forge: Forge, stage: TcbStage | None = None) -> Callable[[Path], list[str]]:
    def write(folder: Path) -> list[str]:
        documents = FORGE.documents(stage)
        if forge is BELOW:
            info = json.loads(documents["tcb_info"])
            documents = _only_the_best(info, documents)
        (folder / "collateral.json").write_text(json.dumps(documents))
        (folder / "root.der").write_bytes(forge.pki.root_der())
        return ["--collateral", str(folder / "collateral.json"), "--at", str(int(NOW.timestamp()))]

    return write


def _only_the_best(info: dict[str, object], documents: dict[str, str]) -> dict[str, str]:
    from kloister.simulator.documents import sign_document

    levels = info["tcbLevels"]
    assert isinstance(levels, list)
    text = json.dumps({**info, "tcbLevels": levels[:1]})
    return {**documents, "tcb_info": text, "tcb_info_signature": sign_document(FORGE.pki.tcb_signer, text)}


def _amd(forge: SnpForge) -> Callable[[Path], list[str]]:
    def write(folder: Path) -> list[str]:
        (folder / "vek.der").write_bytes(forge.vek_der())
        (folder / "chain.pem").write_bytes(forge.chain())
        (folder / "root.der").write_bytes(forge.ark_der())
        files = ["--vek", str(folder / "vek.der"), "--chain", str(folder / "chain.pem")]
        return [*files, "--at", str(int(NOW_SNP.timestamp()))]

    return write


PLATFORM = (EXTENSION.ppid, *([EXTENSION.platform_instance_id] if EXTENSION.platform_instance_id else []))
CHIP = (SNP.report.chip_id,)
AZURE, AZURE_FORGE = azure()
SUBJECTS = {
    "quote": Subject(FORGE.quote, _intel(FORGE), PLATFORM),
    "quote-outdated": Subject(
        FORGE.quote, _intel(FORGE, TcbStage(status=TcbStatus.OUT_OF_DATE)), PLATFORM, refused=True
    ),
    "quote-revoked": Subject(FORGE.quote, _intel(FORGE, TcbStage(status=TcbStatus.REVOKED)), PLATFORM, refused=True),
    "quote-unsupported": Subject(BELOW.quote, _intel(BELOW), PLATFORM, refused=True),
    "report": Subject(SNP.signed, _amd(SNP), CHIP),
    "report-forged": Subject(replace(SNP, signing=2).signed, _amd(SNP), CHIP, refused=True),
    "kbs": Subject(lambda: json.dumps({"attestation_report": serde(SNP.signed())}).encode(), _amd(SNP), CHIP),
    "kbs-azure": Subject(lambda: AZURE, _amd(AZURE_FORGE), CHIP),
}


def _forms(secret: bytes) -> tuple[str, ...]:
    encoded = base64.b64encode(secret).decode().rstrip("=")
    return (
        secret.hex(),
        encoded,
        encoded.replace("+", "-").replace("/", "_"),
        str(list(secret)),
        str(list(secret))[1:-1],
    )


@pytest.mark.parametrize("name", SUBJECTS)
def test_no_output_names_the_machine(name: str, tmp_path: Path) -> None:
    subject = SUBJECTS[name]
    (tmp_path / "evidence.bin").write_bytes(subject.evidence())
    files = [*subject.files(tmp_path), "--root", str(tmp_path / "root.der")]

    def run(*more: str) -> Done:
        return kloister("verify", str(tmp_path / "evidence.bin"), *files, *more)

    policy = tmp_path / "policy.json"
    policy.write_text('{"simulated": "allow", "snp": {"chipId": "' + "ee" * 64 + '"}, "sgx": {"isvsvn": 99}}')
    modes = [[], ["--explain"], ["--explain", "--what-if-at", "2030-01-01"], ["--policy", str(policy)]]
    done = [run(*mode, *output) for mode in modes for output in ([], ["--json"])]
    assert {each.code for each in done[:2]} == {1 if subject.refused else 0}
    if name == "quote-unsupported":
        assert "platform: below the lowest of 1 levels" in done[2].out
        assert done[1].json["reason"]["code"] == "tcb-unsupported"
    batch = ["--batch", "--jobs", "1", "--json"]
    if "--vek" not in files:
        done.append(run(*batch))
    for each in done:
        text = (each.out + each.err).lower()
        assert not [form for secret in subject.secrets for form in _forms(secret) if form.lower() in text]
    if not subject.refused:
        assert subject.secrets[0].hex() in run("--json", "--show-identifiers").out
