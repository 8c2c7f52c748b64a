"""Step 2 of the verification, and the chains of step 4: from an end entity up to a pinned root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from kloister.errors import Unverified
from kloister.formats.pki import Certificate
from kloister.trust.root import Root


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a chain: the first part of its reason codes, and what its common name must contain."""

    code: str
    name: str
    path_length: int | None = None  # None: an end entity; otherwise the CAs that may follow below it


ROOT = Position("root", "SGX Root CA", 1)
PCK_CHAIN = (Position("pck", "SGX PCK Certificate"), Position("pck-ca", "CA", 0), ROOT)
TCB_INFO_SIGNER_CHAIN = (Position("tcb-info-signer", "SGX TCB Signing"), ROOT)
QE_IDENTITY_SIGNER_CHAIN = (Position("qe-identity-signer", "SGX TCB Signing"), ROOT)


def prove_chain(chain: Sequence[Certificate], positions: Sequence[Position], roots: Sequence[Root]) -> Root:
    """The pinned root that vouches for the chain's first certificate, whatever the time.

    The chain's own root may be absent. What this finds stays true; `check_dates` judges the rest at each call.

    Raises:
        Unverified: `{code}-role`, `{code}-issuer`, `{code}-signature`, `{code}-usage`, where code is that of the
            position; `{first code}-chain` for a chain of another length; `root-untrusted`.
    """
    for certificate, position in zip(chain, positions, strict=False):
        _check_role(certificate, position)
    if len(chain) not in (len(positions) - 1, len(positions)):
        raise Unverified(
            f"{positions[0].code}-chain",
            f"The chain has {len(chain)} certificates; {len(positions)} are expected, the last being the root.",
        )
    root = _pinned(chain, positions, roots)
    for index, (certificate, position) in enumerate(zip(chain, positions, strict=False)):
        if index + 1 < len(positions) - 1:
            _check_issued(certificate, chain[index + 1], position)
        elif position is ROOT:
            _check_issuer(certificate, root.subject, position)
            root.check_own(certificate, f"{position.code}-signature")
        else:  # the last below the root
            _check_issuer(certificate, root.subject, position)
            root.check_signed(certificate, f"{position.code}-signature")
        _check_usage(certificate, position)
    return root


def check_dates(chain: Sequence[Certificate], positions: Sequence[Position], at: datetime) -> None:
    """Return if every certificate of the chain is valid at the time.

    Raises:
        Unverified: `{code}-expired`, `{code}-not-yet-valid`.
    """
    for certificate, position in zip(chain, positions, strict=False):
        if not certificate.not_before <= at <= certificate.not_after:
            check_period(certificate.not_before, certificate.not_after, at, position.code, "certificate")


def check_period(start: datetime, end: datetime, at: datetime, code: str, what: str) -> None:
    """Return if `at` is in the period, both ends included.

    Raises:
        Unverified: `{code}-not-yet-valid`, `{code}-expired`.
    """
    if at < start:
        raise Unverified(
            f"{code}-not-yet-valid",
            f"The {what} ({code}) is valid from {start:%Y-%m-%d %H:%M:%SZ} on, after the time of judgement.",
            "Check the clock, or the time given.",
        )
    if at > end:
        raise Unverified(
            f"{code}-expired",
            f"The {what} ({code}) was valid until {end:%Y-%m-%d %H:%M:%SZ}, before the time of judgement.",
            "Get fresh collateral, or judge at a time inside its validity.",
        )


def _pinned(chain: Sequence[Certificate], positions: Sequence[Position], roots: Sequence[Root]) -> Root:
    """The root among `roots` that the chain names; its signatures are checked with the pinned key, never another."""
    complete = len(chain) == len(positions)
    for root in roots:
        if root.matches(chain[-1]) if complete else root.subject == chain[-1].issuer:
            return root
    seen = chain[-1]
    name = seen.common_name if complete else "the issuer of " + seen.common_name
    raise Unverified(
        "root-untrusted",
        f'The chain ends at "{name}", which is not a root that is trusted here.',
        "If this root is to be trusted, name its certificate (--root FILE).",
    )


def _check_role(certificate: Certificate, position: Position) -> None:
    if position.name not in certificate.common_name:
        raise Unverified(
            f"{position.code}-role",
            f'The certificate "{certificate.common_name}" stands where one named "{position.name}" belongs.',
        )


def _check_issued(certificate: Certificate, issuer: Certificate, position: Position) -> None:
    _check_issuer(certificate, issuer.subject, position)
    certificate.check_signed_by(issuer.public_key, f"{position.code}-signature")


def _check_issuer(certificate: Certificate, subject: bytes, position: Position) -> None:
    if certificate.issuer != subject:
        raise Unverified(
            f"{position.code}-issuer",
            f'The certificate "{certificate.common_name}" names another issuer than the one that follows in the chain.',
        )


def _check_usage(certificate: Certificate, position: Position) -> None:
    """The basicConstraints and keyUsage of RFC 5280, 4.2.1: a CA signs certificates and CRLs, an end entity data."""
    allowed = certificate.may_sign_data and not certificate.is_ca
    if position.path_length is not None:
        deep_enough = certificate.path_length is None or certificate.path_length >= position.path_length
        allowed = certificate.is_ca and certificate.may_sign_certificates and certificate.may_sign_crls and deep_enough
    if not allowed:
        raise Unverified(
            f"{position.code}-usage",
            f'The certificate "{certificate.common_name}" may not be used as it is used here.',
        )
