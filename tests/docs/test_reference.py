"""The reference pages are those of the code, and every reason code is explained."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from kloister.errors import BUG
from kloister.serve.reasons import TABLES, describe
from kloister.trust.verifier import chain
from tests.docs.codes import collect
from tests.docs.reference import pages

KEYS = [key for table in TABLES.values() for key in table]


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_a_generated_page_is_up_to_date(path: object) -> None:
    expected = {str(one): text for one, text in pages().items()}
    current = {str(one): one.read_text() for one in pages()}
    assert current[str(path)] == expected[str(path)], "write it anew: python -m tests.docs.reference"


def test_every_code_that_can_be_raised_is_explained() -> None:
    found, unread = collect()
    assert not unread, "give the code as a literal or an f-string, or teach tests/docs/codes.py to read it"
    assert len(found) > 500
    missing = [one for one in found if not (_member(one.code) if one.member else one.code in KEYS)]
    assert not missing, "explain these in a reasons.py (tables are listed in serve/reasons.py)"


def _member(code: str) -> bool:
    return any(fnmatchcase(code, key) for key in KEYS)


def test_no_table_explains_a_code_that_nobody_raises() -> None:
    raised = {one.code for one in collect()[0]}
    computed = [code for code in raised if "*" in code]
    dead = [
        key
        for key in KEYS
        if key not in raised
        and not any(fnmatchcase(key, code) for code in computed)
        and not any(fnmatchcase(code, key) for code in raised)
    ]
    assert not dead


def test_no_code_is_explained_twice() -> None:
    assert len(KEYS) == len(set(KEYS))


def test_every_explanation_says_what_to_do() -> None:
    for table in TABLES.values():
        for code, reason in table.items():
            assert reason.text.endswith("."), code
            assert reason.allow, code


def test_every_code_of_the_verifiers_chains_has_a_row_of_its_own() -> None:
    positions = {one.code for one in (*chain.PCK_CHAIN, *chain.TCB_INFO_SIGNER_CHAIN, *chain.QE_IDENTITY_SIGNER_CHAIN)}
    for position in positions:
        for part in ("role", "issuer", "signature", "usage", "expired", "not-yet-valid"):
            assert f"{position}-{part}" in KEYS
    for position in positions - {"root"}:
        assert f"{position}-revoked" in KEYS


def test_a_pattern_explains_what_has_no_row_of_its_own() -> None:
    assert describe("quote-version").text != describe("quote-truncated").text
    assert describe("quote-truncated") == describe("tcb-info-truncated")
    assert describe("pck-expired") != describe("something-expired")
    assert describe("frame-size").allow == BUG
    assert not describe("nothing of ours").text
