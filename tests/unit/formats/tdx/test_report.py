from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed, Misused
from kloister.formats.tdx import TdFlag, TdReport

SIZES = (584, 648, 885)
REPORTS = st.sampled_from(SIZES).flatmap(lambda size: st.binary(min_size=size, max_size=size))


@given(REPORTS)
def test_what_is_parsed_is_built_again(data: bytes) -> None:
    assert TdReport.parse(data).build() == data


@given(st.binary(max_size=1000).filter(lambda data: len(data) not in SIZES))
def test_no_other_size_is_a_report(data: bytes) -> None:
    with pytest.raises(Malformed) as refusal:
        TdReport.parse(data)
    assert refusal.value.code == "td-report-size"


def test_the_fields_stand_where_the_specification_says() -> None:
    data = bytearray(885)
    places = {
        "tee_tcb_svn": (0, 16), "mrseam": (16, 48), "mrsignerseam": (64, 48), "seam_attributes": (112, 8),
        "xfam": (128, 8), "mrtd": (136, 48), "mrconfigid": (184, 48), "mrowner": (232, 48),
        "mrownerconfig": (280, 48), "report_data": (520, 64), "tee_tcb_svn2": (584, 16), "mrservicetd": (600, 48),
    }  # fmt: skip
    extended = {
        "td_id": (649, 32), "devinfo": (681, 48), "init_servtd_hash": (729, 48), "init_servtd_attributes": (777, 8),
        "init_cpusvn": (785, 16), "init_tee_tcb_svn": (801, 16), "init_tee_fmspc": (817, 12),
        "cur_servtd_hash": (829, 48), "cur_servtd_attributes": (877, 8),
    }  # fmt: skip
    for number, (at, size) in enumerate((*places.values(), *extended.values()), 1):
        data[at : at + size] = bytes([number]) * size
    report = TdReport.parse(bytes(data))
    assert report.extension is not None
    for number, name in enumerate(places, 1):
        assert getattr(report, name) == bytes([number]) * places[name][1], name
    for number, name in enumerate(extended, len(places) + 1):
        assert getattr(report.extension, name) == bytes([number]) * extended[name][1], name


def test_attributes_and_registers() -> None:
    data = bytearray(584)
    data[120] = 1  # DEBUG
    data[123] = 0x10  # bit 28
    data[328:520] = b"".join(bytes([number]) * 48 for number in range(4))
    report = TdReport.parse(bytes(data))
    assert report.has(TdFlag.DEBUG)
    assert report.has(TdFlag.SEPT_VE_DISABLE)
    assert not report.has(TdFlag.PERFMON)
    assert report.rtmrs == tuple(bytes([number]) * 48 for number in range(4))
    assert (report.tee_tcb_svn2, report.mrservicetd, report.extension) == (None, None, None)


def test_half_of_the_newer_fields_is_our_bug() -> None:
    report = TdReport.parse(bytes(648))
    for half in (replace(report, tee_tcb_svn2=None), replace(report, mrservicetd=None)):
        with pytest.raises(Misused):
            half.build()
