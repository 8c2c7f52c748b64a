from __future__ import annotations

import pytest

from kloister.trust.policy.maa import Kind, default_policy, parse_policy, policy_hash


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (
            "version=1.0; authorizationrules{=> permit();}; issuancerules{};",
            "z0FRjKS0ssQTNur1V6BV8WIrh9M3fzgTo0EfHRvapWU",
        ),
        (default_policy("SevSnpVm"), "9NY0VnTQ-IiBriBplVUpFbczcDaEBUwsiFYAzHu_gco"),
        (default_policy("SgxEnclave"), "bROrN897ZfWmWY2V0FLUlu3uwk5xatGnKYHn3zBbSlw"),
        (default_policy("OpenEnclave"), "bROrN897ZfWmWY2V0FLUlu3uwk5xatGnKYHn3zBbSlw"),
    ],
)
def test_the_hashes_that_real_tokens_carry(text: str, digest: str) -> None:
    assert policy_hash(text) == digest


def test_the_hash_is_of_the_text_as_it_stands() -> None:
    assert policy_hash("a") != policy_hash("a ")
    assert policy_hash("\u00fc") == policy_hash("\u00fc")


def test_every_kind_but_tpms_has_a_default_that_permits() -> None:
    for kind in Kind:
        text = default_policy(kind)
        assert (text is None) is (kind is Kind.TPM)
        assert text is None or parse_policy(text).authorization[0].conditions == ()
    with pytest.raises(ValueError, match="Sgx"):
        default_policy("Sgx")
