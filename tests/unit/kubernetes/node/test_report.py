from __future__ import annotations

from datetime import UTC, datetime

from kloister.kubernetes.names import ENCLAVE, PROVISION
from kloister.kubernetes.node.detection import Guest, NodeFacts
from kloister.kubernetes.node.epc import EpcSection
from kloister.kubernetes.node.quotes import Readiness
from kloister.kubernetes.node.report import report
from kloister.kubernetes.resources import ConfidentialNode

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_a_report_says_what_is_known_and_nothing_else() -> None:
    facts = NodeFacts(
        epc=(EpcSection(None, 93 << 20, "integrity"),),
        flags={"sgx": True, "sgx1": True, "sgx2": False, "kss": None},
        guests=(Guest("tdx", reports=True),),
    )
    made = report("worker", facts, {PROVISION, ENCLAVE}, Readiness(ready=False, code="aesm-42"), AT)
    assert ConfidentialNode.parse(made.build()) == made
    spec = made.build()["spec"]
    assert spec["sections"] == [{"node": 0, "bytes": 93 << 20}]
    assert (spec["epcBytes"], spec["blockBytes"]) == (93 << 20, 1 << 20)
    assert spec["flags"] == ["sgx1"]
    assert spec["tees"] == ["tdx"]
    assert spec["adopted"] == f"{ENCLAVE}, {PROVISION}"
    assert spec["quotes"] == {"ready": False, "reason": "aesm-42"}
