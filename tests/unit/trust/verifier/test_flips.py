"""Nothing that authenticates can be changed: one flipped bit never verifies, and nothing but our errors comes out."""

from __future__ import annotations

import base64

from hypothesis import given, settings
from hypothesis import strategies as st

from kloister.errors import Malformed, Unverified
from kloister.formats.dcap import Quote
from kloister.formats.pki import parse_chain
from tests.support.evidence import Forge, code_of

FORGE = Forge()
QUOTE, DOCUMENTS = FORGE.quote(), FORGE.documents()
PARSED = Quote.parse(QUOTE)
CHAIN = parse_chain(PARSED.authentication.certification.data, "chain")
AUTHENTICATED = len(QUOTE) - len(PARSED.authentication.certification.data) - 6  # up to the certification data
SIGNED_PARTS = sorted(set(DOCUMENTS) - {"pck_crl_issuer_chain", "pck_certificate_chain"})  # not used by this quote


def _refused(quote: bytes, documents: dict[str, str]) -> bool:
    try:
        FORGE.verify(documents, quote=quote)
    except (Malformed, Unverified):
        return True
    return False


@settings(max_examples=300)
@given(st.integers(0, AUTHENTICATED * 8 - 1))
def test_a_flipped_bit_of_the_quote_never_verifies(bit: int) -> None:
    damaged = bytearray(QUOTE)
    damaged[bit // 8] ^= 1 << bit % 8
    assert _refused(bytes(damaged), DOCUMENTS)


@settings(max_examples=300)
@given(st.data())
def test_a_flipped_bit_of_a_certificate_never_verifies(data: st.DataObject) -> None:
    which = data.draw(st.integers(0, 2))
    der = bytearray(CHAIN[which].der)
    bit = data.draw(st.integers(0, len(der) * 8 - 1))
    der[bit // 8] ^= 1 << bit % 8
    good, bad = (_pem(bytes(each)) for each in (CHAIN[which].der, der))
    assert good in QUOTE
    certification = PARSED.authentication.certification.data.replace(good, bad)
    assert len(certification) == len(PARSED.authentication.certification.data)
    assert _refused(QUOTE.replace(good, bad), DOCUMENTS)


def _pem(der: bytes) -> bytes:
    text = base64.b64encode(der)
    return b"\n".join(text[at : at + 64] for at in range(0, len(text), 64))


@settings(max_examples=200)
@given(st.data())
def test_any_damage_to_the_quote_gives_our_errors_only(data: st.DataObject) -> None:
    at, size = data.draw(st.integers(0, len(QUOTE) - 1)), data.draw(st.integers(0, 500))
    damaged = QUOTE[:at] + data.draw(st.binary(max_size=20)) + QUOTE[at + size :]
    if damaged[:AUTHENTICATED] != QUOTE[:AUTHENTICATED]:
        assert _refused(damaged, DOCUMENTS)
    else:  # white space and NULs of the PEM text may change without harm
        _refused(damaged, DOCUMENTS)


@settings(max_examples=200)
@given(st.sampled_from(SIGNED_PARTS), st.data())
def test_a_changed_character_of_the_collateral_never_verifies(part: str, data: st.DataObject) -> None:
    text = DOCUMENTS[part]
    at = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.sampled_from('0123456789abcdefXYZ{}"-'))
    changed = text[:at] + put + text[at + 1 :]
    if changed.lower() == text.lower() or changed[at : at + 1].isspace() or text[at].isspace():
        return  # the same hexadecimal digits, or the line breaks of PEM
    if part.endswith("issuer_chain") and code_of(lambda: parse_chain(changed.encode(), "x")) == "accepted":
        original = [each.der for each in parse_chain(text.encode(), "x")]
        if [each.der for each in parse_chain(changed.encode(), "x")] == original:
            return  # spare bits at the end of base64
    assert _refused(QUOTE, DOCUMENTS | {part: changed})


def test_the_unmodified_evidence_verifies() -> None:
    assert not _refused(QUOTE, DOCUMENTS)
