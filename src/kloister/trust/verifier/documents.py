"""Step 4 of the verification: the signed documents. A document is read only after its signature has been verified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Self, TypeVar

from kloister.formats.dcap import QeIdentity, TcbInfo
from kloister.formats.pki import Certificate, check_signature, parse_chain, raw_signature
from kloister.formats.wire import unhex
from kloister.trust.root import Root
from kloister.trust.verifier.chain import (
    QE_IDENTITY_SIGNER_CHAIN,
    TCB_INFO_SIGNER_CHAIN,
    Position,
    check_dates,
    check_period,
    prove_chain,
)
from kloister.trust.verifier.collateral import Collateral
from kloister.trust.verifier.crl import Revocations

Content = TypeVar("Content", TcbInfo, QeIdentity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed(Generic[Content]):
    """A document whose signature and signer have been verified; dates and revocation are judged at each call."""

    content: Content
    chain: tuple[Certificate, ...] = field(repr=False)  # of the signer
    positions: Sequence[Position] = field(repr=False)
    code: str
    name: str

    def check(self, revocations: Revocations, at: datetime) -> None:
        """Return if the signer is not revoked, and signer and document are current.

        Raises:
            Unverified: `{code}-signer-revoked`, `{code}-signer-expired`, `{code}-signer-not-yet-valid`,
                `{code}-expired`, `{code}-not-yet-valid`.
        """
        check_dates(self.chain, self.positions, at)
        revocations.check_by_root(self.chain[0], self.positions[0].code)
        content = self.content
        if not content.issue_date <= at <= content.next_update:
            check_period(content.issue_date, content.next_update, at, self.code, self.name)


@dataclass(frozen=True, slots=True)
class Documents:
    """TCB info and QE identity, signed by TCB signers under the root."""

    info: Signed[TcbInfo]
    identity: Signed[QeIdentity]

    @classmethod
    def prove(cls, collateral: Collateral, root: Root, known: Sequence[Certificate] = ()) -> Self:
        """Verify signatures and signers of both, and read them.

        Args:
            collateral: untrusted.
            root: under which the signers must be.
            known: certificates that were read before.

        Raises:
            Unverified: `tcb-info-signature`, `tcb-info-signer-*`, `qe-identity-signature`, `qe-identity-signer-*`.
            Malformed: `tcb-info-*`, `qe-identity-*`.
        """
        info_chain = _signer(collateral.tcb_info_issuer_chain, TCB_INFO_SIGNER_CHAIN, root, known)
        text = collateral.tcb_info
        _check_signed(text, collateral.tcb_info_signature, info_chain[0], "tcb-info")
        info = TcbInfo.parse(text)
        identity_chain = info_chain  # the same certificates need no second look
        if collateral.qe_identity_issuer_chain != collateral.tcb_info_issuer_chain:
            chain = collateral.qe_identity_issuer_chain
            identity_chain = _signer(chain, QE_IDENTITY_SIGNER_CHAIN, root, known)
        text = collateral.qe_identity
        _check_signed(text, collateral.qe_identity_signature, identity_chain[0], "qe-identity")
        identity = QeIdentity.parse(text)
        return cls(
            Signed(content=info, chain=info_chain, positions=TCB_INFO_SIGNER_CHAIN, code="tcb-info", name="TCB info"),
            Signed(
                content=identity,
                chain=identity_chain,
                positions=QE_IDENTITY_SIGNER_CHAIN,
                code="qe-identity",
                name="QE identity",
            ),
        )

    def check(self, revocations: Revocations, at: datetime) -> None:
        """Return if both are current and their signers are not revoked; raises as `Signed.check`."""
        self.info.check(revocations, at)
        self.identity.check(revocations, at)


def _signer(
    pem: str, positions: Sequence[Position], root: Root, known: Sequence[Certificate]
) -> tuple[Certificate, ...]:
    code = positions[0].code.removesuffix("-signer")
    chain = parse_chain(pem.encode("ascii"), f"{code}-issuer-chain", known)
    prove_chain(chain, positions, [root])
    return chain


def _check_signed(text: str, signature: str, signer: Certificate, code: str) -> None:
    raw = raw_signature(unhex(signature, f"{code}-signature", 64))
    check_signature(signer.public_key, raw, text.encode("ascii"), f"{code}-signature", f"the document {code}")
