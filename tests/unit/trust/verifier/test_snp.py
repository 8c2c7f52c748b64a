from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import KloisterError, Malformed, Misused, Unverified
from kloister.formats.snp import AmdCertificate, Cpuid, Flags, GuestPolicy, HclBlob, Product, SigningKey
from kloister.formats.snp.report import SIGNED_SIZE
from kloister.formats.snp.vek import arcs_of
from kloister.trust.amd_root import AMD_ROOTS, AmdRoot
from kloister.trust.root import SIMULATED_MARK
from kloister.trust.verifier.cache import VerifierCache
from kloister.trust.verifier.endorsement import EndorsedKey, SnpEndorsement, endorsed_key
from kloister.trust.verifier.snp import verify_hcl, verify_snp
from tests.support.evidence import code_of
from tests.support.snp import NOW, OTHER_KEY, YEAR, Issued, SnpForge, pem, report

FORGE = SnpForge()
DATA = FORGE.signed()
PARTS = FORGE.endorsement()
ROOT = FORGE.root
SECOND = timedelta(seconds=1)
RUNTIME = b'{"keys": [], "user-data": "00ff"}'


def _code(forge: SnpForge, **arguments: Any) -> str:
    return code_of(lambda: forge.verify(**arguments))


def _forges() -> dict[str, SnpForge]:
    return {
        "Milan 2": SnpForge.of(Product.MILAN, 2),
        "Milan 3": FORGE,
        "Genoa 4": SnpForge.of(Product.GENOA, 4),
        "Turin 5": SnpForge.of(Product.TURIN, 5),
        "VLEK": SnpForge.vlek(),
    }


@pytest.mark.parametrize("name", _forges())
def test_a_genuine_report_of_every_layout_verifies(name: str) -> None:
    forge = _forges()[name]
    verified = forge.verify()
    assert verified.product == forge.product
    assert verified.report.measurement == forge.report.measurement
    assert verified.tcb is None
    assert verified.collateral_expires == NOW + YEAR
    levels = {each: value for each, value in verified.claims.items() if each.startswith("reported_tcb_")}
    expected = {"bootloader": 4, "tee": 1, "snp": 24, "microcode": 219}
    if forge.product is Product.TURIN:
        expected["fmc"] = 2
    assert levels == {f"reported_tcb_{each}": value for each, value in expected.items()}


def test_claims_are_those_of_the_report() -> None:
    policy = GuestPolicy(1 << 17 | 1 << 19 | 0x0137)
    forge = replace(SnpForge.of(Product.TURIN, 5), report=report(Product.TURIN, 5, vmpl=2, policy=policy))
    claims = forge.verify().claims
    expected = {
        "measurement": "33" * 48,
        "host_data": "44" * 32,
        "family_id": "01" * 16,
        "guest_svn": 7,
        "vmpl": 2,
        "debug": True,
        "policy": "00000000000a0137",
        "policy_abi": "1.55",
        "policy_smt": False,
        "platform_smt": True,
        "platform_ecc": True,
        "platform_tio": False,
        "product": "Turin",
        "signing_key": "vcek",
        "report_version": 5,
        "cpu_family": 26,
        "firmware_current": "1.55.29",
        "firmware_committed": "1.54.28",
        "launch_mitigations": "000000000000003f",
        "current_mitigations": "000000000000007f",
        "chip_id": "0102030405060708" + "00" * 56,
    }
    assert {name: claims[name] for name in expected} == expected
    assert "csp_id" not in claims
    assert SnpForge.vlek().verify().claims["csp_id"] == "CN=cc.example.com"
    assert "cpu_family" not in SnpForge.of(Product.MILAN, 2).verify().claims


def test_nobody_else_makes_it() -> None:
    with pytest.raises(Misused):
        dataclasses.replace(FORGE.verify(), seal=object())


@given(st.integers(0, len(DATA) * 8 - 1))
def test_a_flipped_bit_never_verifies(bit: int) -> None:
    data = bytearray(DATA)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises((Malformed, Unverified)):
        verify_snp(bytes(data), PARTS, [ROOT], NOW)


@given(st.integers(0, len(PARTS.vek) * 8 - 1))
def test_a_flipped_bit_in_the_certificate_never_verifies(bit: int) -> None:
    vek = bytearray(PARTS.vek)
    vek[bit // 8] ^= 1 << bit % 8
    with pytest.raises((Malformed, Unverified)):
        verify_snp(DATA, replace(PARTS, vek=bytes(vek)), [ROOT], NOW)


@pytest.mark.parametrize("part", ["vek", "chain", "crl"])
@given(st.binary(max_size=200))
def test_any_endorsement_raises_nothing_else(part: str, data: bytes) -> None:
    with pytest.raises((Malformed, Unverified)):
        verify_snp(DATA, replace(PARTS, **{part: data}), [ROOT], NOW)


def test_every_field_of_the_report_is_signed() -> None:
    for at in range(0, SIGNED_SIZE, 4):
        data = bytearray(DATA)
        data[at + 3] ^= 0x40
        assert code_of(lambda: verify_snp(bytes(data), PARTS, [ROOT], NOW)) != "accepted", hex(at)  # noqa: B023 -- now


VLEK = SnpForge.vlek()
_EARLY, _LATE = Issued(start=NOW + SECOND, end=NOW + YEAR), Issued(start=NOW - YEAR, end=NOW - SECOND)


@pytest.mark.parametrize(
    ("forge", "code"),
    [
        (FORGE, "accepted"),
        # step 2
        (replace(FORGE, vek=Issued(name="SEV-Milan")), "vek-role"),
        (replace(FORGE, vek=Issued(issuer="SEV-Genoa")), "vek-issuer"),
        (replace(FORGE, vek=Issued(signer=OTHER_KEY)), "vek-signature"),
        (replace(FORGE, vek=Issued(ca=True)), "vek-usage"),
        (replace(FORGE, vek=_EARLY), "vek-not-yet-valid"),
        (replace(FORGE, vek=_LATE), "vek-expired"),
        (replace(FORGE, ask=Issued(name="SEV-Other"), vek=Issued(issuer="SEV-Other")), "ask-role"),
        (replace(FORGE, ask=Issued(name="SEV-VLEK-Milan"), vek=Issued(issuer="SEV-VLEK-Milan")), "ask-role"),
        (replace(VLEK, ask=Issued(name="SEV-Milan"), vek=Issued(issuer="SEV-Milan")), "ask-role"),
        (replace(FORGE, ask=Issued(issuer="ARK-Other")), "root-untrusted"),
        (replace(FORGE, ask=Issued(signer=OTHER_KEY)), "ask-signature"),
        (replace(FORGE, ask=Issued(ca=False)), "ask-usage"),
        (replace(FORGE, ask=Issued(signs_certificates=False)), "ask-usage"),
        (replace(FORGE, ask=_EARLY), "ask-not-yet-valid"),
        (replace(FORGE, ask=_LATE), "ask-expired"),
        (replace(FORGE, ark=Issued(issuer="ARK-Other")), "ark-issuer"),
        (replace(FORGE, ark=Issued(signer=OTHER_KEY)), "ark-signature"),
        (replace(FORGE, ark=Issued(ca=False)), "ark-usage"),
        (replace(FORGE, ark=_EARLY), "ark-not-yet-valid"),
        (replace(FORGE, ark=_LATE), "ark-expired"),
        (replace(FORGE, ark_key=OTHER_KEY), "root-untrusted"),
        # step 4
        (replace(FORGE, product_name="Milan"), "accepted"),
        (replace(FORGE, product_name="Genoa-B1"), "snp-product"),
        (replace(FORGE, report=report(cpuid=Cpuid(25, 17, 1))), "snp-product"),
        (replace(FORGE, report=report(cpuid=Cpuid(25, 0x50, 1))), "snp-product-unknown"),
        (replace(SnpForge.of(Product.MILAN, 2), product_name="Venice"), "snp-product-unknown"),
        (replace(SnpForge.of(Product.MILAN, 2), product_name="Genoa"), "snp-product"),
        # step 5
        (replace(FORGE, report=report(flags=Flags(SigningKey.VLEK << 2))), "snp-signing-key"),
        (replace(VLEK, report=report()), "snp-signing-key"),
        (replace(FORGE, report=report(flags=Flags(3 << 2))), "snp-signing-key"),
        (replace(FORGE, report=report(flags=Flags(SigningKey.NONE << 2))), "snp-report-unsigned"),
        (replace(FORGE, report=report(flags=Flags(1))), "accepted"),
        # step 7
        (replace(FORGE, hwid=bytes(64)), "vek-hwid"),
        (replace(FORGE, hwid=bytes(range(1, 64)) + b"\0"), "vek-hwid"),
        (replace(FORGE, report=report(chip_id=bytes(64)), hwid=bytes(range(1, 65))), "accepted"),
        (replace(FORGE, report=report(chip_id=b"\1" * 64, flags=Flags(2)), hwid=bytes(64)), "vek-hwid"),
        (replace(VLEK, report=replace(VLEK.report, chip_id=b"\1" * 64)), "accepted"),
        (replace(SnpForge.of(Product.TURIN), hwid=b"\1" * 8), "vek-hwid"),
        # step 8
        (replace(FORGE, signing=2), "snp-report-signature"),
        (replace(FORGE, certified=2), "snp-report-signature"),
    ],
)
def test_each_step_refuses_with_its_reason(forge: SnpForge, code: str) -> None:
    assert _code(forge) == code


@pytest.mark.parametrize("product", Product)
@pytest.mark.parametrize("at", range(8))
def test_every_level_must_be_that_of_the_certificate(product: Product, at: int) -> None:
    forge = SnpForge.of(product)
    levels = dict(zip(arcs_of(product), forge.report.reported_tcb, strict=True))
    arc = arcs_of(product)[at]
    assert _code(replace(forge, levels=levels)) == "accepted"
    assert _code(replace(forge, levels={**levels, arc: levels[arc] + 1})) == "vek-tcb"
    without = {each: level for each, level in levels.items() if each != arc}
    assert _code(replace(forge, levels=without)) == ("accepted" if levels[arc] == 0 else "vek-tcb")


def test_other_tcb_versions_need_not_be_the_certificates() -> None:
    other = bytes([1, 2, 0, 0, 0, 0, 3, 4])
    assert _code(replace(FORGE, report=report(current_tcb=other, committed_tcb=other, launch_tcb=other))) == "accepted"


def test_a_certificate_without_hardware_id_is_for_masked_chips() -> None:
    vlek_like = replace(FORGE, hwid=None)
    assert _code(vlek_like) == "accepted"
    bare = replace(
        SnpForge.vlek(), report=report(), vek=Issued(name="SEV-VCEK", issuer="SEV-Milan"), ask=Issued(name="SEV-Milan")
    )
    assert _code(bare) == "vek-hwid"
    assert _code(replace(bare, report=report(chip_id=bytes(64)))) == "accepted"


def test_dates_count_to_the_second() -> None:
    parts = FORGE.endorsement()
    for at, code in (
        (NOW - YEAR, "accepted"),
        (NOW - YEAR - SECOND, "vek-not-yet-valid"),
        (NOW + YEAR, "accepted"),
        (NOW + YEAR + SECOND, "vek-expired"),
    ):
        assert _code(FORGE, endorsement=parts, at=at) == code


def test_a_naive_time_is_misuse() -> None:
    assert _code(FORGE, at=datetime(2026, 6, 15)) == "time-naive"  # noqa: DTZ001 -- that is the point


ASK_SERIAL = 2


@pytest.mark.parametrize(
    ("crl", "code"),
    [
        (None, "accepted"),
        (FORGE.crl(), "accepted"),
        (FORGE.crl(77), "accepted"),
        (FORGE.crl(77, ASK_SERIAL), "ask-revoked"),
        (FORGE.crl(issuer="ARK-Other"), "ark-crl-issuer"),
        (FORGE.crl(signer=OTHER_KEY), "ark-crl-signature"),
        (FORGE.crl(start=NOW + SECOND), "ark-crl-not-yet-valid"),
        (FORGE.crl(start=NOW - YEAR, end=NOW - SECOND), "ark-crl-expired"),
        (b"no list", "amd-crl-syntax"),
    ],
)
def test_revocation_is_judged_where_a_list_is_given(crl: bytes | None, code: str) -> None:
    assert _code(FORGE, endorsement=FORGE.endorsement(crl)) == code


def test_the_first_part_that_ends_is_said() -> None:
    verified = FORGE.verify(endorsement=FORGE.endorsement(FORGE.crl()))
    assert verified.collateral_expires == NOW + timedelta(days=30)


def test_chains_come_in_every_order() -> None:
    ask, ark, vek = FORGE.ask_der(), FORGE.ark_der(), FORGE.vek_der()
    asvk = VLEK.ask_der()
    for chain in (pem(ask) + pem(ark), pem(ark) + pem(ask), pem(ask), ask + ark, asvk + ark + ask):
        assert _code(FORGE, endorsement=SnpEndorsement(vek=vek, chain=chain)) == "accepted"
    assert _code(FORGE, endorsement=SnpEndorsement(vek=pem(vek), chain=ask)) == "accepted"
    assert _code(FORGE, endorsement=SnpEndorsement(vek=pem(vek) + pem(ask), chain=ask)) == "vek-single"
    assert _code(FORGE, endorsement=SnpEndorsement(vek=vek, chain=ark)) == "vek-issuer"


def test_roots_are_pinned_by_subject_and_key() -> None:
    assert code_of(lambda: verify_snp(DATA, PARTS, AMD_ROOTS, NOW)) == "root-untrusted"
    assert code_of(lambda: verify_snp(DATA, PARTS, [], NOW)) == "root-untrusted"
    assert code_of(lambda: verify_snp(DATA, PARTS, [*AMD_ROOTS, ROOT], NOW)) == "accepted"


def test_a_root_has_an_rsa_key() -> None:
    spki = AmdCertificate.parse(FORGE.vek_der()).spki
    assert code_of(lambda: replace(ROOT, spki=spki).key) == "root-key"


def test_a_simulated_root_says_so() -> None:
    simulated = replace(ROOT, name=f"ARK-Milan ({SIMULATED_MARK})")
    assert simulated.simulated
    assert simulated.product is Product.MILAN
    assert not ROOT.simulated
    assert replace(ROOT, name="Milan").product is None
    assert verify_snp(DATA, PARTS, [simulated], NOW).simulated


def _blob(runtime: bytes = RUNTIME, bound: bytes | None = None) -> bytes:
    data = hashlib.sha256(runtime if bound is None else bound).digest().ljust(64, b"\0")
    return HclBlob(report=replace(FORGE, report=report(report_data=data)).signed(), runtime=runtime).build()


def test_azures_blob_verifies_with_what_its_report_binds() -> None:
    verified = verify_hcl(_blob(), PARTS, [ROOT], NOW)
    assert verified.runtime == RUNTIME
    assert verified.claims["runtime_sha256"] == hashlib.sha256(RUNTIME).hexdigest()
    assert verified.claims["user_data"] == "00ff"
    assert "runtime_sha256" not in FORGE.verify().claims
    bare = verify_hcl(_blob(b'{"user-data": 1}'), PARTS, [ROOT], NOW)
    assert "user_data" not in bare.claims
    assert FORGE.verify().runtime is None
    for blob, code in (
        (_blob(bound=b"other"), "hcl-binding"),
        (_blob(b"[]"), "hcl-runtime-json"),
        (_blob()[:-1], "hcl-truncated"),
        (DATA, "hcl-magic"),
    ):
        assert code_of(lambda: verify_hcl(blob, PARTS, [ROOT], NOW)) == code  # noqa: B023 -- called at once


@given(st.integers(0x20 * 8, len(_blob()) * 8 - 1))
def test_a_flipped_bit_in_the_blob_never_verifies(bit: int) -> None:
    data = bytearray(_blob())
    if 0x4C0 <= bit // 8 < 0x4C8:
        return  # size and version of the runtime data mean nothing here
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises((Malformed, Unverified)):
        verify_hcl(bytes(data), PARTS, [ROOT], NOW)


def test_a_cache_keeps_what_was_accepted_and_nothing_else() -> None:
    cache = VerifierCache()
    for data, kept in ((DATA[:-1], 0), (replace(FORGE, signing=2).signed(), 0), (DATA, 1), (DATA, 1)):
        code_of(lambda: verify_snp(data, PARTS, [ROOT], NOW, cache))  # noqa: B023 -- called at once
        assert len(cache.endorsements) == kept


def test_a_warm_cache_judges_time_root_and_report_again() -> None:
    cache = VerifierCache()
    crl = FORGE.endorsement(FORGE.crl())
    cold = verify_snp(DATA, crl, [ROOT], NOW, cache)
    assert verify_snp(DATA, crl, [ROOT], NOW, cache) == cold

    def code(data: bytes, roots: list[AmdRoot], at: datetime) -> str:
        return code_of(lambda: verify_snp(data, crl, roots, at, cache))

    assert code(DATA, [ROOT], NOW) == "accepted"
    assert code(DATA, [], NOW) == "root-untrusted"
    assert code(DATA, list(AMD_ROOTS), NOW) == "root-untrusted"
    assert code(DATA, [ROOT], NOW + timedelta(days=31)) == "ark-crl-expired"
    assert code(replace(FORGE, signing=2).signed(), [ROOT], NOW) == "snp-report-signature"
    assert code(replace(FORGE, report=report(chip_id=b"\1" * 64)).signed(), [ROOT], NOW) == "vek-hwid"


def test_a_warm_cache_proves_a_key_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, proven = VerifierCache(), list[SnpEndorsement]()

    def counted(endorsement: SnpEndorsement, roots: Sequence[AmdRoot]) -> EndorsedKey:
        proven.append(endorsement)
        return endorsed_key(endorsement, roots)

    monkeypatch.setattr("kloister.trust.verifier.snp.endorsed_key", counted)
    for kept, times in ((None, 1), (None, 2), (cache, 3), (cache, 3)):
        verify_snp(DATA, PARTS, [ROOT], NOW, kept)
        assert len(proven) == times


def test_a_processor_that_is_not_known_is_named() -> None:
    later = replace(FORGE, report=report(cpuid=Cpuid(25, 0x50, 1)))
    nameless = replace(SnpForge.of(Product.MILAN, 2), product_name="Venice")
    for forge, name in ((later, "(family 25, model 80)"), (nameless, "(Venice)")):
        with pytest.raises(Unverified, match=re.escape(name)):
            forge.verify()


def test_errors_are_of_two_families() -> None:
    for family, code in ((Malformed, "snp-report-truncated"), (Unverified, "snp-report-signature")):
        data = DATA[:-1] if family is Malformed else replace(FORGE, signing=2).signed()
        with pytest.raises(KloisterError) as refusal:
            verify_snp(data, PARTS, [ROOT], NOW)
        assert isinstance(refusal.value, family)
        assert refusal.value.code == code
