"""The simulated platform's certificates: Intel's hierarchy, names and extension, under a root of its own.

Everything follows from one seed: the same seed gives the same keys and the same certificates, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import NameOID

from kloister.errors import Misused
from kloister.formats.dcap import PckExtension
from kloister.formats.dcap.pck_extension import OID as SGX_EXTENSION
from kloister.formats.pki import Certificate, sign_raw

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (FIPS 186-4, D.1.2.3)
_SEED_SIZE = 32  # bytes, at least: the strength of every key below
NOT_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
NOT_AFTER = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)  # the same end as Intel's root
_NAME = "Kloister Simulator SGX"  # the verifier recognises simulated roots by the first two words


class CaType(StrEnum):
    """Which of Intel's two kinds of CA issues the PCK certificate."""

    PLATFORM = "platform"
    PROCESSOR = "processor"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformTcb:
    """The SVNs of the simulated processor and of its PCE.

    Components are what a microcode update raises. The PCE's SVN is fixed: 13 stands in its SIGSTRUCT (and 8 in the
    QE's); another one makes a certificate that quotes of the simulated platform contradict in their header.
    """

    components: tuple[int, ...] = (5, 5, 2, 2, 3, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0)
    pcesvn: int = 13

    @property
    def cpusvn(self) -> bytes:
        """The 16 raw bytes that reports carry."""
        return bytes(self.components)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What a PCK certificate of the platform CA says of a platform of one or more packages (SGX PCK profile, 1.3.6)."""

    dynamic_platform: bool = True  # packages may be added later
    cached_keys: bool = False  # Intel's registration service keeps the platform's root keys
    smt_enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A key and the certificate for it."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: Certificate


_CONFIGURATION = Configuration()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a certificate is to say; the defaults are those of an end entity."""

    common_name: str
    serial: int
    path_length: int | None = None  # None: not a CA
    not_before: datetime = NOT_BEFORE
    not_after: datetime = NOT_AFTER
    sgx: PckExtension | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPki:
    """Root, CA, PCK and TCB signer of one simulated platform."""

    root: Identity
    ca: Identity
    pck: Identity
    tcb_signer: Identity
    extension: PckExtension
    tcb: PlatformTcb

    @classmethod
    def derive(
        cls,
        seed: bytes,
        *,
        tcb: PlatformTcb | None = None,
        ca_type: CaType = CaType.PLATFORM,
        fmspc: bytes | None = None,
        pceid: bytes = bytes(2),
        configuration: Configuration = _CONFIGURATION,
    ) -> Self:
        """All keys and certificates that follow from a seed of 32 bytes or more.

        Args:
            seed: secret; whoever knows it can sign anything under this root.
            tcb: SVNs in the PCK certificate.
            ca_type: the processor CA knows one package only, and so no platform instance and no configuration.
            fmspc: 6 bytes; derived from the seed where it is None.
            pceid: 2 bytes.
            configuration: for the platform CA.
        """
        if len(seed) < _SEED_SIZE:
            raise Misused("simulator-seed", f"A simulator's seed has at least {_SEED_SIZE} bytes.")
        tcb = tcb or PlatformTcb()
        extension = _extension(seed, tcb, ca_type, fmspc or _draw(seed, "fmspc", 6), pceid, configuration)
        names = {
            "root": f"{_NAME} Root CA",
            "ca": f"{_NAME} PCK {ca_type.capitalize()} CA",
            "pck": f"{_NAME} PCK Certificate",
            "tcb_signer": f"{_NAME} TCB Signing",
        }
        labels = {role: role for role in names} | {"pck": pck_role(tcb)}
        keys = {role: derive_key(seed, label) for role, label in labels.items()}
        serials = {role: derive_serial(seed, label) for role, label in labels.items()}

        def wanted(role: str, path_length: int | None, sgx: PckExtension | None = None) -> Wanted:
            return Wanted(common_name=names[role], serial=serials[role], path_length=path_length, sgx=sgx)

        root = issue(None, keys["root"], wanted("root", 1))
        ca = issue(root, keys["ca"], wanted("ca", 0))
        return cls(
            root=root,
            ca=ca,
            pck=issue(ca, keys["pck"], wanted("pck", None, extension)),
            tcb_signer=issue(root, keys["tcb_signer"], wanted("tcb_signer", None)),
            extension=extension,
            tcb=tcb,
        )

    @property
    def fmspc(self) -> bytes:
        """The platform family, 6 bytes."""
        return self.extension.fmspc

    def root_der(self) -> bytes:
        """The root's certificate, for operators who want to admit this simulator."""
        return self.root.certificate.der

    def pck_chain_pem(self) -> str:
        """Leaf, CA and root, as certification data 5 holds them."""
        return "".join(each.certificate.pem() for each in (self.pck, self.ca, self.root))

    def sign_as_pck(self, data: bytes) -> bytes:
        """The PCE's signature: r and s, 64 bytes."""
        return sign_raw(self.pck.key, data)


def pck_role(tcb: PlatformTcb) -> str:
    """The PCK's role: as on real platforms, each TCB has a PCK key and certificate of its own."""
    return f"pck/{tcb.cpusvn.hex()}/{tcb.pcesvn}"


def derive_key(seed: bytes, role: str) -> ec.EllipticCurvePrivateKey:
    """The P-256 key of a role. 48 bytes are drawn so that the reduction leaves no bias (FIPS 186-5, A.2.1)."""
    scalar = int.from_bytes(_draw(seed, f"key/{role}", 48), "big") % (_ORDER - 1) + 1
    return ec.derive_private_key(scalar, ec.SECP256R1())


def derive_serial(seed: bytes, role: str) -> int:
    """A serial number: positive, of 19 bytes, so that it never needs more than the 20 that RFC 5280 allows."""
    return int.from_bytes(b"\x01" + _draw(seed, f"serial/{role}", 18), "big")


def issue(issuer: Identity | None, key: ec.EllipticCurvePrivateKey, wanted: Wanted) -> Identity:
    """A certificate for `key`, signed deterministically by `issuer`, or by itself where there is none."""
    subject = _name(wanted.common_name)
    signer = issuer.key if issuer else key
    is_ca = wanted.path_length is not None
    builder = (
        x509.CertificateBuilder(
            issuer_name=_name(issuer.certificate.common_name) if issuer else subject,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=wanted.serial,
            not_valid_before=wanted.not_before,
            not_valid_after=wanted.not_after,
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_usage(is_ca=is_ca), critical=True)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=wanted.path_length), critical=True)
    )
    if wanted.sgx:
        raw = x509.UnrecognizedExtension(x509.ObjectIdentifier(SGX_EXTENSION), wanted.sgx.build())
        builder = builder.add_extension(raw, critical=False)
    signed = builder.sign(signer, hashes.SHA256(), ecdsa_deterministic=True)
    return Identity(key=key, certificate=Certificate.parse(signed.public_bytes(serialization.Encoding.DER)))


def revocation_list(
    issuer: Identity, this_update: datetime, next_update: datetime, revoked: tuple[int, ...] = ()
) -> bytes:
    """A CRL in DER, signed deterministically; `revoked` are serial numbers."""
    builder = (
        x509.CertificateRevocationListBuilder(_name(issuer.certificate.common_name), this_update, next_update)
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
    )
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder(serial_number=serial, revocation_date=this_update).build()
        builder = builder.add_revoked_certificate(entry)
    signed = builder.sign(issuer.key, hashes.SHA256(), ecdsa_deterministic=True)
    return signed.public_bytes(serialization.Encoding.DER)


def _extension(
    seed: bytes, tcb: PlatformTcb, ca_type: CaType, fmspc: bytes, pceid: bytes, configuration: Configuration
) -> PckExtension:
    of_platform = ca_type is CaType.PLATFORM
    return PckExtension(
        ppid=_draw(seed, "ppid", 16),
        components=tcb.components,
        pcesvn=tcb.pcesvn,
        cpusvn=tcb.cpusvn,
        pceid=pceid,
        fmspc=fmspc,
        sgx_type=1 if of_platform else 0,
        platform_instance_id=_draw(seed, "instance", 16) if of_platform else None,
        dynamic_platform=configuration.dynamic_platform if of_platform else None,
        cached_keys=configuration.cached_keys if of_platform else None,
        smt_enabled=configuration.smt_enabled if of_platform else None,
    )


def _draw(seed: bytes, label: str, size: int) -> bytes:
    info = b"kloister/simulator/pki/" + label.encode("ascii")
    return HKDF(hashes.SHA256(), size, salt=None, info=info).derive(seed)


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Kloister"),
        ]
    )


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=not is_ca,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )
