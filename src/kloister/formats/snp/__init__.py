"""AMD SEV-SNP: attestation reports, AMD's certificates and lists, Azure's blob; whom to trust is decided in `trust`."""

from kloister.formats.snp.bits import Flags, GuestPolicy, PlatformInfo, SigningKey
from kloister.formats.snp.certificate import AmdCertificate, parse_certificates
from kloister.formats.snp.crl import AmdCrl
from kloister.formats.snp.hcl import HclBlob
from kloister.formats.snp.report import Cpuid, FirmwareVersion, SnpReport
from kloister.formats.snp.signature import check_p384, check_pss
from kloister.formats.snp.tcb import Product, Tcb
from kloister.formats.snp.vek import VekExtensions

__all__ = [
    "AmdCertificate",
    "AmdCrl",
    "Cpuid",
    "FirmwareVersion",
    "Flags",
    "GuestPolicy",
    "HclBlob",
    "PlatformInfo",
    "Product",
    "SigningKey",
    "SnpReport",
    "Tcb",
    "VekExtensions",
    "check_p384",
    "check_pss",
    "parse_certificates",
]
