"""The webhook's own authority: a replica makes its keys in memory, and no key ever leaves the process.

Every replica has a short-lived CA of its own; the API server is given all of them as one `caBundle`, from which
expired ones are dropped. So there is no Secret, no cert-manager, and nothing to copy between replicas.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE = timedelta(days=7)
RENEW_AFTER = timedelta(days=2)  # the old one stays in the bundle, so that calls under way are served
_SKEW = timedelta(minutes=5)  # for clocks that are behind ours
MOST = 32  # authorities in a bundle: replicas and their predecessors; the oldest go first
_NAME = "kloister webhook"


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA that lives as long as its replica, and the one certificate it issued.

    Attributes:
        ca: the CA's certificate, PEM, for `caBundle`.
        certificate: the server's certificate, PEM.
        key: the server's key, PKCS #8 in PEM, never written to a disk.
        made: when.
    """

    ca: bytes
    certificate: bytes
    key: bytes = field(repr=False)
    made: datetime

    def due(self, at: datetime) -> bool:
        """Whether a successor should be made."""
        return at >= self.made + RENEW_AFTER


def create(names: Sequence[str], at: datetime) -> Authority:
    """A new authority for a server of these DNS names; the CA's key is forgotten at once."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    ca = (
        _builder(subject, subject, ca_key.public_key(), at)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .sign(ca_key, SHA256())
    )
    leaf_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    leaf = (
        _builder(leaf_name, subject, key.public_key(), at)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(ca_key, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Authority(ca.public_bytes(Encoding.PEM), leaf.public_bytes(Encoding.PEM), pem, at)


def bundle(present: bytes, mine: bytes, at: datetime) -> bytes:
    """The `caBundle` with our CA in it, in the order that is there: no expired one, none twice, at most `MOST`.

    What cannot be read is dropped; where there are too many the first go, which are the oldest.
    """
    kept = [ca.public_bytes(Encoding.PEM) for ca in _readable(present) if ca.not_valid_after_utc > at]
    every = list(dict.fromkeys([*kept, mine]))
    others = [ca for ca in every if ca != mine][-(MOST - 1) :]
    return b"".join(ca for ca in every if ca == mine or ca in others)


def _readable(pem: bytes) -> Iterable[x509.Certificate]:
    for part in pem.split(b"-----END CERTIFICATE-----")[:-1]:
        try:
            yield x509.load_pem_x509_certificate(part + b"-----END CERTIFICATE-----\n")
        except ValueError:
            continue  # somebody else's text in our field must not keep the webhook from being trusted


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, at: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _SKEW)
        .not_valid_after(at + LIFE)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
