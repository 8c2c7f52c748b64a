"""Step 4 of the verification: the signed documents. A document is read only after its signature has been verified."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from kloister.formats.dcap import QeIdentity, TcbInfo
from kloister.formats.pki import check_signature, parse_chain, raw_signature
from kloister.formats.wire import unhex
from kloister.trust.root import Root
from kloister.trust.verifier.chain import (
    QE_IDENTITY_SIGNER_CHAIN,
    TCB_INFO_SIGNER_CHAIN,
    Position,
    check_period,
    verify_chain,
)
from kloister.trust.verifier.collateral import Collateral
from kloister.trust.verifier.crl import Revocations


def verify_tcb_info(collateral: Collateral, roots: Sequence[Root], revocations: Revocations, at: datetime) -> TcbInfo:
    """The TCB info, signed by a TCB signer under one of the roots and current.

    Raises:
        Unverified: `tcb-info-signer-*`, `tcb-info-signature`, `tcb-info-not-yet-valid`, `tcb-info-expired`.
        Malformed: `tcb-info-*`.
    """
    text = collateral.tcb_info
    chain, signature = collateral.tcb_info_issuer_chain, collateral.tcb_info_signature
    _verify_signed(text, signature, chain, TCB_INFO_SIGNER_CHAIN, roots, revocations, at, "tcb-info")
    document = TcbInfo.parse(text)
    check_period(document.issue_date, document.next_update, at, "tcb-info", "TCB info")
    return document


def verify_qe_identity(
    collateral: Collateral, roots: Sequence[Root], revocations: Revocations, at: datetime
) -> QeIdentity:
    """The QE identity, signed by a TCB signer under one of the roots and current.

    Raises:
        Unverified: `qe-identity-signer-*`, `qe-identity-signature`, `qe-identity-not-yet-valid`, `qe-identity-expired`.
        Malformed: `qe-identity-*`.
    """
    text = collateral.qe_identity
    chain, signature = collateral.qe_identity_issuer_chain, collateral.qe_identity_signature
    _verify_signed(text, signature, chain, QE_IDENTITY_SIGNER_CHAIN, roots, revocations, at, "qe-identity")
    document = QeIdentity.parse(text)
    check_period(document.issue_date, document.next_update, at, "qe-identity", "QE identity")
    return document


def _verify_signed(
    text: str,
    signature: str,
    chain_pem: str,
    positions: Sequence[Position],
    roots: Sequence[Root],
    revocations: Revocations,
    at: datetime,
    code: str,
) -> None:
    chain = parse_chain(chain_pem.encode("ascii"), f"{code}-issuer-chain")
    verify_chain(chain, positions, roots, at)
    revocations.check_by_root(chain[0], positions[0].code)
    raw = raw_signature(unhex(signature, f"{code}-signature", 64))
    check_signature(chain[0].public_key, raw, text.encode("ascii"), f"{code}-signature", f"the document {code}")
