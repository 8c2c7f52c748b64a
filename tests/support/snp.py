"""SNP reports and endorsements made to order under a root of the tests' own, and the sets of the shared vectors."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from kloister.formats.snp import (
    Cpuid,
    FirmwareVersion,
    Flags,
    GuestPolicy,
    PlatformInfo,
    Product,
    SigningKey,
    SnpReport,
    Tcb,
    VekExtensions,
    parse_certificates,
)
from kloister.formats.snp.vek import arcs_of
from kloister.trust.amd_root import AMD_ROOTS, AmdRoot
from kloister.trust.snp_evidence import VerifiedSnp
from kloister.trust.verifier.endorsement import SnpEndorsement
from kloister.trust.verifier.snp import verify_snp
from tests.support.paths import vectors

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
YEAR = timedelta(days=365)
_SHA384 = hashes.SHA384()
_PSS = padding.PSS(padding.MGF1(_SHA384), 48)

# Keys for tests: RSA keys are pairs of these primes, because making them takes seconds. They protect nothing.
_PRIMES = tuple(
    int.from_bytes(base64.b64decode(text), "big")
    for text in (
        (
            "+TiH8LPsh09XVvbmpa8q21j0gADacXGT2qrW/DknBJdAn73c176HpPcb8jYnnao+auWRbTkQ5/g4P2Tuh8Hh9Lkwa2Zz3sk5y5a7"
            "cfTP7nEpWP/wR/6Zz4ABIdYhXRaxNvFYNBKIOmERQDGX5SIVbMXMv63rS765eUCHySMMzPjK/kPJ0DYOvBSCcpR4XWexJ0o8UqPw"
            "qYiwho+GrGsjA/aJ2k+s4/dsBsiBYRcqjBKH0lOyeox8wXWujHUWJKMtI26kty50AzK9VksJ+1dOQNN+AsbpJwSPqhYFDsY2UXcf"
            "wE7s7BHPmsSuYMLh/8Tu5ypzrMRu0+pUaY/LviMXZw=="
        ),
        (
            "5sUy3pa76sgoPWFGNyTp+OHssN/D3QgrbD1rBkYxwrGX+LH/H874kPfb/+cdpQYlxDg4cljiFcZ4FPbq/FJzodVjZwqvuMmI9tDp"
            "p1K29nOm24L7QD5QoZ6hOgO+lhMmiLAFwQ5caQn1TVnK7TtDXduqW1OyjyMfsYN2Vbfsg+7L8Us6QNDcEg7Rf3Oy71vWesa8lhdx"
            "AK9sYwxvDde3v3hfJfaxvpBU2Id2M0J/80uRkMbS3dOMieq4dFiFujhnXhaSLaa4lGeD2Yw64wrQhdR9q5L3EWR4dmdbBQzft5uS"
            "mWz4afTjj0a2zywsXk8Zklf14q7gHA/8cNjf6+WR7Q=="
        ),
        (
            "6UY1zV19WAX2epgezaTuJvB1C80ZrPBKHQbodYcARJ9U2YHceIi7OqSRSGwjZ2bdhMITQ9emCebQZ/g9UmJOSxRVQo5r0G91PMhB"
            "/jDU0nqmZYVcKnHdYLl8VEf1wHtdIjeFzc7Ud4+5T2WudLu3q4oY1VNlZmz4Fj5hK5VzQKQjFIGuA0miC34bNc1BivHByj2XNwXI"
            "5PzGxeq8XpGY4wjuRzZJFZEBE4NdPjxlc0B+ynADYpI4pKDTEe2v7VNv3hBXhaZyojNkFrjrb9bxBLOjCVA60XwwHaG+EGiZMiX2"
            "a0LsJ2U2XUIFSo2QvioG+3IOIPqGhpDqgVt4y6k/vQ=="
        ),
        (
            "w58ZU0P9nJMXh5Ew5m5yTJJ7XYBEC05G1ODXHflY6XHhpaFD34eAKUnw9QqkTfTWPxfDao15ILmtWDfCocH7+C5CuN5dpoduCXW2"
            "x5iXZXUCYKUeWgNeSDQY1kF3u6qnMkm3PUuFr3cJIyqhpB946nYp+DKS7A3ldTfAYrjpvgvuGnFi6BnDfS58BQEHEDzrR0d2EjqM"
            "nC87CfjD9+qcKX930tsUjNLUatlnyyeGU1VaeMyiHwAiSTLojTM3ZrCKvxjPG2Ugs6Tb/ogo0p9cs5G2R/70LwjV1FlVnofzl7k8"
            "TdIaBS9kPtD+EtMC1mIMPvsLmtCLcdq2f8cWvI0Hnw=="
        ),
    )
)


@functools.cache
def rsa_key(first: int, second: int) -> rsa.RSAPrivateKey:
    """The RSA key of 4096 bits whose primes are those two of the list (0 to 3)."""
    p, q = _PRIMES[first], _PRIMES[second]
    d = rsa.rsa_recover_private_exponent(65537, p, q)
    public = rsa.RSAPublicNumbers(65537, p * q)
    dmp1, dmq1, iqmp = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    return rsa.RSAPrivateNumbers(p, q, d, dmp1, dmq1, iqmp, public).private_key(unsafe_skip_rsa_key_validation=True)


ARK_KEY, ASK_KEY, OTHER_KEY = (0, 1), (0, 2), (2, 3)


def chip_key(number: int = 1) -> ec.EllipticCurvePrivateKey:
    """A P-384 key."""
    return ec.derive_private_key(number, ec.SECP384R1())


def report(product: Product = Product.MILAN, version: int = 3, **changes: Any) -> SnpReport:
    """A plausible report, not signed yet."""
    turin = product is Product.TURIN
    tcb = Tcb(bootloader=4, tee=1, snp=24, microcode=219, fmc=2 if turin else None).build()
    cpuid = {Product.MILAN: Cpuid(25, 1, 1), Product.GENOA: Cpuid(25, 17, 1), Product.TURIN: Cpuid(26, 2, 1)}[product]
    values: dict[str, Any] = {
        "version": version,
        "guest_svn": 7,
        "policy": GuestPolicy(0x3001F),
        "family_id": b"\1" * 16,
        "image_id": b"\2" * 16,
        "current_tcb": tcb,
        "platform_info": PlatformInfo(0x25),
        "flags": Flags(0),
        "report_data": b"for this purpose".ljust(64, b"\0"),
        "measurement": b"\x33" * 48,
        "host_data": b"\x44" * 32,
        "reported_tcb": tcb,
        "cpuid": cpuid if version > 2 else None,
        "chip_id": bytes(range(1, 9)).ljust(64, b"\0") if turin else bytes(range(1, 65)),
        "committed_tcb": tcb,
        "current_version": FirmwareVersion(1, 55, 29),
        "committed_version": FirmwareVersion(1, 54, 28),
        "launch_tcb": tcb,
        "launch_mitigations": 0x3F if version > 4 else None,
        "current_mitigations": 0x7F if version > 4 else None,
    }
    return SnpReport(**{**values, **changes})


@dataclass(frozen=True, kw_only=True)
class Issued:
    """One certificate to be made; what is None takes the place's own value."""

    name: str | None = None
    start: datetime = NOW - YEAR
    end: datetime = NOW + YEAR
    issuer: str | None = None
    signer: tuple[int, int] | None = None
    ca: bool | None = None
    signs_certificates: bool = True
    unknown_critical: bool = False


@dataclass(frozen=True, kw_only=True)
class SnpForge:
    """Everything that makes one report and its endorsement; `replace` a part to make a bad one."""

    report: SnpReport = field(default_factory=report)
    product: Product = Product.MILAN
    product_name: str = "Milan-B0"
    kind: SigningKey = SigningKey.VCEK
    levels: Mapping[int, int] | None = None
    hwid: bytes | None = None
    csp_id: str | None = None
    certified: int = 1  # number of the chip key in the certificate
    signing: int = 1  # and of the one that signs
    vek: Issued = Issued()
    ask: Issued = Issued()
    ark: Issued = Issued()
    ark_key: tuple[int, int] = ARK_KEY

    @classmethod
    def of(cls, product: Product, version: int = 3) -> SnpForge:
        """For a product line."""
        return cls(report=report(product, version), product=product, product_name=str(product))

    @classmethod
    def vlek(cls) -> SnpForge:
        """Signed by a VLEK."""
        masked = report(flags=Flags(SigningKey.VLEK << 2), chip_id=bytes(64))
        return cls(report=masked, kind=SigningKey.VLEK, product_name="Milan", csp_id="CN=cc.example.com")

    def signed(self) -> bytes:
        """The report in bytes, signed."""
        algorithm = ec.ECDSA(_SHA384, deterministic_signing=True)
        r, s = utils.decode_dss_signature(chip_key(self.signing).sign(self.report.body(), algorithm))
        return replace(self.report, r=r, s=s).build()

    def extensions(self) -> VekExtensions:
        """AMD's extensions of the VEK."""
        levels = dict(zip(arcs_of(self.product), self.report.reported_tcb, strict=True))
        vcek = self.kind is SigningKey.VCEK
        size = 8 if self.product is Product.TURIN else 64
        return VekExtensions(
            structure_version=1 if self.product is Product.TURIN else 0,
            product_name=self.product_name,
            levels=levels if self.levels is None else self.levels,
            hwid=(self.report.chip_id[:size] if self.hwid is None else self.hwid) if vcek else None,
            csp_id=self.csp_id,
        )

    def vek_der(self) -> bytes:
        """The VEK certificate."""
        key = chip_key(self.certified).public_key()
        return _certificate(self.vek, f"SEV-{self.kind.name}", key, self._ask_name, ASK_KEY, 3, self.extensions())

    def ask_der(self) -> bytes:
        """The ASK or ASVK certificate."""
        key = rsa_key(*ASK_KEY).public_key()
        return _certificate(self.ask, self._ask_name, key, self._ark_name, self.ark_key, 2)

    def ark_der(self) -> bytes:
        """The ARK certificate."""
        key = rsa_key(*self.ark_key).public_key()
        return _certificate(self.ark, self._ark_name, key, self._ark_name, self.ark_key, 1)

    def chain(self) -> bytes:
        """ASK and ARK as KDS sends them, in PEM."""
        return pem(self.ask_der()) + pem(self.ark_der())

    def crl(
        self,
        *revoked: int,
        start: datetime = NOW - timedelta(days=1),
        end: datetime = NOW + timedelta(days=30),
        issuer: str | None = None,
        signer: tuple[int, int] | None = None,
        critical: bool = False,
    ) -> bytes:
        """The ARK's revocation list, DER."""
        builder = x509.CertificateRevocationListBuilder(name(issuer or self._ark_name), start, end)
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder(serial, start).build()
            builder = builder.add_revoked_certificate(entry)
        builder = builder.add_extension(x509.CRLNumber(1), critical=critical)
        key = rsa_key(*(signer or self.ark_key))
        return builder.sign(key, _SHA384, rsa_padding=_PSS).public_bytes(Encoding.DER)

    def endorsement(self, crl: bytes | None = None) -> SnpEndorsement:
        """The certificates, and the revocation list if there is one."""
        return SnpEndorsement(vek=self.vek_der(), chain=self.chain(), crl=crl)

    @property
    def root(self) -> AmdRoot:
        """The ARK, as one who trusts it pins it."""
        own = replace(self, ark=Issued(), ark_key=ARK_KEY)
        return AmdRoot.from_der(own.ark_der())

    def verify(
        self, data: bytes | None = None, *, endorsement: SnpEndorsement | None = None, at: datetime = NOW
    ) -> VerifiedSnp:
        """Verify the report, or another one, against the endorsement, or another one."""
        parts = self.endorsement() if endorsement is None else endorsement
        return verify_snp(self.signed() if data is None else data, parts, [self.root], at)

    @property
    def _ask_name(self) -> str:
        return f"SEV-VLEK-{self.product}" if self.kind is SigningKey.VLEK else f"SEV-{self.product}"

    @property
    def _ark_name(self) -> str:
        return f"ARK-{self.product}"


def name(common: str) -> x509.Name:
    """A name as AMD's are, of another organization."""
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )


def pem(der: bytes) -> bytes:
    """A certificate in PEM."""
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


def _certificate(
    issued: Issued,
    own: str,
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    issuer: str,
    signer: tuple[int, int],
    serial: int,
    vek: VekExtensions | None = None,
) -> bytes:
    builder = (
        x509.CertificateBuilder(name(issued.issuer or issuer), name(issued.name or own), key, serial)
        .not_valid_before(issued.start)
        .not_valid_after(issued.end)
    )
    if (vek is None) if issued.ca is None else issued.ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if vek is None:
        signs = issued.signs_certificates
        usage = x509.KeyUsage(not signs, False, False, False, False, signs, signs, False, False)
        builder = builder.add_extension(usage, critical=True)
    for oid, content in (vek.build() if vek is not None else {}).items():
        builder = builder.add_extension(x509.UnrecognizedExtension(_dotted(oid), content), critical=False)
    if issued.unknown_critical:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.3704.9"), b"\5\0")
        builder = builder.add_extension(unknown, critical=True)
    signed = builder.sign(rsa_key(*(issued.signer or signer)), _SHA384, rsa_padding=_PSS)
    return signed.public_bytes(Encoding.DER)


def _dotted(oid: bytes) -> x509.ObjectIdentifier:
    """The identifiers of AMD's extensions: what follows 1.3.6.1.4.1.3704 has one byte per arc."""
    return x509.ObjectIdentifier(".".join(["1.3.6.1.4.1.3704", *(str(arc) for arc in oid[7:])]))


@dataclass(frozen=True)
class SnpCase:
    """One SNP set of vectors/evidence."""

    name: str
    verdict: str
    mutation: str | None
    report: bytes = field(repr=False)
    vek: bytes = field(repr=False)
    chain: bytes = field(repr=False)

    @property
    def at(self) -> datetime:
        """A time inside the validity of its certificates: 2025-06-01 where that is, else their first day."""
        certificates = parse_certificates(self.vek, "vek") + parse_certificates(self.chain, "ask-chain")
        return max(datetime(2025, 6, 1, tzinfo=UTC), *(one.not_before for one in certificates))

    @property
    def endorsement(self) -> SnpEndorsement:
        """Its certificates."""
        return SnpEndorsement(vek=self.vek, chain=self.chain)

    def verify(self) -> VerifiedSnp:
        """Judge it under AMD's roots."""
        return verify_snp(self.report, self.endorsement, AMD_ROOTS, self.at)


def snp_cases() -> list[SnpCase]:
    """All SNP sets."""
    entries = json.loads(vectors("evidence", "index.json").read_text())
    return [_case(entry) for entry in entries if entry["kind"] == "snp"]


def snp_case(name: str) -> SnpCase:
    """One SNP set by its name without the folder."""
    return next(one for one in snp_cases() if one.name == name)


def _case(entry: Mapping[str, Any]) -> SnpCase:
    read: Callable[[str], bytes] = lambda file: vectors("evidence", entry["set"], file).read_bytes()  # noqa: E731 -- short
    return SnpCase(
        name=entry["set"].removeprefix("snp/"),
        verdict=entry["verdict"],
        mutation=entry.get("mutation"),
        report=read("report.bin"),
        vek=read("vek.der"),
        chain=read("ask_ark.pem"),
    )
