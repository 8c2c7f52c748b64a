from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Misused, Unavailable, Unverified
from kloister.formats.sgx import PAGE_SIZE, Attributes, Flag, Report, Secs
from kloister.simulator.epc import EpcNode
from kloister.simulator.fuses import Fuses
from kloister.simulator.machine import Machine, MachineConfig
from tests.support.enclaves import FUSES, KEYID, MODE64, machine, start

DATA = bytes(range(64))


def test_a_report_says_who_the_enclave_is() -> None:
    host = machine()
    enclave = start(host, isvprodid=3, isvsvn=4)
    body = host.ereport(enclave, host.target_info(enclave), DATA).body
    secs = host.identity(enclave).secs
    assert (body.mrenclave, body.mrsigner, body.attributes) == (secs.mrenclave, secs.mrsigner, secs.attributes)
    assert (body.isvprodid, body.isvsvn, body.cpusvn, body.report_data) == (3, 4, host.config.cpusvn, DATA)


def test_a_debug_enclave_says_so() -> None:
    host = machine()
    enclave = start(host, attributes=Attributes(Flag.MODE64BIT | Flag.DEBUG, 3))
    assert host.ereport(enclave, host.target_info(enclave), DATA).body.attributes.has(Flag.DEBUG)


def test_kss_identifiers_stand_in_reports() -> None:
    host = machine()
    enclave = start(
        host,
        attributes=Attributes(Flag.MODE64BIT | Flag.KSS, 3),
        isvfamilyid=b"\1" * 16,
        isvextprodid=b"\2" * 16,
        secs_configid=b"\3" * 64,
        secs_configsvn=4,
    )
    report = host.ereport(enclave, host.target_info(enclave), DATA)
    host.verify_report(enclave, report)
    body = report.body
    assert (body.isvfamilyid, body.isvextprodid) == (b"\1" * 16, b"\2" * 16)
    assert (body.configid, body.configsvn) == (b"\3" * 64, 4)


def test_only_its_target_can_check_a_report() -> None:
    host = machine()
    one, two = start(host, b"one"), start(host, b"two")
    report = host.ereport(one, host.target_info(two), DATA)
    host.verify_report(two, report)
    with pytest.raises(Unverified) as refused:
        host.verify_report(one, report)
    assert refused.value.code == "report-mac"


@given(at=st.integers(0, Report.SIZE - 1), bit=st.integers(0, 7))
def test_a_changed_report_is_refused(at: int, bit: int) -> None:
    host = machine()
    enclave = start(host)
    data = bytearray(host.ereport(enclave, host.target_info(enclave), DATA).build())
    host.verify_report(enclave, Report.parse(bytes(data)))
    data[at] ^= 1 << bit
    with pytest.raises((Malformed, Unverified)):
        host.verify_report(enclave, Report.parse(bytes(data)))


@pytest.mark.parametrize("change", ["fuses", "owner epoch", "cpusvn"])
def test_a_report_of_another_platform_is_refused(change: str) -> None:
    host, other = machine(), machine()
    if change == "cpusvn":
        other = machine(cpusvn=bytes(16))
    elif change == "fuses":
        other = Machine(Fuses.create(bytes(48)), MachineConfig(keyid=KEYID, cpusvn=host.config.cpusvn))
    else:
        other = Machine(replace(FUSES, owner_epoch=bytes(16)), MachineConfig(keyid=KEYID, cpusvn=host.config.cpusvn))
    here, there = start(host), start(other)
    host.verify_report(here, host.ereport(here, host.target_info(here), DATA))
    with pytest.raises(Unverified):
        host.verify_report(here, other.ereport(there, host.target_info(here), DATA))


def test_a_report_outlives_the_power_cycle_as_the_key_id_stands_in_it() -> None:
    host, later = machine(), machine(keyid=bytes(32))
    report = host.ereport(start(host), host.target_info(start(host)), DATA)
    again = start(later)
    later.verify_report(again, report)
    assert later.ereport(again, later.target_info(again), DATA).mac != report.mac


@pytest.mark.parametrize("size", [0, 63, 65])
def test_report_data_has_64_bytes(size: int) -> None:
    host = machine()
    enclave = start(host)
    with pytest.raises(Malformed) as refused:
        host.ereport(enclave, host.target_info(enclave), bytes(size))
    assert refused.value.code == "report-data-size"


def test_an_enclave_before_einit_makes_no_report() -> None:
    host = machine()
    enclave = host.ecreate(Secs(size=0x2000, attributes=MODE64))
    target = host.target_info(start(host))
    with pytest.raises(Misused) as refused:
        host.ereport(enclave, target, DATA)
    assert refused.value.code == "enclave-not-initialized"


def test_enclaves_come_and_go_with_their_pages() -> None:
    host = machine()
    one, two = start(host, b"one"), start(host, b"two" * 5000)
    status = host.status()
    assert status[one].epc_pages == 8
    assert status[two].epc_pages == 11
    assert host.epc_used == 19
    host.eremove(one)
    assert list(host.status()) == [two]
    assert host.epc_used == 11
    assert start(host, b"three") not in (one, two)


def test_enclaves_are_spread_over_nodes_and_packages() -> None:
    host = machine(nodes=(EpcNode(20 * PAGE_SIZE), EpcNode(16 * PAGE_SIZE, 1)))
    first, second = start(host, b"one"), start(host, b"two")
    assert host.status()[first].placed == (8, 0)
    assert host.status()[second].placed == (0, 8)
    large = start(host, b"three" * 3000)
    assert host.status()[large].placed == (11, 0)
    spilled = start(host, b"four")
    assert host.status()[spilled].placed == (0, 8)
    assert (host.epc_used, host.epc_used_by_node, host.epc_total) == (35, (19, 16), 36)
    with pytest.raises(Unavailable):
        host.require_epc(1)  # and its SECS
    for enclave in (first, large, spilled):
        host.eremove(enclave)
    again = start(host, b"three" * 12_800)
    assert host.status()[again].placed == (20, 3)


def test_the_author_does_not_change_the_measurement() -> None:
    host = machine()
    one, two = host.identity(start(host, author=0)).secs, host.identity(start(host, author=1)).secs
    assert one.mrenclave == two.mrenclave
    assert one.mrsigner != two.mrsigner
