"""RA-TLS: certificates that carry evidence of their key; whether it is genuine is for `trust/verifier`."""

from kloister.formats.ratls.certificate import RatlsCertificate, build_certificate
from kloister.formats.ratls.evidence import Form, RatlsEvidence, claims_for

__all__ = ["Form", "RatlsCertificate", "RatlsEvidence", "build_certificate", "claims_for"]
