"""What no signed certificate can show: each rule of a chain on its own, for certificates whose fields are given."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from kloister.errors import Unverified
from kloister.formats.pki import Certificate
from kloister.trust.verifier.chain import PCK_CHAIN, check_period, prove_chain
from tests.support.evidence import NOW, Forge, code_of

FORGE = Forge()
CHAIN = [each.certificate for each in (FORGE.pki.pck, FORGE.pki.ca, FORGE.pki.root)]


def code(at: int, **changes: Any) -> str:
    chain: list[Certificate] = [*CHAIN[:at], replace(CHAIN[at], **changes), *CHAIN[at + 1 :]]
    return code_of(lambda: prove_chain(chain, PCK_CHAIN, [FORGE.root]))


@pytest.mark.parametrize(
    ("at", "changes", "expected"),
    [
        (0, {}, "accepted"),
        (0, {"is_ca": True}, "pck-usage"),
        (0, {"may_sign_data": False}, "pck-usage"),
        (1, {"is_ca": False}, "pck-ca-usage"),
        (1, {"may_sign_certificates": False}, "pck-ca-usage"),
        (1, {"may_sign_crls": False}, "pck-ca-usage"),
        (1, {"path_length": None}, "accepted"),
        (2, {"path_length": 0}, "root-usage"),
        (2, {"issuer": CHAIN[1].subject}, "root-issuer"),
        (2, {"der": b"another", "signature": bytes(64)}, "root-signature"),
    ],
)
def test_each_rule_has_its_code(at: int, changes: dict[str, Any], expected: str) -> None:
    assert code(at, **changes) == expected


def test_a_root_that_is_not_trusted_is_named() -> None:
    name = CHAIN[2].common_name
    for chain in (CHAIN, CHAIN[:2]):
        with pytest.raises(Unverified) as refusal:
            prove_chain(chain, PCK_CHAIN, [])
        end = name if len(chain) == 3 else f"the issuer of {CHAIN[1].common_name}"
        assert f'The chain ends at "{end}"' in refusal.value.text


def test_a_period_holds_both_of_its_ends() -> None:
    moment, end = timedelta(microseconds=1), NOW + timedelta(days=1)

    def at(instant: datetime) -> str:
        return code_of(lambda: check_period(NOW, end, instant, "some", "thing"))

    assert at(NOW) == at(end) == "accepted"
    assert (at(NOW - moment), at(end + moment)) == ("some-not-yet-valid", "some-expired")
