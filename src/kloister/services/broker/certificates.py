"""Issues the X.509 certificates of policies and of the broker itself: ECDSA P-256, SHA-256, RFC 5280 profiles."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kloister.errors import Misconfigured

CA_LIFE = timedelta(days=3650)  # pinned by converted images, so it outlives them
LEAF_LIFE = timedelta(days=90)
RENEW_BEFORE = timedelta(days=30)  # a leaf with less left than this is issued anew
_SKEW = timedelta(minutes=5)  # for clocks that are behind ours

Key = ec.EllipticCurvePrivateKey


def new_key() -> Key:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Key) -> bytes:
    """PKCS #8 in PEM, not encrypted: for memory and for encrypted records."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_key(pem: bytes) -> Key:
    """The P-256 key in a PEM text; `Misconfigured` `key-damaged` otherwise."""
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Misconfigured("key-damaged", "A stored private key cannot be read.", "Restore it from a copy.")
    return key


def load_certificate(pem: bytes) -> x509.Certificate:
    """The first certificate of a PEM text; `Misconfigured` `certificate-damaged` otherwise."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise Misconfigured("certificate-damaged", "A stored certificate cannot be read.", "Restore it.") from None


def pem(certificate: x509.Certificate) -> bytes:
    """PEM of a certificate."""
    return certificate.public_bytes(Encoding.PEM)


def spki(key: Key) -> bytes:
    """SubjectPublicKeyInfo in DER."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def issue_ca(common_name: str, key: Key, now: datetime, serial: bytes) -> x509.Certificate:
    """A self-signed authority that may sign end entities only (path length 0)."""
    name = _name(common_name)
    builder = _builder(name, name, key, now, CA_LIFE, serial)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(ca=True), critical=True)
    return builder.sign(key, SHA256())


def issue_leaf(
    common_name: str,
    names: Sequence[str],
    key: Key,
    authority: tuple[x509.Certificate, Key],
    now: datetime,
    serial: bytes,
    life: timedelta = LEAF_LIFE,
) -> x509.Certificate:
    """An end entity's certificate for server and client use; `names` are DNS names and IP addresses."""
    issuer, issuer_key = authority
    end = min(life, issuer.not_valid_after_utc - now)
    builder = _builder(_name(common_name), issuer.subject, key, now, end, serial)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(ca=False), critical=True)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = builder.add_extension(authority_key, critical=False)
    if names:
        alternative = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = builder.add_extension(alternative, critical=False)
    return builder.sign(issuer_key, SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, now: datetime, life: timedelta, serial: bytes
) -> x509.CertificateBuilder:
    now = now.replace(microsecond=0)
    number = int.from_bytes(serial, "big") >> 1 or 1  # RFC 5280, 4.1.2.2: positive, at most 20 octets
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key.public_key())
    builder = builder.serial_number(number).not_valid_before(now - _SKEW).not_valid_after(now - _SKEW + life)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
