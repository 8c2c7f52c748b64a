from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kloister.formats.dcap import TcbStatus, envelope
from kloister.formats.dcap.envelope import Envelope
from kloister.simulator.documents import EVALUATION_NUMBER, TcbStage
from kloister.simulator.pcs import SimulatedPcs
from kloister.simulator.platform import SimulatedPlatform
from tests.support.enclaves import FUSES, KEYID

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
