"""The cluster's certificates: one authority, its server and its clients; made anew for every cluster."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = timedelta(days=30)  # a cluster that somebody leaves running


@dataclass(frozen=True, slots=True)
class Authority:
    """A directory of `NAME.crt` and `NAME.key`, signed by its own `ca.crt`."""

    folder: Path
    now: datetime

    def path(self, name: str) -> Path:
        """Of one file."""
        return self.folder / name

    def create(self) -> None:
        """Make the authority, and the key pair that signs service accounts' tokens."""
        self.folder.mkdir(mode=0o700)
        key = self._new_key("ca")
        constraints = (
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (_usage(signs_certificates=True), True),
        )
        self._sign("ca", "kloister test cluster", (), key, key, constraints)
        public = self._new_key("service-accounts").public_key()
        self.path("service-accounts.pub").write_bytes(
            public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )

    def issue(self, file: str, name: str, *groups: str, hosts: tuple[str, ...] = ()) -> None:
        """A certificate for `name` in these groups: a client's, and a server's too if it has hosts."""
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.ExtendedKeyUsage(usages), False),
            (_usage(signs_certificates=False), True),
        ]
        if hosts:
            extensions.append((x509.SubjectAlternativeName([_general_name(host) for host in hosts]), False))
        self._sign(file, name, groups, self._new_key(file), self._key("ca"), extensions)

    def _new_key(self, file: str) -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        place = self.path(f"{file}.key")
        place.touch(mode=0o600)
        place.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return key

    def _key(self, file: str) -> ec.EllipticCurvePrivateKey:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        key = load_pem_private_key(self.path(f"{file}.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key

    def _sign(
        self,
        file: str,
        name: str,
        groups: tuple[str, ...],
        key: ec.EllipticCurvePrivateKey,
        issuer: ec.EllipticCurvePrivateKey,
        extensions: tuple[tuple[x509.ExtensionType, bool], ...] | list[tuple[x509.ExtensionType, bool]],
    ) -> None:
        subject = x509.Name(
            [
                *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kloister test cluster")])
        builder = x509.CertificateBuilder(authority, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(self.now - timedelta(minutes=5)).not_valid_after(self.now + _LIFE)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        certificate = builder.sign(issuer, hashes.SHA256())
        self.path(f"{file}.crt").write_bytes(certificate.public_bytes(Encoding.PEM))


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
