from __future__ import annotations

from dataclasses import replace
from functools import partial

from kloister.trust.verifier.endorsement import SnpEndorsement, endorsed_key
from tests.support.evidence import code_of
from tests.support.snp import SnpForge

FORGE = SnpForge()


def test_every_part_counts_in_the_key_of_a_cache() -> None:
    one = SnpEndorsement(vek=b"vek", chain=b"chain", crl=b"crl")
    others = [replace(one, vek=b"vekc"), replace(one, chain=b"hain"), replace(one, crl=b"c"), replace(one, crl=None)]
    assert len({each.digest for each in (one, *others)}) == 5
    assert one.digest == replace(one).digest
    assert len(one.digest) == 32


def test_a_chain_that_is_none_is_called_by_its_name() -> None:
    good = FORGE.endorsement()
    assert code_of(lambda: endorsed_key(good, [FORGE.root])) == "accepted"
    for part, code in (("vek", "vek-pem"), ("chain", "ask-chain-pem")):
        bad = replace(good, **{part: b"x"})
        assert code_of(partial(endorsed_key, bad, [FORGE.root])) == code


def test_a_root_of_no_known_product_line_vouches_for_none() -> None:
    later = replace(FORGE.root, name="ARK-Venice")
    assert later.product is None
    assert code_of(lambda: endorsed_key(FORGE.endorsement(), [later])) == "ask-role"
