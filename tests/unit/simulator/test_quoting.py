from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from kloister.errors import Denied, Unverified
from kloister.formats.dcap.quote import CertificationType, Quote
from kloister.formats.pki import check_signature, p256_key, parse_chain, raw_signature
from kloister.formats.protocol.quoting import QuoteReport, ReportContent
from kloister.formats.sgx import Attributes, Flag, Report, ReportBody
from kloister.simulator.architectural import LAUNCH_SIGNERS, PCE, QE
from kloister.simulator.fuses import Fuses
from kloister.simulator.pce import ProvisioningCertificationEnclave
from kloister.simulator.pki import PlatformTcb, SimulatedPki
from kloister.simulator.platform import SimulatedPlatform
from tests.support.enclaves import FUSES, KEYID, machine, signer, start

DATA = bytes(range(64))


def platform(**changes: object) -> SimulatedPlatform:
    return SimulatedPlatform(**{"fuses": FUSES, "keyid": KEYID, **changes})  # type: ignore[arg-type]  # keywords of the class


def quoted(host: SimulatedPlatform) -> Quote:
    enclave = start(host.machine)
    return Quote.parse(host.qe.quote(host.machine.ereport(enclave, host.qe.target_info(), DATA)))


def test_a_quote_holds_the_report_and_every_link_to_the_root() -> None:
    host = platform()
    quote = quoted(host)
    authentication = quote.authentication
    assert quote.report.report_data == DATA
    assert quote.report.mrenclave != bytes(32)
    attestation_key = p256_key(authentication.attestation_key, "key")
    check_signature(attestation_key, raw_signature(authentication.signature), quote.signed, "quote", "quote")
    qe = ReportBody.parse(authentication.qe_report)
    bound = hashlib.sha256(authentication.attestation_key + authentication.qe_auth_data).digest()
    assert qe.report_data == bound + bytes(32)
    assert authentication.certification.type == CertificationType.PCK_CHAIN
    chain = parse_chain(authentication.certification.data, "pck")
    assert chain[-1].der == host.root()
    certified = raw_signature(authentication.qe_report_signature)
    check_signature(chain[0].public_key, certified, authentication.qe_report, "qe", "QE report")


def test_the_header_names_qe_and_versions() -> None:
    host = platform()
    header = quoted(host).header
    assert (header.version, header.qe_svn, header.pce_svn) == (3, QE.isvsvn, PCE.isvsvn)
    assert header.user_data == host.qe.id + bytes(4)


def test_the_qe_is_a_privileged_production_enclave_of_its_own_author() -> None:
    report = platform().qe.report
    assert report.mrsigner == QE.sigstruct().mrsigner
    assert (report.isvprodid, report.isvsvn) == (QE.isvprodid, QE.isvsvn)
    assert report.attributes == Attributes(Flag.INIT | Flag.MODE64BIT | Flag.PROVISIONKEY, 3)
    assert QE.sigstruct().mrsigner != PCE.sigstruct().mrsigner
    assert {QE.sigstruct().mrsigner, PCE.sigstruct().mrsigner} == LAUNCH_SIGNERS


def test_quotes_repeat_and_the_attestation_key_is_the_platforms() -> None:
    first, again = quoted(platform()), quoted(platform(keyid=bytes(32)))
    assert first.authentication.attestation_key == again.authentication.attestation_key
    assert first.header.user_data == again.header.user_data
    elsewhere = quoted(platform(fuses=Fuses.create(bytes(48))))
    assert elsewhere.authentication.attestation_key != first.authentication.attestation_key
    assert elsewhere.header.user_data != first.header.user_data


def test_after_a_tcb_recovery_the_attestation_key_is_another_and_the_qe_id_the_same() -> None:
    recovered = SimulatedPki.derive(FUSES.root, tcb=PlatformTcb(components=(6, *PlatformTcb().components[1:])))
    before, after = quoted(platform()), quoted(platform(pki=recovered))
    assert after.report.cpusvn == recovered.tcb.cpusvn
    assert before.authentication.attestation_key != after.authentication.attestation_key
    assert before.header.user_data == after.header.user_data


def test_the_qe_quotes_only_reports_made_for_it_on_its_machine() -> None:
    host = platform()
    enclave = start(host.machine)
    genuine = host.machine.ereport(enclave, host.qe.target_info(), DATA)
    host.qe.quote(genuine)
    other = platform(fuses=Fuses.create(bytes(48)))
    forged = (
        replace(genuine, body=replace(genuine.body, mrenclave=bytes(32))),
        replace(genuine, body=replace(genuine.body, attributes=Attributes(Flag.MODE64BIT | Flag.INIT, 7))),
        replace(genuine, mac=bytes(16)),
        host.machine.ereport(enclave, host.machine.target_info(enclave), DATA),
        other.machine.ereport(start(other.machine), host.qe.target_info(), DATA),
    )
    for report in forged:
        with pytest.raises(Unverified) as refused:
            host.qe.quote(report)
        assert refused.value.code == "report-mac"
    host.qe.quote(genuine)


def test_the_pce_certifies_only_privileged_enclaves() -> None:
    host = machine()
    pce = ProvisioningCertificationEnclave(host, start(host, b"stands for the PCE"), lambda data: data[:64])
    report = host.ereport(start(host), pce.target_info(), DATA)
    with pytest.raises(Denied) as refused:
        pce.certify(report)
    assert refused.value.code == "pce-invalid-privilege"
    with pytest.raises(Unverified):
        pce.certify(replace(report, mac=bytes(16)))
    signer = host.identity(start(host)).secs.mrsigner
    trusting = machine(launch_signers=frozenset({signer}))
    certifier = ProvisioningCertificationEnclave(trusting, start(trusting, b"PCE"), lambda data: data[:64])
    privileged = start(trusting, attributes=Attributes(Flag.MODE64BIT | Flag.PROVISIONKEY, 3))
    assert certifier.certify(trusting.ereport(privileged, certifier.target_info(), DATA))


def test_a_report_of_another_is_quoted_for_who_made_it_for_the_qe() -> None:
    host = platform(author=signer())
    info = host.qe_info()
    report = host.report_content(ReportContent(b"content", info.target_info, DATA))
    quote = host.quote_report(QuoteReport(report)).quote
    assert len(quote) == info.quote_size
    assert Quote.parse(quote).body == report[:384]
    assert info.key_id == host.qe.report.report_data[:32]


def test_the_qe_reports_the_quote_that_it_made_to_who_asks() -> None:
    host = platform(author=signer())
    asker = host.machine.target_info(start(host.machine)).build()
    report = host.report_content(ReportContent(b"content", host.qe_info().target_info, DATA))
    quoted_ = host.quote_report(QuoteReport(report, bytes(range(16)), asker))
    assert quoted_.qe_report is not None
    told = Report.parse(quoted_.qe_report)
    assert told.body.report_data == hashlib.sha256(bytes(range(16)) + quoted_.quote).digest() + bytes(32)
    assert told.body.mrenclave == host.qe.report.mrenclave
    host.machine.verify_report(start(host.machine), told)


@pytest.mark.parametrize("at", [0, 64, 320, 384, 416, 431])
def test_a_changed_report_is_not_quoted(at: int) -> None:
    host = platform(author=signer())
    report = bytearray(host.report_content(ReportContent(b"content", host.qe_info().target_info, DATA)))
    host.quote_report(QuoteReport(bytes(report)))
    report[at] ^= 1
    with pytest.raises(Unverified) as caught:
        host.quote_report(QuoteReport(bytes(report)))
    assert caught.value.code == "report-mac"


def test_a_report_for_another_enclave_or_platform_is_not_quoted() -> None:
    host, elsewhere = platform(author=signer()), platform(author=signer(), fuses=Fuses.create(bytes(48)))
    target = host.qe_info().target_info
    other = host.machine.target_info(start(host.machine)).build()
    for report in (
        host.report_content(ReportContent(b"content", other, DATA)),
        elsewhere.report_content(ReportContent(b"content", target, DATA)),
    ):
        with pytest.raises(Unverified, match="report-mac"):
            host.quote_report(QuoteReport(report))
