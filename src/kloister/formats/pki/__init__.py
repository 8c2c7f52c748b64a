"""X.509 certificates, revocation lists and ECDSA P-256 signatures; whom to trust is decided in `trust/verifier`."""

from kloister.formats.pki.certificate import Certificate, parse_chain
from kloister.formats.pki.crl import Crl
from kloister.formats.pki.signature import check_signature, p256_key, raw_signature, sign_raw

__all__ = ["Certificate", "Crl", "check_signature", "p256_key", "parse_chain", "raw_signature", "sign_raw"]
