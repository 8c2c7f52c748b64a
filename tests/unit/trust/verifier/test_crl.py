from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from kloister.simulator.pki import revocation_list
from tests.support.evidence import NOW, Forge, code_of

FORGE = Forge()
DAY = timedelta(days=1)


def with_list(part: str, start: datetime, end: datetime) -> dict[str, str]:
    issuer = FORGE.pki.ca if part == "pck_crl" else FORGE.pki.root
    return FORGE.documents() | {part: revocation_list(issuer, start, end).hex()}


@pytest.mark.parametrize("part", ["pck_crl", "root_ca_crl"])
def test_the_list_that_ends_first_and_the_oldest_one_count(part: str) -> None:
    start, end = NOW - 9 * DAY, NOW + DAY
    verified = FORGE.verify(with_list(part, start, end))
    assert verified.collateral_expires == end
    assert verified.basis is not None
    assert verified.basis.issued == start
    usual = FORGE.verify()
    longer = FORGE.verify(with_list(part, NOW, NOW + 300 * DAY))
    assert longer.collateral_expires == usual.collateral_expires
    assert longer.basis is not None
    assert usual.basis is not None
    assert longer.basis.issued == usual.basis.issued


@pytest.mark.parametrize("part", ["pck_crl", "root_ca_crl"])
def test_both_ends_of_a_list_are_included(part: str) -> None:
    code = {"pck_crl": "pck-crl", "root_ca_crl": "root-crl"}[part]
    second = timedelta(seconds=1)
    assert code_of(lambda: FORGE.verify(with_list(part, NOW, NOW + DAY))) == "accepted"
    assert code_of(lambda: FORGE.verify(with_list(part, NOW - DAY, NOW))) == "accepted"
    assert code_of(lambda: FORGE.verify(with_list(part, NOW + second, NOW + DAY))) == f"{code}-not-yet-valid"
    assert code_of(lambda: FORGE.verify(with_list(part, NOW - DAY, NOW - second))) == f"{code}-expired"
