"""Keys of an issuer of tokens, and its certificates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from kloister.formats.tokens import PrivateKey

KEYS: dict[str, PrivateKey] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.derive_private_key(0x1234, ec.SECP256R1()),
    "ES384": ec.derive_private_key(0x1234, ec.SECP384R1()),
}


def certificate(key: Any) -> bytes:
    """A self-signed certificate, DER."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "https://issuer.example")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(datetime(2019, 5, 1, tzinfo=UTC))
    signing = hashes.SHA256() if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) else None
    made = builder.not_valid_after(datetime(2050, 12, 31, tzinfo=UTC)).sign(key, signing)
    return made.public_bytes(serialization.Encoding.DER)
