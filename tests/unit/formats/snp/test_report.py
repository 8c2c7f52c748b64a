from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.snp import Cpuid, FirmwareVersion, Flags, GuestPolicy, PlatformInfo, Product, SnpReport, Tcb
from tests.support.evidence import code_of
from tests.support.snp import report, snp_case

_U32, _U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
_U8 = st.integers(0, 255)
_NUMBER = st.integers(0, 2**576 - 1)
_FIRMWARE = st.builds(FirmwareVersion, _U8, _U8, _U8)


def _bytes(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


@st.composite
def reports(draw: st.DrawFn) -> SnpReport:
    version = draw(st.integers(2, 5))
    return SnpReport(
        version=version,
        guest_svn=draw(_U32),
        policy=GuestPolicy(draw(_U64) | 1 << 17),
        family_id=draw(_bytes(16)),
        image_id=draw(_bytes(16)),
        vmpl=draw(_U32),
        current_tcb=draw(_bytes(8)),
        platform_info=PlatformInfo(draw(_U64)),
        flags=Flags(draw(_U32)),
        report_data=draw(_bytes(64)),
        measurement=draw(_bytes(48)),
        host_data=draw(_bytes(32)),
        id_key_digest=draw(_bytes(48)),
        author_key_digest=draw(_bytes(48)),
        report_id=draw(_bytes(32)),
        report_id_ma=draw(_bytes(32)),
        reported_tcb=draw(_bytes(8)),
        cpuid=draw(st.builds(Cpuid, _U8, _U8, _U8)) if version > 2 else None,
        chip_id=draw(_bytes(64)),
        committed_tcb=draw(_bytes(8)),
        current_version=draw(_FIRMWARE),
        committed_version=draw(_FIRMWARE),
        launch_tcb=draw(_bytes(8)),
        launch_mitigations=draw(_U64) if version > 4 else None,
        current_mitigations=draw(_U64) if version > 4 else None,
        r=draw(_NUMBER),
        s=draw(_NUMBER),
    )


@given(reports())
def test_what_is_built_is_parsed(one: SnpReport) -> None:
    data = one.build()
    assert len(data) == SnpReport.SIZE
    assert SnpReport.parse(data) == one
    assert data.startswith(one.body())


@given(st.binary(max_size=0x4A0 + 4))
def test_other_bytes_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        SnpReport.parse(data)


@given(st.integers(0, 0x4A0 - 1))
def test_every_cut_is_malformed(size: int) -> None:
    assert code_of(lambda: SnpReport.parse(report().build()[:size])) == "snp-report-truncated"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, "accepted"),
        ({0x00: 1}, "snp-report-version"),
        ({0x00: 6}, "snp-report-version"),
        ({0x03: 1}, "snp-report-version"),
        ({0x34: 2}, "snp-report-algorithm"),
        ({0x34: 0}, "snp-report-algorithm"),
        ({0x0A: 0x01}, "snp-report-policy"),
        ({0x330: 1}, "snp-report-reserved"),
        ({0x49F: 1}, "snp-report-reserved"),
        ({0x4C: 1, 0x18B: 1, 0x208: 1, 0x29F: 1}, "accepted"),  # reserved, but signed
    ],
)
def test_constants_are_checked(changes: dict[int, int], code: str) -> None:
    data = bytearray(report().build())
    for at, value in changes.items():
        data[at] = value
    assert code_of(lambda: SnpReport.parse(bytes(data))) == code


def test_trailing_bytes_are_refused() -> None:
    assert code_of(lambda: SnpReport.parse(report().build() + b"\0")) == "snp-report-trailing"


def test_a_version_has_the_fields_that_it_defines() -> None:
    everything = replace(report(version=5), cpuid=Cpuid(25, 1, 1)).build()
    seen = {}
    for version in (2, 3, 4, 5):
        parsed = SnpReport.parse(bytes([version]) + everything[1:])
        seen[version] = (parsed.cpuid is not None, parsed.current_mitigations)
    assert seen == {2: (False, None), 3: (True, None), 4: (True, None), 5: (True, 0x7F)}


def test_a_real_turin_report_reads_as_it_was_captured() -> None:
    parsed = SnpReport.parse(snp_case("v5-SEV-Turin-85da705e").report)
    assert parsed.version == 5
    assert parsed.cpuid == Cpuid(0x1A, 2, 1)
    assert parsed.platform_info.value == 0x65  # bit 6 has no name
    assert parsed.policy.abi == "0.31"
    assert not parsed.policy.debug
    assert str(parsed.current_version) == "1.55.65"
    assert parsed.launch_mitigations == 0x3F
    assert parsed.chip_id == bytes.fromhex("59790fb1c39f35c1").ljust(64, b"\0")
    assert Tcb.parse(parsed.reported_tcb, Product.TURIN) == Tcb(fmc=1, bootloader=1, tee=1, snp=4, microcode=81)


def test_a_chip_id_is_not_shown() -> None:
    assert bytes(range(1, 65)).hex() not in repr(report())
    assert repr(bytes(range(1, 65))) not in repr(report())


def test_policy_bits_have_their_places() -> None:
    bits: dict[str, Any] = {
        "smt": 16,
        "migrate_ma": 18,
        "debug": 19,
        "single_socket": 20,
        "cxl": 21,
        "mem_aes_256_xts": 22,
        "rapl_disabled": 23,
        "ciphertext_hiding": 24,
        "page_swap_disabled": 25,
    }
    for name, bit in bits.items():
        named = GuestPolicy(1 << bit).named()
        assert {each for each, value in named.items() if value} == {name}
    assert GuestPolicy(1 << 19).debug
    assert not GuestPolicy(~(1 << 17) & 2**64 - 1).well_formed
    assert GuestPolicy(1 << 17).well_formed
    assert GuestPolicy(0x0137).abi == "1.55"


def test_platform_bits_have_their_places() -> None:
    bits = {
        "smt": 0,
        "tsme": 1,
        "ecc": 2,
        "rapl_disabled": 3,
        "ciphertext_hiding": 4,
        "alias_check_complete": 5,
        "tio": 7,
    }
    for name, bit in bits.items():
        assert {each for each, value in PlatformInfo(1 << bit).named().items() if value} == {name}
    assert not any(PlatformInfo(1 << 6).named().values())


def test_flags_have_their_places() -> None:
    assert (Flags(1).author_key, Flags(2).author_key) == (True, False)
    assert (Flags(2).mask_chip_key, Flags(1).mask_chip_key) == (True, False)
    assert [Flags(value).signing_key for value in (0, 0b100, 0b11100, 0b100011)] == [0, 1, 7, 0]


def test_tcb_levels_stand_where_the_product_has_them() -> None:
    raw = bytes(range(10, 18))
    for product in (Product.MILAN, Product.GENOA):
        assert Tcb.parse(raw, product) == Tcb(bootloader=10, tee=11, snp=16, microcode=17)
    turin = Tcb.parse(raw, Product.TURIN)
    assert turin == Tcb(fmc=10, bootloader=11, tee=12, snp=13, microcode=17)
    assert next(iter(turin.named().items())) == ("fmc", 10)
    assert "fmc" not in Tcb.parse(raw, Product.MILAN).named()
    assert code_of(lambda: Tcb.parse(raw[:7], Product.MILAN)) == "snp-tcb-size"


@given(st.tuples(_U8, _U8, _U8, _U8), st.none() | _U8)
def test_a_tcb_is_parsed_as_built(levels: tuple[int, int, int, int], fmc: int | None) -> None:
    bootloader, tee, snp, microcode = levels
    tcb = Tcb(bootloader=bootloader, tee=tee, snp=snp, microcode=microcode, fmc=fmc)
    assert Tcb.parse(tcb.build(), Product.MILAN if fmc is None else Product.TURIN) == tcb


def test_products_are_known_by_cpuid_and_name() -> None:
    cpus = {
        (0x19, 0x0F): "Milan",
        (0x19, 0x10): "Genoa",
        (0x19, 0xAF): "Genoa",
        (0x1A, 0): "Turin",
        (0x1A, 0x11): "Turin",
    }
    assert {cpu: Product.of_cpuid(*cpu) for cpu in cpus} == cpus
    unknown = [(0x19, 0x20), (0x19, 0x9F), (0x19, 0xB0), (0x1A, 0x12), (0x17, 0x31)]
    assert [Product.of_cpuid(*cpu) for cpu in unknown] == [None] * len(unknown)
    names = {"Milan-B0": "Milan", "Milan": "Milan", "Genoa": "Genoa", "Turin-C1": "Turin"}
    assert {name: Product.of_name(name) for name in names} == names
    assert [Product.of_name(name) for name in ("Venice", "", "milan", "MilanB0")] == [None] * 4
