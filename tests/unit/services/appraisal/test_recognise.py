from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.services.appraisal import Kind, recognise
from tests.support.evidence import Forge, code_of

QUOTE = Forge().quote()


@pytest.mark.parametrize(
    "form",
    [
        QUOTE,
        QUOTE.hex().encode(),
        b"0x" + QUOTE.hex().upper().encode() + b"\n",
        base64.b64encode(QUOTE),
        base64.encodebytes(QUOTE),
        base64.urlsafe_b64encode(QUOTE).rstrip(b"="),
    ],
)
def test_a_quote_is_recognised_in_every_form(form: bytes) -> None:
    evidence = recognise(form)
    assert (evidence.kind, evidence.data) == (Kind.QUOTE, QUOTE)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "evidence-empty"),
        (b" \n", "evidence-empty"),
        (b"x" * (1 << 20) + b"x", "evidence-size"),
        (b"-----BEGIN CERTIFICATE-----\n", "evidence-not-supported"),
        (b"eyJhbGciOiJub25lIn0.e30.", "evidence-not-supported"),
        (b"https://localhost:8443", "evidence-not-supported"),
        (b'{"a": 1}', "evidence-not-supported"),
        (b"what is this?", "evidence-unknown"),
        (b"AAAAA", "evidence-unknown"),
    ],
)
def test_everything_else_is_named_for_what_it_is(data: bytes, code: str) -> None:
    assert code_of(lambda: recognise(data)) == code


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_recognised_or_malformed(data: bytes) -> None:
    try:
        assert len(recognise(data).data) <= len(data)
    except Malformed as error:
        assert error.code.startswith("evidence-")  # noqa: PT017 -- either outcome is right
