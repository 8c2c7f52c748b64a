"""A precedent judges quotes of its frame exactly as a full verification does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import KloisterError
from kloister.simulator.pki import derive_key
from kloister.trust.verifier import Collateral, SgxPrecedent, VerifierCache, prove_sgx, verify_sgx
from tests.support.evidence import ENCLAVE, NOW, SEED, Forge, code_of

FORGE = Forge()
QUOTE = FORGE.quote()
PARTS = Collateral.from_json(FORGE.documents())
OTHER = replace(FORGE, enclave=replace(ENCLAVE, report_data=bytes(range(64)))).quote()
PART_OF_ITS_OWN = {*range(48 + 320, 48 + 384), *range(48 + 384 + 4, 48 + 384 + 4 + 64)}


def precedent(forge: Forge = FORGE) -> SgxPrecedent:
    verified, found = prove_sgx(forge.quote(), PARTS, [FORGE.root], NOW)
    assert verified == verify_sgx(forge.quote(), PARTS, [FORGE.root], NOW)
    assert found is not None
    assert found.verified is verified
    return found


KNOWN = precedent()


def test_another_quote_of_the_enclave() -> None:
    assert SgxPrecedent.frame_of(OTHER) == SgxPrecedent.frame_of(QUOTE)
    assert KNOWN.check(OTHER) == bytes(range(64)) == FORGE.verify(quote=OTHER).report.report_data
    assert KNOWN.check(QUOTE) == ENCLAVE.report_data


@given(st.integers(0, len(QUOTE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_another_frame_or_another_signature(at: int, change: int) -> None:
    changed = QUOTE[:at] + bytes([QUOTE[at] ^ change]) + QUOTE[at + 1 :]
    of_the_frame = SgxPrecedent.frame_of(changed) == SgxPrecedent.frame_of(QUOTE)
    assert of_the_frame == (at in PART_OF_ITS_OWN)
    if of_the_frame:
        assert code_of(lambda: KNOWN.check(changed)) == "quote-signature"
        assert code_of(lambda: verify_sgx(changed, PARTS, [FORGE.root], NOW)) == "quote-signature"


def test_of_another_frame_it_says_nothing() -> None:
    for at in (0, 48 + 48, 48 + 384, len(QUOTE) - 1):
        changed = QUOTE[:at] + bytes([QUOTE[at] ^ 1]) + QUOTE[at + 1 :]
        assert code_of(lambda: KNOWN.check(changed)) == "precedent-frame"  # noqa: B023 (called at once)
    assert code_of(lambda: KNOWN.check(QUOTE[:-1])) == "precedent-frame"
    assert KNOWN.check(QUOTE) == ENCLAVE.report_data


def test_every_byte_is_the_frames_or_the_quotes_own() -> None:
    known = SgxPrecedent.frame_of(QUOTE)
    changed = {at: QUOTE[:at] + bytes([QUOTE[at] ^ 1]) + QUOTE[at + 1 :] for at in range(600)}
    assert {at for at, quote in changed.items() if SgxPrecedent.frame_of(quote) == known} == PART_OF_ITS_OWN


@given(st.integers(0, len(QUOTE) - 1))
def test_what_is_shorter_has_another_frame(size: int) -> None:
    assert SgxPrecedent.frame_of(QUOTE[:size]) != SgxPrecedent.frame_of(QUOTE)


def test_another_key_signs_in_vain() -> None:
    forged = replace(FORGE, attestation_key=derive_key(SEED, "evil")).quote()
    spliced = QUOTE[:436] + forged[436:500] + QUOTE[500:]
    assert SgxPrecedent.frame_of(spliced) == SgxPrecedent.frame_of(QUOTE)
    assert code_of(lambda: KNOWN.check(spliced)) == "quote-signature"


def test_it_holds_for_as_long_as_every_date_does() -> None:
    def code(at: timedelta, base: str) -> str:
        return code_of(lambda: verify_sgx(QUOTE, PARTS, [FORGE.root], getattr(KNOWN, base) + at))

    second = timedelta(seconds=1)
    assert KNOWN.start < NOW < KNOWN.end
    assert code(timedelta(), "start") == code(timedelta(), "end") == "accepted"
    assert code(-second, "start").endswith("not-yet-valid")
    assert code(second, "end").endswith("expired")


def test_only_version_3_and_only_genuine_ones() -> None:
    newer = replace(FORGE, version=4)
    assert prove_sgx(newer.quote(), PARTS, [FORGE.root], NOW)[1] is None
    cache = VerifierCache()
    with pytest.raises(KloisterError):
        prove_sgx(OTHER[:436] + QUOTE[436:500] + OTHER[500:], PARTS, [FORGE.root], NOW, cache)
    with pytest.raises(KloisterError):
        SgxPrecedent(seal=object(), verified=KNOWN.verified, start=NOW, end=NOW, key=KNOWN.key, frame=KNOWN.frame)
