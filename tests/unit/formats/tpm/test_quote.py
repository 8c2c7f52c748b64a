from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.tpm import TpmQuote
from tests.support.evidence import code_of

QUOTES = st.builds(
    TpmQuote,
    signer=st.binary(max_size=40),
    nonce=st.binary(max_size=64),
    clock=st.binary(min_size=25, max_size=25),
    selection=st.lists(
        st.tuples(st.integers(0, 65535), st.sets(st.integers(0, 255), max_size=5).map(lambda one: tuple(sorted(one)))),
        max_size=16,
    ).map(tuple),
    pcr_digest=st.binary(max_size=64),
)  # fmt: skip


@given(QUOTES)
def test_a_tpms_quote_is_read_as_it_was_written(quote: TpmQuote) -> None:
    assert TpmQuote.parse(quote.build()) == quote


GOOD = TpmQuote(nonce=b"n" * 32, selection=((TpmQuote.SHA256, (0, 7, 23)),), pcr_digest=bytes(32)).build()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (GOOD, "accepted"),
        (GOOD + b"\0", "tpm-quote-trailing"),
        (b"\0" + GOOD[1:], "tpm-quote-type"),
        (GOOD[:4] + b"\x80\x17" + GOOD[6:], "tpm-quote-type"),  # a certificate of another thing
        (GOOD.replace(b"\0\0\0\1\0\x0b", b"\0\0\0\x11\0\x0b"), "tpm-quote-selection"),
        (GOOD.replace(b"\0\x0b\x03", b"\0\x0b\x21"), "tpm-quote-selection"),
    ],
)
def test_what_is_no_quote_is_refused(data: bytes, code: str) -> None:
    assert code_of(lambda: TpmQuote.parse(data)) == code


def test_every_cut_is_noticed() -> None:
    for end in range(len(GOOD)):
        with pytest.raises(Malformed):
            TpmQuote.parse(GOOD[:end])
