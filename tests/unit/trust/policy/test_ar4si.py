from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from kloister.errors import Malformed, Unverified
from kloister.formats.dcap import TcbStatus
from kloister.formats.sgx import Attributes
from kloister.formats.tokens.ear import Tier, TrustVector
from kloister.simulator.documents import TcbStage
from kloister.trust.evidence import TcbRevoked, Verified
from kloister.trust.policy.appraisal import parse_appraisal
from kloister.trust.policy.appraisal.fields import SNP_TCB, TEES
from kloister.trust.policy.ar4si import ASPECTS, refused_vector, trust_vector
from kloister.trust.root import Root
from tests.support.evidence import ENCLAVE, NOW, Forge
from tests.support.snp import SnpForge
from tests.support.trust_domains import TDX10, TdForge

FORGE = Forge()
GENUINE = FORGE.verify()
DEBUG = replace(FORGE, enclave=replace(ENCLAVE, attributes=Attributes(0x07, 0xE7))).verify()
MRENCLAVE = {"sgx": {"mrenclave": ENCLAVE.mrenclave.hex()}}
ALL = [str(one) for one in TcbStatus if one is not TcbStatus.REVOKED]


def of_status(status: TcbStatus) -> Verified:
    return FORGE.verify(FORGE.documents(TcbStage(status=status, advisories=("INTEL-SA-00001",))))


def vector(verified: Verified, **policy: Any) -> TrustVector:
    document = {"simulated": "allow", "tcb": {"accept": ALL}} | policy
    return trust_vector(verified, parse_appraisal(json.dumps(document).encode()), NOW)


def test_a_simulated_enclave_is_never_affirmed() -> None:
    found = vector(GENUINE, **MRENCLAVE)
    assert found == TrustVector(instance_identity=2, configuration=3, executables=3, hardware=32)
    assert found.status is Tier.WARNING
    refused = vector(GENUINE, simulated="deny", **MRENCLAVE)
    assert (refused.hardware, refused.status) == (97, Tier.CONTRAINDICATED)


def test_real_hardware_is_affirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Root, "simulated", property(lambda _: False))
    found = vector(GENUINE, **MRENCLAVE)
    assert found == TrustVector(instance_identity=2, configuration=3, executables=3, hardware=2, runtime_opaque=2)
    assert found.status is Tier.AFFIRMING
    for status, hardware, configuration in (
        (TcbStatus.SW_HARDENING_NEEDED, 32, 3),
        (TcbStatus.CONFIGURATION_NEEDED, 2, 32),
        (TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED, 32, 32),
        (TcbStatus.OUT_OF_DATE, 32, 3),
        (TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED, 32, 32),
    ):
        found = vector(of_status(status), **MRENCLAVE)
        assert (found.hardware, found.configuration, found.status) == (hardware, configuration, Tier.WARNING)
        found = vector(of_status(status), tcb={"accept": ["UpToDate"]}, **MRENCLAVE)
        assert (found.hardware, found.status) == (96, Tier.CONTRAINDICATED)


def test_code_is_recognized_when_the_policy_names_it() -> None:
    assert vector(GENUINE).executables == 33
    assert vector(GENUINE, sgx={"isvsvn": 1}).executables == 33
    assert vector(GENUINE, sgx={"mrsigner": ENCLAVE.mrsigner.hex()}).executables == 3
    assert vector(GENUINE, sgx={"mrenclave": "00" * 32}).executables == 96
    assert vector(GENUINE, sgx={"mrsigner": ENCLAVE.mrsigner.hex(), "isvsvn": 60000}).executables == 96


def test_configuration_is_approved_when_the_policy_names_it() -> None:
    assert vector(GENUINE, sgx={"configid": ENCLAVE.configid.hex()}).configuration == 2
    assert vector(GENUINE, sgx={"configid": "01" * 64}).configuration == 96
    assert vector(GENUINE, sgx={"reportData": ENCLAVE.report_data.hex()}).configuration == 3
    assert vector(GENUINE, sgx={"reportData": "01" * 64}).configuration == 96


def test_the_memory_of_a_debug_enclave_is_visible() -> None:
    found = vector(DEBUG)
    assert (found.configuration, found.runtime_opaque, found.status) == (96, 96, Tier.CONTRAINDICATED)
    found = vector(DEBUG, sgx={"debug": True})
    assert (found.configuration, found.runtime_opaque, found.status) == (32, 96, Tier.CONTRAINDICATED)


def test_another_kind_of_tee_is_contraindicated() -> None:
    assert vector(GENUINE, tdx={}).hardware == 97
    assert vector(GENUINE, tdx={}).status is Tier.CONTRAINDICATED


def test_trust_domains_and_guests() -> None:
    found = vector(TdForge().verify(), tdx={"mrtd": TDX10.mrtd.hex(), "mrseam": "00" * 48})
    assert (found.executables, found.hardware) == (3, 97)
    forge = SnpForge()
    guest = forge.verify()
    found = vector(guest, snp={"measurement": forge.report.measurement.hex(), "chipId": "00" * 64})
    assert (found.executables, found.instance_identity, found.configuration) == (3, 97, None)
    found = vector(guest, snp={"minimumTcb": {"microcode": 255}})
    assert found.status is Tier.CONTRAINDICATED


def test_every_condition_that_fails_contraindicates() -> None:
    codes = {field.code for fields in (*TEES.values(), SNP_TCB) for field in fields.values()}
    assert codes - ASPECTS.keys() == {
        "configuration-not-allowed", "report-data-not-allowed", "service-td-not-allowed", "sept-ve-disable-not-set",
        "host-data-not-allowed", "vmpl-not-allowed",
    }  # fmt: skip


def test_evidence_that_is_not_genuine() -> None:
    failed = refused_vector(Unverified("quote-signature", "No."))
    assert set(failed.as_json().values()) == {99}
    assert failed.status is Tier.CONTRAINDICATED
    unread = refused_vector(Malformed("quote-size", "No."))
    assert set(unread.as_json().values()) == {1}
    assert unread.status is Tier.NONE
    revoked = refused_vector(TcbRevoked(GENUINE.tcb, GENUINE.fmspc, FORGE.root))
    assert (revoked.instance_identity, revoked.hardware, revoked.executables) == (96, 96, None)
