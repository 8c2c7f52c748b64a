"""The release policy as a document: plain values in, typed values or an error that names the field out."""

from kloister.formats.policy.model import (
    Alternative,
    Attestation,
    FileSpec,
    Kind,
    Policy,
    Scope,
    SecretSpec,
    Service,
    SgxExpectation,
    TcbRule,
    Waiver,
)
from kloister.formats.policy.parse import parse_policy

__all__ = [
    "Alternative",
    "Attestation",
    "FileSpec",
    "Kind",
    "Policy",
    "Scope",
    "SecretSpec",
    "Service",
    "SgxExpectation",
    "TcbRule",
    "Waiver",
    "parse_policy",
]
