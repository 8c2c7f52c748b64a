"""TDX quotes and their collateral made to order under a simulator's PKI: `Forge` for trust domains."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from kloister.formats.dcap import Authentication, BodyType, CertificationData, CertificationType, Header, Quote, TeeType
from kloister.formats.pki import sign_raw
from kloister.formats.sgx import ReportBody
from kloister.formats.tdx import TdExtension, TdFlag, TdReport
from kloister.simulator.documents import QeValues, collateral, sign_document
from kloister.simulator.pki import SimulatedPki, derive_key
from kloister.trust.evidence import VerifiedTdx
from kloister.trust.verifier import Collateral, Root, VerifierCache, verify_tdx
from tests.support.evidence import NOW, QE, SEED, point

TDX10 = TdReport(
    tee_tcb_svn=bytes([5, 1, *[3] * 14]),
    mrseam=bytes([0x51]) * 48,
    mrsignerseam=bytes(48),
    seam_attributes=bytes(8),
    td_attributes=TdFlag.SEPT_VE_DISABLE,
    xfam=bytes.fromhex("e742060000000000"),
    mrtd=bytes([0x61]) * 48,
    mrconfigid=bytes(48),
    mrowner=bytes(48),
    mrownerconfig=bytes(48),
    rtmrs=(bytes([1]) * 48, bytes([2]) * 48, bytes([3]) * 48, bytes([4]) * 48),
    report_data=b"for this purpose".ljust(64, b"\0"),
)
TDX15 = replace(TDX10, tee_tcb_svn2=TDX10.tee_tcb_svn, mrservicetd=bytes(48))
TDX15EX = replace(TDX15, extension=TdExtension.parse(bytes(237)))
TD_QE = replace(QE, isvprodid=2)
_TYPES = {584: BodyType.TD10, 648: BodyType.TD15, 885: BodyType.TD15EX}


@dataclass(frozen=True, kw_only=True)
class TdForge:
    """Everything that makes one TDX quote; `replace` a part to make a bad one. All signatures are deterministic."""

    pki: SimulatedPki = field(default_factory=lambda: SimulatedPki.derive(SEED))
    version: int = 4
    report: TdReport = TDX10
    qe: ReportBody = TD_QE
    attestation_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: derive_key(SEED, "attestation"))
    pck_key: ec.EllipticCurvePrivateKey | None = None  # the key that signs the QE report, if another

    def quote(self) -> bytes:
        """The quote in bytes."""
        header, body = Header(version=self.version, tee_type=TeeType.TDX), self.report.build()
        signed = Quote.to_sign(header, body, _TYPES[len(body)])
        binding = hashlib.sha256(point(self.attestation_key)).digest() + bytes(32)
        qe_report = replace(self.qe, report_data=binding).build()
        chain = self.pki.pck_chain_pem().encode("ascii") + b"\0"
        authentication = Authentication(
            signature=sign_raw(self.attestation_key, signed),
            attestation_key=point(self.attestation_key),
            qe_report=qe_report,
            qe_report_signature=sign_raw(self.pck_key or self.pki.pck.key, qe_report),
            qe_auth_data=b"",
            certification=CertificationData(type=CertificationType.PCK_CHAIN, data=chain),
        )
        body_type = _TYPES[len(body)]
        return Quote(
            header=header, body_type=body_type, body=body, signed=signed, authentication=authentication
        ).build()

    def documents(
        self,
        info: Callable[[dict[str, Any]], object] = lambda _: None,
        identity: Callable[[dict[str, Any]], object] = lambda _: None,
        **others: Any,
    ) -> dict[str, str]:
        """The collateral for trust domains; both documents may be changed before they are signed."""
        parts = collateral(self.pki, NOW, QeValues.of(self.qe), **others)
        for part, usual, change in (("tcb_info", _for_domains, info), ("qe_identity", _of_td_qe, identity)):
            document = json.loads(parts[part])
            usual(document)
            change(document)
            parts[part] = json.dumps(document)
            parts[f"{part}_signature"] = sign_document(self.pki.tcb_signer, parts[part])
        return parts

    def verify(
        self, documents: dict[str, str] | None = None, at: datetime = NOW, cache: VerifierCache | None = None
    ) -> VerifiedTdx:
        """Verify the quote against the collateral, or another one."""
        root = Root.from_der(self.pki.root_der())
        return verify_tdx(self.quote(), Collateral.from_json(documents or self.documents()), [root], at, cache)


def module(name: str, *levels: tuple[int, str, list[str]]) -> dict[str, Any]:
    """An entry of `tdxModuleIdentities`; levels are (ISVSVN, status, advisories)."""
    return {
        **_SIGNER,
        "id": name,
        "tcbLevels": [
            {"tcb": {"isvsvn": svn}, "tcbStatus": status, "tcbDate": "2025-03-03T00:00:00Z", "advisoryIDs": advisories}
            for svn, status, advisories in levels
        ],
    }


_SIGNER = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}


def _for_domains(document: dict[str, Any]) -> None:
    document["id"] = "TDX"
    for index, level in enumerate(document["tcbLevels"]):
        svns = [3] * 16 if index + 1 < len(document["tcbLevels"]) else [0] * 16
        level["tcb"]["tdxtcbcomponents"] = [{"svn": svn, "category": "OS/VMM", "type": "SEAMLDR"} for svn in svns]
    document["tdxModule"] = dict(_SIGNER)
    document["tdxModuleIdentities"] = [
        module("TDX_01", (5, "UpToDate", []), (4, "OutOfDate", ["M"])),
        module("TDX_03", (2, "UpToDate", [])),
    ]


def _of_td_qe(document: dict[str, Any]) -> None:
    document["id"] = "TD_QE"
