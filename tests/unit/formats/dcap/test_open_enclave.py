from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kloister.formats.dcap import open_enclave
from kloister.formats.dcap.open_enclave import build_report, quote_of
from tests.support.evidence import code_of

QUOTE = b"a quote of 22 bytes..."
REPORT = bytes.fromhex("01000000 02000000 1600000000000000") + QUOTE  # version 1, remote, size


def test_the_header_is_open_enclaves() -> None:
    assert build_report(QUOTE) == REPORT
    assert quote_of(REPORT) == QUOTE
    assert open_enclave.OID == "1.3.6.1.4.1.311.105.1"


@given(st.binary(max_size=40))
def test_the_quote_comes_back(quote: bytes) -> None:
    assert quote_of(build_report(quote)) == quote


@given(st.integers(0, 15), st.integers(1, 255))
def test_every_bit_of_the_header_counts(at: int, flip: int) -> None:
    changed = bytearray(REPORT)
    changed[at] ^= flip
    assert code_of(lambda: quote_of(bytes(changed))) == "oe-report-header"


@given(st.integers(0, len(REPORT) - 1))
def test_a_cut_report_is_malformed(size: int) -> None:
    assert code_of(lambda: quote_of(REPORT[:size])) == "oe-report-header"


def test_nothing_may_follow_the_quote() -> None:
    assert code_of(lambda: quote_of(REPORT)) == "accepted"
    assert code_of(lambda: quote_of(REPORT + b"\0")) == "oe-report-header"
