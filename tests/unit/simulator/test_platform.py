from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from kloister.errors import Denied, Malformed, Misconfigured, Misused, Unavailable, Unverified
from kloister.formats.dcap import TcbStatus
from kloister.formats.dcap.quote import Quote
from kloister.formats.enclave.content import ContentEnclave
from kloister.formats.enclave.manifest import Manifest
from kloister.formats.enclave.measurement import gramine_runs, mrenclave
from kloister.formats.enclave.signing import unsigned_sigstruct
from kloister.formats.sgx import PAGE_SIZE, Attributes, Flag, KeyName, KeyPolicy, KeyRequest, Report, Sigstruct
from kloister.simulator.documents import TcbStage
from kloister.simulator.epc import EpcNode
from kloister.simulator.fuses import Fuses
from kloister.simulator.pki import PlatformTcb, SimulatedPki
from kloister.simulator.platform import SimulatedPlatform
from kloister.tee.simulated.ports import Platform
from kloister.trust.verifier import Collateral, Root, verify_sgx
from tests.support.enclaves import FUSES, KEYID, author_key, signer, small_elf
from tests.support.evidence import NOW

DATA = bytes(range(64))
PAL = small_elf()


def platform(**changes: Any) -> SimulatedPlatform:
    return SimulatedPlatform(**{"fuses": FUSES, "keyid": KEYID, "nodes": (EpcNode(64 << 20),), **changes})


def manifest(**sgx: Any) -> Manifest:
    document = {
        "libos": {"entrypoint": "/app"},
        "loader": {"entrypoint": {"uri": "file:/ld.so"}},
        "sgx": {"enclave_size": "4M", "max_threads": 1, **sgx},
    }
    return Manifest.of(document)


def sigstruct(wanted: Manifest) -> bytes:
    runs = gramine_runs(wanted.data, PAL, wanted.enclave_size, wanted.max_threads, wanted.edmm_enable)
    measured = mrenclave(runs, wanted.enclave_size)
    return unsigned_sigstruct(wanted, measured, None).sign(author_key()).build()


def test_it_is_the_port_of_the_daemon() -> None:
    port: Platform = platform()
    assert port.status()["epcTotal"] == 64 << 20


def test_an_enclave_starts_answers_and_goes() -> None:
    host = platform()
    own = host.machine.epc_used
    wanted = manifest(isvprodid=4)
    enclave = host.start(wanted.data, PAL, sigstruct(wanted))
    assert host.machine.epc_used == own + 1 + (4 << 20) // PAGE_SIZE - 0x10
    assert enclave.identity.secs.isvprodid == 4
    quote = Quote.parse(enclave.quote(DATA))
    assert (quote.report.mrenclave, quote.report.report_data) == (enclave.mrenclave, DATA)
    report = Report.parse(enclave.report(enclave.target_info(), DATA))
    host.machine.verify_report(enclave.id, report)
    sealing = KeyRequest(KeyName.SEAL, KeyPolicy.MRENCLAVE).build()
    assert len(enclave.key(sealing)) == 16
    with pytest.raises(Denied):
        enclave.key(KeyRequest(KeyName.PROVISION).build())
    enclave.remove()
    assert host.machine.epc_used == own
    with pytest.raises(Misused):
        enclave.quote(DATA)


@pytest.mark.parametrize("call", ["report", "key", "quote"])
def test_what_the_enclave_sends_is_parsed(call: str) -> None:
    host = platform()
    enclave = host.start_content(b"app", content_sigstruct(b"app"))
    calls = {
        "report": lambda: enclave.report(bytes(511), DATA),
        "key": lambda: enclave.key(bytes(10)),
        "quote": lambda: enclave.quote(b""),
    }
    with pytest.raises(Malformed):
        calls[call]()


def content_sigstruct(content: bytes, *, debug: bool = False) -> bytes:
    return ContentEnclave.of(content).unsigned_sigstruct(None, debug=debug).sign(author_key()).build()


def test_what_belongs_together_starts_and_nothing_else() -> None:
    host = platform()
    wanted, other = manifest(), manifest(isvsvn=1)
    signed = sigstruct(wanted)
    host.start(wanted.data, PAL, signed).remove()
    own = host.machine.epc_used
    changed_pal = PAL[:-1] + b"\x91"
    for data, pal in ((other.data, PAL), (wanted.data + b"\n", PAL), (wanted.data, changed_pal)):
        with pytest.raises(Unverified) as refused:
            host.start(data, pal, signed)
        assert refused.value.code == "sgx-invalid-measurement"
    with pytest.raises(Unverified) as refused:
        host.start(wanted.data, PAL, signed, debug=True)
    assert refused.value.code == "sgx-invalid-attribute"
    assert host.machine.epc_used == own
    host.start(wanted.data, PAL, signed)


def test_debug_is_what_the_manifest_says() -> None:
    wanted = manifest(debug=True)
    enclave = platform().start(wanted.data, PAL, sigstruct(wanted))
    assert enclave.identity.secs.attributes.has(Flag.DEBUG)
    content = platform().start_content(b"app", content_sigstruct(b"app", debug=True), debug=True)
    assert Quote.parse(content.quote(DATA)).report.attributes.has(Flag.DEBUG)


def test_an_enclave_that_does_not_fit_is_refused_with_the_figures() -> None:
    host = platform(nodes=(EpcNode(5 << 20),))
    fits, too_large = manifest(), manifest(enclave_size="8M")
    with pytest.raises(Unavailable) as refused:
        host.start(too_large.data, PAL, sigstruct(too_large))
    assert refused.value.code == "epc-exhausted"
    wanted, free = (8 << 20) // PAGE_SIZE - 0x10 + 1, host.machine.epc_total - host.machine.epc_used
    assert f"wants {wanted} pages" in refused.value.text
    assert f"; {free} (" in refused.value.text
    first = host.start(fits.data, PAL, sigstruct(fits))
    with pytest.raises(Unavailable):
        host.start(fits.data, PAL, sigstruct(fits))
    first.remove()
    host.start(fits.data, PAL, sigstruct(fits))


def test_a_quote_of_content_leaves_nothing_behind() -> None:
    host = platform(author=signer())
    before = host.status()
    quote = Quote.parse(host.quote_content(b"any file", DATA))
    assert quote.report.mrenclave == ContentEnclave.of(b"any file").mrenclave()
    assert quote.report.report_data == DATA
    with pytest.raises(Malformed):
        host.quote_content(b"any file", b"short")
    assert host.status() == before


def test_without_an_author_no_content_can_be_quoted() -> None:
    with pytest.raises(Misconfigured) as refused:
        platform().quote_content(b"any file", DATA)
    assert refused.value.code == "enclave-author"


def test_nobody_else_can_sign_an_enclave_with_the_quoting_enclaves_privilege() -> None:
    host = platform()
    unsigned = ContentEnclave.of(b"evil").unsigned_sigstruct(None)
    attributes = replace(unsigned.attributes, flags=unsigned.attributes.flags | Flag.PROVISIONKEY)
    evil = replace(unsigned, attributes=attributes).sign(author_key()).build()
    before = host.status()
    with pytest.raises(Unverified) as refused:
        host.start_content(b"evil", evil)
    assert refused.value.code == "launch-not-allowed"
    assert host.status() == before


def test_status_and_documents_are_the_platforms_and_public() -> None:
    host, same, other = platform(), platform(keyid=bytes(32)), platform(fuses=Fuses.create(bytes(48)))
    assert host.status() == same.status()
    assert host.status()["platform"] != other.status()["platform"]
    assert host.root() == same.root() != other.root()
    at = datetime(2026, 11, 22, tzinfo=UTC)
    assert host.collateral(at) == same.collateral(at)
    assert FUSES.root.hex() not in repr(host.status())


def updated(components: tuple[int, ...]) -> SimulatedPki:
    """The certificates after a microcode update (or before it)."""
    return SimulatedPki.derive(FUSES.root, tcb=PlatformTcb(components=components))


OLD = PlatformTcb().components
NEW = (OLD[0] + 1, *OLD[1:])


def seal(host: SimulatedPlatform, cpusvn: bytes) -> bytes:
    enclave = host.start_content(b"app", content_sigstruct(b"app"))
    return enclave.key(KeyRequest(KeyName.SEAL, KeyPolicy.MRENCLAVE, cpusvn=cpusvn).build())


def test_after_a_microcode_update_old_seals_open_and_a_rollback_opens_no_new_one() -> None:
    before, after = platform(pki=updated(OLD)), platform(pki=updated(NEW))
    sealed = seal(before, bytes(OLD))
    assert seal(after, bytes(OLD)) == sealed
    fresh = seal(after, bytes(NEW))
    assert fresh != sealed
    rolled_back = platform(pki=updated(OLD), keyid=bytes(32))
    with pytest.raises(Denied) as refused:
        seal(rolled_back, bytes(NEW))
    assert refused.value.code == "sgx-invalid-cpusvn"
    assert seal(rolled_back, bytes(OLD)) == sealed


def test_a_microcode_update_shows_in_evidence_under_the_same_root() -> None:
    before, after = platform(pki=updated(OLD)), platform(pki=updated(NEW))
    stage = TcbStage(status=TcbStatus.OUT_OF_DATE)
    told = {}
    for name, host in (("before", before), ("after", after)):
        quote = host.start_content(b"app", content_sigstruct(b"app")).quote(DATA)
        parts = Collateral.from_json(before.collateral(NOW, stage))
        told[name] = verify_sgx(quote, parts, [Root.from_der(before.root())], NOW).tcb
    assert (told["before"].status, told["after"].status) == (TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE)
    everywhere = platform(pki=updated(tuple(svn + 1 for svn in OLD)))
    quote = everywhere.start_content(b"app", content_sigstruct(b"app")).quote(DATA)
    parts = Collateral.from_json(before.collateral(NOW, stage))
    verified = verify_sgx(quote, parts, [Root.from_der(before.root())], NOW)
    assert verified.tcb.status == TcbStatus.UP_TO_DATE


def test_a_report_made_before_an_update_is_worth_nothing_after_it() -> None:
    before, after = platform(pki=updated(OLD)), platform(pki=updated(NEW))
    one = before.start_content(b"app", content_sigstruct(b"app"))
    report = Report.parse(one.report(before.qe.target_info().build(), DATA))
    before.qe.quote(report)
    with pytest.raises(Unverified) as refused:
        after.qe.quote(report)
    assert refused.value.code == "report-mac"


def test_the_host_chooses_the_configuration_of_an_enclave_with_kss() -> None:
    host = platform()
    content = ContentEnclave.of(b"app")
    attributes = Attributes(Flag.MODE64BIT | Flag.KSS, 3)
    mask = Attributes((1 << 64) - 1, (1 << 64) - 1)
    unsigned = Sigstruct(
        enclavehash=content.mrenclave(),
        attributes=attributes,
        attribute_mask=mask,
        isvfamilyid=b"f" * 16,
        isvextprodid=b"e" * 16,
    )
    signed = unsigned.sign(author_key()).build()
    enclave = host.start_content(b"app", signed, configid=b"c" * 64, configsvn=3)
    report = Quote.parse(enclave.quote(DATA)).report
    assert (report.configid, report.configsvn) == (b"c" * 64, 3)
    assert (report.isvfamilyid, report.isvextprodid) == (b"f" * 16, b"e" * 16)
    with pytest.raises(Malformed) as refused:
        host.start_content(b"app", content_sigstruct(b"app"), configid=b"c" * 64)
    assert refused.value.code == "ecreate-config"


def test_status_tells_each_node() -> None:
    host = platform(nodes=(EpcNode(4 << 20), EpcNode(8 << 20, 1)))
    enclave = host.start_content(b"app" * 500_000, content_sigstruct(b"app" * 500_000))
    status = host.status()
    assert [(node["package"], node["epcTotal"]) for node in status["nodes"]] == [(0, 4 << 20), (1, 8 << 20)]
    assert sum(node["epcUsed"] for node in status["nodes"]) == status["epcUsed"]
    assert status["nodes"][1]["epcUsed"] > 500_000
    own = status["nodes"][1]["epcUsed"]
    enclave.remove()
    assert host.status()["nodes"][1]["epcUsed"] < own - 500_000
