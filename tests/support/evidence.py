"""Quotes and collateral made to order under a simulator's PKI, and the sets of the shared vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from kloister.errors import KloisterError
from kloister.formats.dcap import Authentication, BodyType, CertificationData, CertificationType, Header, Quote
from kloister.formats.pki import sign_raw
from kloister.formats.sgx import Attributes, ReportBody
from kloister.simulator.documents import QeValues, TcbStage, collateral
from kloister.simulator.pki import Identity, SimulatedPki, derive_key
from kloister.trust.evidence import VerifiedSgx, VerifiedTdx
from kloister.trust.verifier import INTEL_ROOT, Collateral, Root, verify_quote, verify_sgx
from tests.support.paths import vectors

SEED = bytes(range(32))
NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)

ENCLAVE = ReportBody(
    cpusvn=bytes(16),
    attributes=Attributes(0x05, 0xE7),
    mrenclave=bytes([0x11]) * 32,
    mrsigner=bytes([0x22]) * 32,
    isvprodid=7,
    isvsvn=3,
    report_data=b"for this purpose".ljust(64, b"\0"),
)
QE = ReportBody(
    cpusvn=bytes(16),
    attributes=Attributes(0x15, 0xE7),
    mrenclave=bytes([0x33]) * 32,
    mrsigner=bytes([0x44]) * 32,
    isvprodid=1,
    isvsvn=8,
    report_data=bytes(64),
)


@dataclass(frozen=True, kw_only=True)
class Forge:
    """Everything that makes one quote; `replace` a part to make a bad one. All signatures are deterministic."""

    pki: SimulatedPki = field(default_factory=lambda: SimulatedPki.derive(SEED))
    version: int = 3
    enclave: ReportBody = ENCLAVE
    qe: ReportBody = QE
    attestation_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: derive_key(SEED, "attestation"))
    bound_key: ec.EllipticCurvePrivateKey | None = None  # the key that the QE report binds, if another
    pck_key: ec.EllipticCurvePrivateKey | None = None  # the key that signs the QE report, if another
    qe_auth_data: bytes = bytes(range(32))
    certification: CertificationData | None = None
    padding: bytes = b""

    def quote(self) -> bytes:
        """The quote in bytes."""
        header = Header(version=self.version)
        signed = Quote.to_sign(header, self.enclave.build())
        qe_report = replace(self.qe, report_data=self._binding()).build()
        chain = self.pki.pck_chain_pem().encode("ascii") + b"\0"
        authentication = Authentication(
            signature=sign_raw(self.attestation_key, signed),
            attestation_key=point(self.attestation_key),
            qe_report=qe_report,
            qe_report_signature=sign_raw(self.pck_key or self.pki.pck.key, qe_report),
            qe_auth_data=self.qe_auth_data,
            certification=self.certification or CertificationData(type=CertificationType.PCK_CHAIN, data=chain),
        )
        return Quote(
            header=header,
            body_type=BodyType.SGX,
            body=self.enclave.build(),
            signed=signed,
            authentication=authentication,
            padding=self.padding,
        ).build()

    def documents(self, stage: TcbStage | None = None, now: datetime = NOW, **others: Any) -> dict[str, str]:
        """The collateral as a JSON object; `others` as `simulator.documents.collateral` takes them."""
        return collateral(self.pki, now, QeValues.of(self.qe), stage=stage, **others)

    @cached_property
    def root(self) -> Root:
        """The simulator's root."""
        return Root.from_der(self.pki.root_der())

    def verify(
        self, documents: dict[str, str] | None = None, at: datetime = NOW, quote: bytes | None = None
    ) -> VerifiedSgx:
        """Verify the quote, or another one, against the collateral, or another one."""
        parts = Collateral.from_json(documents or self.documents())
        return verify_sgx(self.quote() if quote is None else quote, parts, [self.root], at)

    def _binding(self) -> bytes:
        key = point(self.bound_key or self.attestation_key)
        return hashlib.sha256(key + self.qe_auth_data).digest() + bytes(32)


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Coordinates x and y, 64 bytes."""
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def replaced(pki: SimulatedPki, role: str, identity: Identity) -> SimulatedPki:
    """The same PKI with another identity in the place `role`."""
    return replace(pki, **{role: identity})  # type: ignore[arg-type]  # the field's name is only known at run time


def code_of(action: Callable[[], Any]) -> str:
    """The reason code with which the action is refused."""
    try:
        action()
    except KloisterError as error:
        return error.code
    return "accepted"


@dataclass(frozen=True)
class Case:
    """One set of vectors/evidence."""

    name: str
    quote: bytes = field(repr=False)
    document: dict[str, Any] = field(repr=False)
    roots: list[Root] = field(repr=False)
    at: datetime
    entry: dict[str, Any] = field(repr=False)

    def verify(self) -> VerifiedSgx | VerifiedTdx:
        """Judge it as the index says."""
        return verify_quote(self.quote, Collateral.from_json(self.document), self.roots, self.at)


def index() -> list[dict[str, Any]]:
    """All sets that hold a quote."""
    entries = json.loads(vectors("evidence", "index.json").read_text())
    return [entry for entry in entries if entry["kind"] != "snp"]


def case(entry: dict[str, Any]) -> Case:
    """The set of an index entry, read."""
    folder = vectors("evidence", entry["set"])
    own_root = folder / "root.der"
    return Case(
        name=entry["set"],
        quote=(folder / "quote.bin").read_bytes(),
        document=json.loads((folder / "collateral.json").read_text()),
        roots=[Root.from_der(own_root.read_bytes())] if entry["kind"] == "own-pki" else [INTEL_ROOT],
        at=datetime.fromtimestamp(entry["verify_at"], UTC),
        entry=entry,
    )
