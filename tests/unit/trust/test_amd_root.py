from __future__ import annotations

import hashlib

import pytest

from kloister.formats.snp import Product, check_pss, parse_certificates
from kloister.trust.amd_root import AMD_ROOTS, AmdRoot
from tests.support.evidence import code_of
from tests.support.snp import OTHER_KEY, Issued, SnpForge, snp_case


def test_amds_roots_have_the_written_keys() -> None:
    digests = {root.name: hashlib.sha256(root.spki).hexdigest() for root in AMD_ROOTS}
    assert digests == {
        "ARK-Milan": "9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9",
        "ARK-Genoa": "429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831",
        "ARK-Turin": "4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08",
    }
    assert [root.product for root in AMD_ROOTS] == list(Product)
    assert len({root.fingerprint for root in AMD_ROOTS}) == len(AMD_ROOTS)


@pytest.mark.parametrize("name", ["v2-SEV-Milan-377e6241", "v3-SEV-VLEK-Milan-decdab94", "v5-SEV-Turin-85da705e"])
def test_amds_roots_signed_the_captured_chains(name: str) -> None:
    ask, ark = parse_certificates(snp_case(name).chain, "ask-chain")
    (root,) = [one for one in AMD_ROOTS if one.matches(ark)]
    check_pss(root.key, ask.signature, ask.tbs, "ask-signature", "the ASK")
    assert AmdRoot.from_der(ark.raw) == root


def test_only_a_self_signed_ca_is_a_root() -> None:
    assert AmdRoot.from_der(SnpForge().ark_der()).name == "ARK-Milan"
    for ark in (Issued(signer=OTHER_KEY), Issued(issuer="ARK-Other"), Issued(ca=False)):
        data = SnpForge(ark=ark).ark_der()
        assert code_of(lambda: AmdRoot.from_der(data)) == "root-certificate"  # noqa: B023 -- called at once
    assert code_of(lambda: AmdRoot.from_der(SnpForge().vek_der())) == "amd-certificate-key"
