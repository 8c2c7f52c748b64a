from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kloister.formats.dcap import CertificationType, Quote, TcbStatus, envelope
from kloister.formats.dcap.envelope import Envelope
from kloister.simulator.documents import EVALUATION_NUMBER, TcbStage
from kloister.simulator.naming import PlatformName, without_certificate
from kloister.simulator.pcs import SimulatedPcs
from kloister.simulator.pki import CaType, SimulatedPki
from kloister.simulator.platform import SimulatedPlatform
from tests.support.enclaves import FUSES, KEYID, signer

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOST = SimulatedPlatform(FUSES, KEYID)
STANDARD = HOST.collateral(NOW)
EARLY = HOST.collateral(NOW, TcbStage(status=TcbStatus.REVOKED, evaluation_number=EVALUATION_NUMBER + 1))
PCS = SimulatedPcs(ca="platform", standard=STANDARD, early=EARLY)
V4 = "/sgx/certification/v4"
FMSPC = HOST.pki.fmspc.hex()


def test_documents_are_sent_as_they_were_signed() -> None:
    tcb = PCS.answer(f"{V4}/tcb", {"fmspc": FMSPC})
    assert (tcb.status, tcb.content_type, tcb.header) == (200, "application/json", "TCB-Info-Issuer-Chain")
    assert tcb.chain == STANDARD["tcb_info_issuer_chain"]
    assert Envelope.parse(tcb.body, envelope.TCB_INFO) == Envelope(
        "tcbInfo", STANDARD["tcb_info"], STANDARD["tcb_info_signature"]
    )
    identity = PCS.answer(f"{V4}/qe/identity", {})
    assert identity.header == "SGX-Enclave-Identity-Issuer-Chain"
    assert Envelope.parse(identity.body, envelope.ENCLAVE_IDENTITY).text == STANDARD["qe_identity"]


def test_lists_are_sent_in_der_and_hexadecimal() -> None:
    crl = PCS.answer(f"{V4}/pckcrl", {"ca": "platform", "encoding": "der"})
    assert (crl.status, crl.body.hex()) == (200, STANDARD["pck_crl"])
    assert crl.chain == STANDARD["pck_crl_issuer_chain"]
    assert PCS.answer("/IntelSGXRootCA.der", {}).body.hex() == STANDARD["root_ca_crl"]
    assert PCS.answer(f"{V4}/rootcacrl", {}).body.decode() == STANDARD["root_ca_crl"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, STANDARD),
        ({"update": "standard"}, STANDARD),
        ({"update": "early"}, EARLY),
        ({"tcbEvaluationDataNumber": str(EVALUATION_NUMBER)}, STANDARD),
        ({"tcbEvaluationDataNumber": str(EVALUATION_NUMBER + 1)}, EARLY),
    ],
)
def test_baselines(query: dict[str, str], expected: dict[str, str]) -> None:
    body = PCS.answer(f"{V4}/tcb", {"fmspc": FMSPC, **query}).body
    assert Envelope.parse(body, envelope.TCB_INFO).text == expected["tcb_info"]


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/", {}, 404),
        ("/tdx/certification/v4/tcb", {"fmspc": FMSPC}, 404),
        ("/tdx/certification/v4/qe/identity", {}, 404),
        ("/sgx/certification/v3/tcb", {"fmspc": FMSPC}, 404),
        (f"{V4}/tcb", {"fmspc": "0" * 12}, 404),
        (f"{V4}/tcb", {"fmspc": "0"}, 400),
        (f"{V4}/tcb", {}, 400),
        (f"{V4}/tcb", {"fmspc": FMSPC, "update": "soon"}, 400),
        (f"{V4}/tcb", {"fmspc": FMSPC, "update": "early", "tcbEvaluationDataNumber": "20"}, 400),
        (f"{V4}/qe/identity", {"tcbEvaluationDataNumber": "x"}, 400),
        (f"{V4}/qe/identity", {"tcbEvaluationDataNumber": "1"}, 410),
        (f"{V4}/qe/identity", {"tcbEvaluationDataNumber": "99"}, 404),
        (f"{V4}/pckcrl", {"ca": "processor"}, 404),
        (f"{V4}/pckcrl", {"ca": "none"}, 400),
        (f"{V4}/pckcrl", {"ca": "platform", "encoding": "pem"}, 400),
    ],
)
def test_what_it_does_not_have(path: str, query: dict[str, str], status: int) -> None:
    assert PCS.answer(f"{V4}/tcb", {"fmspc": FMSPC}).status == 200
    answer = PCS.answer(path, query)
    assert (answer.status, answer.body) == (status, b"")


QUOTE = SimulatedPlatform(FUSES, KEYID, author=signer()).quote_content(b"app", bytes(64))
PCK = replace(PCS, pck=PlatformName.of(QUOTE))
NAME = {"cpusvn": HOST.pki.tcb.cpusvn.hex(), "pcesvn": "0d00", "pceid": "0000"}


@pytest.mark.parametrize("by", [{"qeid": HOST.qe.id.hex()}, {"encrypted_ppid": "30" * 384}])
def test_the_certificate_of_a_platform(by: dict[str, str]) -> None:
    found = PCK.answer(f"{V4}/pckcert", NAME | by)
    assert (found.status, found.header) == (200, "SGX-PCK-Certificate-Issuer-Chain")
    assert found.body.decode() + found.chain == HOST.pki.pck_chain_pem()
    assert found.more["SGX-FMSPC"] == FMSPC.upper()
    assert found.more["SGX-TCBm"] == NAME["cpusvn"] + "0d00"
    assert found.more["SGX-PCK-Certificate-CA-Type"] == "platform"
    newer = {"cpusvn": "ff" * 16, "pcesvn": "0e00"}
    assert PCK.answer(f"{V4}/pckcert", NAME | by | newer).body == found.body


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"qeid": "00" * 16}, 404),
        ({"pceid": "0100"}, 404),
        ({"pcesvn": "0c00"}, 404),
        ({"cpusvn": "00" * 16}, 404),
        ({"pceid": ""}, 400),
        ({"cpusvn": "0" * 31}, 400),
        ({"pcesvn": "0d 0"}, 400),
    ],
)
def test_of_another_platform_there_is_no_certificate(changes: dict[str, str], status: int) -> None:
    query = NAME | {"qeid": HOST.qe.id.hex()}
    assert PCK.answer(f"{V4}/pckcert", query).status == 200
    assert PCK.answer(f"{V4}/pckcert", query | changes).status == status
    assert PCS.answer(f"{V4}/pckcert", query).status == 404
    assert PCK.answer(f"{V4}/pckcert", NAME).status == 400


def test_a_quote_may_name_its_platform_instead() -> None:
    bare = Quote.parse(without_certificate(QUOTE))
    certification = bare.authentication.certification
    assert (certification.type, len(certification.data)) == (CertificationType.PPID_PLAIN, 36)
    assert certification.data == HOST.pki.extension.ppid + bytes.fromhex("".join(NAME.values()))
    assert bare.signed == Quote.parse(QUOTE).signed
    assert bare.build() == without_certificate(QUOTE)


def test_the_processor_ca_is_named() -> None:
    pki = SimulatedPki.derive(FUSES.root, ca_type=CaType.PROCESSOR)
    platform = SimulatedPlatform(FUSES, KEYID, pki=pki, author=signer())
    assert PlatformName.of(platform.quote_content(b"x", bytes(64))).ca == "processor"
    assert PCK.pck is not None
    assert PCK.pck.ca == "platform"
