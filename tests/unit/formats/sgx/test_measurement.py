from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Misused
from kloister.formats.sgx import PAGE_SIZE, Measurement, Page, Run


def by_the_manual(run: Run) -> bytes:
    """SDM 3D, chapter 38, written out record by record."""
    log = struct.pack("<8sIQ44x", b"ECREATE", 4, 1 << 24)
    for page in run.pages():
        log += struct.pack("<8sQQ40x", b"EADD", page.offset, page.flags)
        for at in range(0, PAGE_SIZE, 256) if page.measured else ():
            log += struct.pack("<8sQ48x", b"EEXTEND", page.offset + at) + page.content[at : at + 256]
    return hashlib.sha256(log).digest()


runs = st.builds(
    lambda start, count, flags, content, measured: Run(
        start * PAGE_SIZE, count, flags, content[: count * PAGE_SIZE], measured=measured
    ),
    st.integers(0, 1 << 30),
    st.integers(0, 5),
    st.integers(0, 0xFFFF),
    st.binary(max_size=5000),
    st.booleans(),
)


@given(runs)
def test_a_run_measures_as_its_pages_do_by_the_manual(run: Run) -> None:
    measurement = Measurement(1 << 24, 4)
    measurement.add_run(run)
    assert measurement.digest() == by_the_manual(run)


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize("count", [63, 64, 65, 130])
def test_runs_longer_than_a_batch(count: int, measured: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    content = bytes(range(256)) * 16 * (count - 1) + b"tail"
    run = Run(0x5000, count, 0x203, content, measured=measured)
    measurement = Measurement(1 << 24, 4)
    measurement.add_run(run)
    assert measurement.digest() == by_the_manual(run)


def test_instruction_by_instruction_is_the_same() -> None:
    run = Run(0x3000, 2, 0x203, b"content" * 900)
    measurement = Measurement(1 << 24, 4)
    for page in run.pages():
        measurement.eadd(page.offset, page.flags)
        for at in range(0, PAGE_SIZE, 256):
            measurement.eextend(page.offset + at, page.content[at : at + 256])
    assert measurement.digest() == by_the_manual(run)


def test_the_pages_of_a_run_are_what_it_holds() -> None:
    run = Run(0x3000, 2, 0x203, b"x" * (PAGE_SIZE + 1), measured=False)
    first, second = run.pages()
    assert first == Page(0x3000, 0x203, b"x" * PAGE_SIZE, measured=False)
    assert second == Page(0x4000, 0x203, b"x".ljust(PAGE_SIZE, b"\0"), measured=False)
    assert run.end == 0x5000
    assert Run.of(first).pages().__next__() == first


def test_a_page_of_another_size_is_a_bug() -> None:
    with pytest.raises(Misused):
        Page(0, 0x203, b"short")
    with pytest.raises(Misused):
        Run(0, 1, 0x203, bytes(PAGE_SIZE + 1))
