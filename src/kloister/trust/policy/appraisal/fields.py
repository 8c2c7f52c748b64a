"""The fields that a policy may have for each TEE: the words of the document, the claims that they judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_U8, _U16, _U32 = 0xFF, 0xFFFF, 0xFFFFFFFF
_REPORT_DATA = 64  # bytes, in every TEE
_MAX_VMPL = 3


@dataclass(frozen=True, slots=True)
class HexField:
    """One value or a list of values, each of `size` bytes; shorter ones are filled with zeros where `padded`."""

    claim: str
    code: str
    size: int
    padded: bool = False


@dataclass(frozen=True, slots=True)
class NumberField:
    """One number or a list of numbers, each up to `limit`; the least acceptable one where `minimum`."""

    claim: str
    code: str
    limit: int
    minimum: bool = False


@dataclass(frozen=True, slots=True)
class FlagField:
    """True or false."""

    claim: str
    code: str


Field = HexField | NumberField | FlagField


def _report_data() -> HexField:
    return HexField("report_data", "report-data-not-allowed", _REPORT_DATA, padded=True)


def _minimum(claim: str) -> NumberField:
    return NumberField(claim, "snp-tcb-too-low", _U8, minimum=True)


SGX: Mapping[str, Field] = MappingProxyType({
    "mrenclave": HexField("mrenclave", "measurement-not-allowed", 32),
    "mrsigner": HexField("mrsigner", "signer-not-allowed", 32),
    "isvprodid": NumberField("isvprodid", "signer-product", _U16),
    "isvextprodid": HexField("isvextprodid", "signer-product", 16),
    "isvfamilyid": HexField("isvfamilyid", "signer-product", 16),
    "isvsvn": NumberField("isvsvn", "signer-svn", _U16, minimum=True),
    "configid": HexField("configid", "configuration-not-allowed", 64),
    "configsvn": NumberField("configsvn", "configuration-not-allowed", _U16, minimum=True),
    "reportData": _report_data(),
})  # fmt: skip

TDX: Mapping[str, Field] = MappingProxyType({
    "mrtd": HexField("mrtd", "measurement-not-allowed", 48),
    "rtmr0": HexField("rtmr0", "measurement-not-allowed", 48),
    "rtmr1": HexField("rtmr1", "measurement-not-allowed", 48),
    "rtmr2": HexField("rtmr2", "measurement-not-allowed", 48),
    "rtmr3": HexField("rtmr3", "measurement-not-allowed", 48),
    "mrseam": HexField("mrseam", "module-not-allowed", 48),
    "mrsignerseam": HexField("mrsignerseam", "module-not-allowed", 48),
    "mrconfigid": HexField("mrconfigid", "configuration-not-allowed", 48),
    "mrowner": HexField("mrowner", "configuration-not-allowed", 48),
    "mrownerconfig": HexField("mrownerconfig", "configuration-not-allowed", 48),
    "mrservicetd": HexField("mrservicetd", "service-td-not-allowed", 48),
    "septVeDisable": FlagField("sept_ve_disable", "sept-ve-disable-not-set"),
    "reportData": _report_data(),
})  # fmt: skip

SNP: Mapping[str, Field] = MappingProxyType({
    "measurement": HexField("measurement", "measurement-not-allowed", 48),
    "hostData": HexField("host_data", "host-data-not-allowed", 32),
    "idKeyDigest": HexField("id_key_digest", "signer-not-allowed", 48),
    "authorKeyDigest": HexField("author_key_digest", "signer-not-allowed", 48),
    "familyId": HexField("family_id", "signer-product", 16),
    "imageId": HexField("image_id", "signer-product", 16),
    "guestSvn": NumberField("guest_svn", "signer-svn", _U32, minimum=True),
    "vmpl": NumberField("vmpl", "vmpl-not-allowed", _MAX_VMPL),
    "chipId": HexField("chip_id", "chip-not-allowed", 64, padded=True),
    "reportData": _report_data(),
})  # fmt: skip

# The security versions of `snp.minimumTcb`; the claims are those of the reported TCB
SNP_TCB: Mapping[str, Field] = MappingProxyType({
    "bootloader": _minimum("reported_tcb_bootloader"),
    "tee": _minimum("reported_tcb_tee"),
    "snp": _minimum("reported_tcb_snp"),
    "microcode": _minimum("reported_tcb_microcode"),
    "fmc": _minimum("reported_tcb_fmc"),
})  # fmt: skip

TEES: Mapping[str, Mapping[str, Field]] = MappingProxyType({"sgx": SGX, "tdx": TDX, "snp": SNP})
