"""Nothing is kept that does not verify: signatures up to a pinned root, dates, and that it is what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import ec

from kloister.errors import Malformed, Misused, Unverified
from kloister.formats.dcap import PckExtension, QeIdentity, TcbInfo, envelope
from kloister.formats.dcap.envelope import Envelope
from kloister.formats.dcap.pck_extension import OID as SGX_EXTENSION
from kloister.formats.pki import Certificate, Crl, check_signature, p256_key, parse_chain, raw_signature
from kloister.formats.wire import unhex
from kloister.services.collateral.model import Item, Key, Kind, Window
from kloister.trust.root import Root
from kloister.trust.verifier.chain import (
    PCK_CHAIN,
    QE_IDENTITY_SIGNER_CHAIN,
    TCB_INFO_SIGNER_CHAIN,
    Position,
    check_dates,
    check_period,
    prove_chain,
)

_IDENTITIES = {"sgx": "QE", "tdx": "TD_QE"}


@dataclass(frozen=True, slots=True)
class IntelAdmission:
    """Judges Intel's documents.

    Attributes:
        roots: who may vouch.
        revoked: serial numbers that the root's list holds; empty for that list itself.
    """

    roots: Sequence[Root]
    revoked: frozenset[int] = frozenset()

    def admit(self, item: Item, at: datetime) -> Window:
        """How long the item is valid, if it is genuine and valid at `at`.

        Raises:
            Malformed, Unverified: with the codes of `trust/verifier`, or `collateral-other`.
        """
        if item.key.kind is Kind.ROOT_CRL:
            return _window(self.root_crl(item, at))
        if item.key.kind is Kind.PCK_CRL:
            return self._pck_crl(item, at)
        if item.key.kind is Kind.TCB_INFO:
            return self._tcb_info(item, at)
        if item.key.kind is Kind.QE_IDENTITY:
            return self._qe_identity(item, at)
        if item.key.kind is Kind.PCK:
            return self._pck(item, at)
        raise Misused("item-kind", f"{item.key.kind} is not one of Intel's documents.")

    def root_crl(self, item: Item, at: datetime) -> Crl:
        """The root's list, verified. Raises as `admit`."""
        crl = Crl.parse(item.body)
        for root in self.roots:
            if crl.issuer == root.subject:
                return _verified(crl, p256_key(root.point, "root"), at, "root-crl")
        raise Unverified("root-crl-issuer", "The root's revocation list was issued by no root that is trusted here.")

    def _pck_crl(self, item: Item, at: datetime) -> Window:
        ca = self._chain(item, PCK_CHAIN[1:], "pck-crl", at)
        if item.key.get("ca") not in ca.common_name.lower():
            raise _other(item.key, f'it is of "{ca.common_name}"')
        crl = Crl.parse(item.body)
        if crl.issuer != ca.subject:
            raise Unverified("pck-crl-issuer", "The revocation list (pck-crl) was issued by another CA.")
        return _window(_verified(crl, ca.public_key, at, "pck-crl"))

    def _tcb_info(self, item: Item, at: datetime) -> Window:
        signer = self._chain(item, TCB_INFO_SIGNER_CHAIN, "tcb-info", at)
        info = TcbInfo.parse(_text(item, envelope.TCB_INFO, signer, "tcb-info"))
        check_period(info.issue_date, info.next_update, at, "tcb-info", "TCB info")
        if info.fmspc.hex() != item.key.get("fmspc") or info.id.lower() != item.key.get("tee"):
            raise _other(item.key, f"it is of {info.id} {info.fmspc.hex()}")
        _check_number(item.key, info.evaluation_number)
        return Window(info.issue_date, info.next_update)

    def _qe_identity(self, item: Item, at: datetime) -> Window:
        signer = self._chain(item, QE_IDENTITY_SIGNER_CHAIN, "qe-identity", at)
        identity = QeIdentity.parse(_text(item, envelope.ENCLAVE_IDENTITY, signer, "qe-identity"))
        check_period(identity.issue_date, identity.next_update, at, "qe-identity", "QE identity")
        if identity.id != _IDENTITIES[item.key.get("tee")]:
            raise _other(item.key, f"it is of {identity.id}")
        _check_number(item.key, identity.evaluation_number)
        return Window(identity.issue_date, identity.next_update)

    def _pck(self, item: Item, at: datetime) -> Window:
        """A platform's certificate, and its CA's; whether a quote is of this platform, its verification says."""
        chain = pck_chain(item)
        prove_chain(chain, PCK_CHAIN, self.roots)
        check_dates(chain, PCK_CHAIN, at)
        if chain[1].serial in self.revoked:
            raise Unverified("pck-ca-revoked", f'The certificate "{chain[1].common_name}" is revoked.')
        extension = pck_extension(chain[0])
        bare = item.key.get("encrypted") != "yes"
        if extension.pceid.hex() != item.key.get("pceid") or (bare and extension.ppid.hex() != item.key.get("ppid")):
            raise _other(item.key, "it is of another platform")
        return _validity(chain)

    def _chain(self, item: Item, positions: Sequence[Position], code: str, at: datetime) -> Certificate:
        """The first certificate of an item's chain: vouched for by a root, valid, not revoked by it."""
        chain = parse_chain(item.chain.encode("ascii"), f"{code}-issuer-chain")
        prove_chain(chain, positions, self.roots)
        check_dates(chain, positions, at)
        if chain[0].serial in self.revoked:
            raise Unverified(f"{positions[0].code}-revoked", f'The certificate "{chain[0].common_name}" is revoked.')
        return chain[0]


def pck_chain(item: Item) -> tuple[Certificate, ...]:
    """A platform's certificate and its issuers. Raises `Malformed`: `pck-chain-*`, `certificate-*`."""
    return parse_chain(item.body.rstrip() + b"\n" + item.chain.encode("ascii"), "pck-chain")


def pck_extension(pck: Certificate) -> PckExtension:
    """What Intel certifies of the platform. Raises `Malformed`: `pck-extension-*`."""
    if SGX_EXTENSION not in pck.extensions:
        raise Malformed("pck-extension-missing", "The PCK certificate lacks the SGX extension.")
    return PckExtension.parse(pck.extensions[SGX_EXTENSION])


def _validity(chain: Sequence[Certificate]) -> Window:
    return Window(max(one.not_before for one in chain), min(one.not_after for one in chain))


def window_of(item: Item) -> Window:
    """The window that one of Intel's documents claims, unverified. Raises `Malformed`."""
    if item.key.kind is Kind.PCK:
        return _validity(pck_chain(item))
    if item.key.kind in (Kind.ROOT_CRL, Kind.PCK_CRL):
        return _window(Crl.parse(item.body))
    if item.key.kind is Kind.TCB_INFO:
        info = TcbInfo.parse(Envelope.parse(item.body, envelope.TCB_INFO).text)
        return Window(info.issue_date, info.next_update)
    identity = QeIdentity.parse(Envelope.parse(item.body, envelope.ENCLAVE_IDENTITY).text)
    return Window(identity.issue_date, identity.next_update)


def _verified(crl: Crl, key: ec.EllipticCurvePublicKey, at: datetime, code: str) -> Crl:
    crl.check_signed_by(key, f"{code}-signature", f"the revocation list ({code})")
    check_period(crl.this_update, crl.next_update, at, code, "revocation list")
    return crl


def _window(crl: Crl) -> Window:
    return Window(crl.this_update, crl.next_update)


def _check_number(key: Key, number: int) -> None:
    channel = key.get("channel")
    if channel.isdigit() and int(channel) != number:
        raise _other(key, f"its evaluation number is {number}")


def _other(key: Key, what: str) -> Unverified:
    return Unverified("collateral-other", f"The document is not the one that was asked for ({key.label}): {what}.")


def _text(item: Item, name: str, signer: Certificate, code: str) -> str:
    """The document's text, once its signature has been verified."""
    found = Envelope.parse(item.body, name)
    raw = raw_signature(unhex(found.signature, f"{code}-signature", 64))
    data = found.text.encode("ascii")
    check_signature(signer.public_key, raw, data, f"{code}-signature", f"the document {code}")
    return found.text
