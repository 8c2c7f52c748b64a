from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kloister.errors import Malformed, Misused, Unavailable
from kloister.formats.sgx import PAGE_SIZE, Attributes, Flag, Misc, Page, Run, Secs, Tcs
from tests.support.enclaves import MODE64, machine, start

SECS = Secs(size=0x20000, attributes=MODE64)
TCS = Tcs(ossa=0x1000, nssa=1, oentry=0)


def test_a_correct_secs_takes_one_page() -> None:
    host = machine()
    host.ecreate(SECS)
    assert host.epc_used == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"size": 0x30000}, "ecreate-size"),
        ({"size": 0x1000}, "ecreate-size"),
        ({"size": 0}, "ecreate-size"),
        ({"size": 1 << 48}, "ecreate-size"),
        ({"base": 0x1000}, "ecreate-base"),
        ({"attributes": Attributes(0, 3)}, "ecreate-attributes"),
        ({"attributes": Attributes(Flag.MODE64BIT | Flag.INIT, 3)}, "ecreate-attributes"),
        ({"attributes": Attributes(Flag.MODE64BIT | 8, 3)}, "ecreate-attributes"),
        ({"attributes": Attributes(4 | 8, 3)}, "ecreate-attributes"),
        ({"attributes": Attributes(4 | 1 << 63, 3)}, "ecreate-attributes"),
        ({"attributes": Attributes(4, 3 | 1 << 63)}, "ecreate-xfrm"),
        ({"miscselect": 0x80000000}, "ecreate-miscselect"),
        ({"attributes": Attributes(Flag.MODE64BIT | Flag.CET, 3)}, "ecreate-attributes"),
        ({"cet_attributes": 1}, "ecreate-attributes"),
        ({"attributes": Attributes(Flag.MODE64BIT, 1)}, "ecreate-xfrm"),
        ({"attributes": Attributes(Flag.MODE64BIT, 0x1B)}, "ecreate-xfrm"),  # MPX, which the processor has not
        ({"attributes": Attributes(Flag.MODE64BIT, 0x27)}, "ecreate-xfrm"),  # a part of AVX-512
        ({"attributes": Attributes(Flag.MODE64BIT, 0xE3)}, "ecreate-xfrm"),  # AVX-512 without AVX
        ({"miscselect": Misc.CPINFO}, "ecreate-miscselect"),
        ({"ssa_frame_pages": 0}, "ecreate-ssa"),
        ({"attributes": Attributes(Flag.MODE64BIT, 0x602E7), "ssa_frame_pages": 2}, "ecreate-ssa"),
        ({"configid": b"\1" * 64}, "ecreate-config"),
        ({"configsvn": 1}, "ecreate-config"),
    ],
)
def test_ecreate_refuses(changes: dict[str, Any], code: str) -> None:
    host = machine()
    host.ecreate(SECS)
    with pytest.raises(Malformed) as refused:
        host.ecreate(replace(SECS, **changes))
    assert refused.value.code == code
    assert host.epc_used == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"attributes": Attributes(Flag.MODE64BIT, 0x602E7), "ssa_frame_pages": 3},
        {"attributes": Attributes(Flag.MODE64BIT | Flag.KSS, 3), "configid": b"\1" * 64, "configsvn": 1},
        {"miscselect": Misc.EXINFO},
        {"size": 0x2000},
        {"base": 0x40000},
    ],
)
def test_ecreate_takes(changes: dict[str, Any]) -> None:
    host = machine()
    host.ecreate(replace(SECS, **changes))
    assert host.epc_used == 1


@pytest.mark.parametrize("flags", [0x200, 0x201, 0x203, 0x204, 0x205, 0x207])
def test_eadd_takes_readable_pages_of_any_permission(flags: int) -> None:
    host = machine()
    enclave = host.ecreate(SECS)
    host.eadd(enclave, Page(0x1000, flags))
    assert host.epc_used == 2


@pytest.mark.parametrize(
    ("page", "code"),
    [
        (Page(0x1001, 0x203), "eadd-alignment"),
        (Page(0x20000, 0x203), "eadd-range"),
        (Page(-0x1000, 0x203), "eadd-range"),
        (Page(0, 0x203), "eadd-twice"),
        (Page(0x1000, 0x3), "eadd-secinfo"),  # type 0 is the SECS
        (Page(0x1000, 0x303), "eadd-secinfo"),
        (Page(0x1000, 0x203 | 1 << 63), "eadd-secinfo"),
        (Page(0x1000, 0x1203), "eadd-secinfo"),
        (Page(0x1000, 0x20B), "eadd-secinfo"),
        (Page(0x1000, 0x202), "eadd-secinfo"),  # writable, not readable
        (Page(0x1000, 0x206), "eadd-secinfo"),
        (Page(0x1000, 0x103, TCS.build()), "eadd-secinfo"),
        (Page(0x1000, 0x100, replace(TCS, flags=1).build()), "eadd-tcs"),  # DBGOPTIN
        (Page(0x1000, 0x100, replace(TCS, cssa=1).build()), "eadd-tcs"),
        (Page(0x1000, 0x100, replace(TCS, ossa=0x1008).build()), "eadd-tcs"),
        (Page(0x1000, 0x100, replace(TCS, ofsbase=1).build()), "eadd-tcs"),
        (Page(0x1000, 0x100, replace(TCS, ogsbase=1).build()), "eadd-tcs"),
        (Page(0x1000, 0x100, replace(TCS, fslimit=0).build()), "eadd-tcs"),
        (Page(0x1000, 0x100, replace(TCS, gslimit=0x1000).build()), "eadd-tcs"),
        (Page(0x1000, 0x100, TCS.build()[:-1] + b"\1"), "tcs-reserved"),
    ],
)
@pytest.mark.parametrize("fast", [True, False])
def test_eadd_refuses(page: Page, code: str, fast: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    host = machine()
    enclave = host.ecreate(SECS)
    host.eadd(enclave, Page(0, 0x203))
    before = host.epc_used
    with pytest.raises(Malformed) as refused:
        (host.add_page if fast else host.eadd)(enclave, page)
    assert refused.value.code == code
    assert host.epc_used == before
    host.eadd(enclave, Page(0x1000, 0x100, TCS.build()))


def test_a_run_is_refused_whole() -> None:
    host = machine()
    enclave = host.ecreate(SECS)
    host.add_page(enclave, Page(0x3000, 0x203))
    with pytest.raises(Malformed):
        host.add_page(enclave, Run(0x1000, 3, 0x203))
    assert host.epc_used == 2
    host.add_page(enclave, Run(0x1000, 2, 0x203))
    assert host.epc_used == 4


def test_pages_that_do_not_fit_into_the_epc_are_unavailable() -> None:
    host = machine(epc_bytes=3 * PAGE_SIZE)
    enclave = host.ecreate(SECS)
    with pytest.raises(Unavailable) as refused:
        host.add_page(enclave, Run(0, 3, 0x203))
    assert refused.value.code == "epc-exhausted"
    host.add_page(enclave, Run(0, 2, 0x203))
    with pytest.raises(Unavailable):
        host.ecreate(SECS)
    host.eremove(enclave)
    assert host.epc_used == 0
    host.ecreate(SECS)


@pytest.mark.parametrize(
    ("offset", "code"), [(0x100, None), (0x80, "eextend-alignment"), (0x1000, "eextend-page"), (-0x100, "eextend-page")]
)
def test_eextend_measures_pages_that_eadd_added(offset: int, code: str | None) -> None:
    host = machine()
    enclave = host.ecreate(SECS)
    host.eadd(enclave, Page(0, 0x203))
    if code is None:
        host.eextend(enclave, offset)
        return
    with pytest.raises(Malformed) as refused:
        host.eextend(enclave, offset)
    assert refused.value.code == code


def test_after_einit_nothing_is_added_or_measured() -> None:
    host = machine()
    enclave = start(host)
    with pytest.raises(Malformed, match="einit-done"):
        host.eadd(enclave, Page(0, 0x203))
    with pytest.raises(Malformed, match="einit-done"):
        host.add_page(enclave, Page(0, 0x203))
    with pytest.raises(Malformed, match="einit-done"):
        host.eextend(enclave, 0)


def test_an_enclave_that_is_not_there_is_a_bug_of_the_caller() -> None:
    host = machine()
    enclave = host.ecreate(SECS)
    with pytest.raises(Misused) as refused:
        host.identity(enclave)
    assert refused.value.code == "enclave-not-initialized"
    host.eremove(enclave)
    with pytest.raises(Misused) as refused:
        host.eadd(enclave, Page(0, 0x203))
    assert refused.value.code == "enclave-unknown"
