"""The simulated platform's collateral: what Intel's PCS would hand out for it (PCS API v4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from kloister.formats.dcap import TcbStatus
from kloister.formats.pki import sign_raw
from kloister.formats.sgx import ReportBody
from kloister.formats.wire import canonical_json
from kloister.simulator.pki import Identity, SimulatedPki, revocation_list

VALIDITY = timedelta(days=30)  # as Intel's documents
EVALUATION_NUMBER = 20
_ATTRIBUTES_MASK = bytes.fromhex("fbffffffffffffff0000000000000000")  # Intel's: all flags but MODE64BIT, no XFRM
_MAX_SVN = 0xFF
_DATE = datetime(2026, 1, 1, tzinfo=UTC)
# What the components are, in Intel's words of its server processors; nobody says what the others are, and no recovery
# raises them
_BIOS, _SYSTEM = "BIOS", "OS/VMM"
_DESCRIBED: dict[int, dict[str, str]] = {
    0: {"category": _BIOS, "type": "Early Microcode Update"},
    1: {"category": _SYSTEM, "type": "SGX Late Microcode Update"},
    2: {"category": _SYSTEM, "type": "TXT SINIT"},
    3: {"category": _BIOS},
    4: {"category": _BIOS},
    5: {"category": _BIOS},
    7: {"category": _SYSTEM, "type": "SEAMLDR ACM"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class QeValues:
    """The identity of a quoting enclave, as its report states it."""

    mrsigner: bytes  # 32
    isvprodid: int
    isvsvn: int
    attributes: bytes  # 16
    miscselect: int = 0

    @classmethod
    def of(cls, report: ReportBody) -> Self:
        """The values of the QE that made this report."""
        return cls(
            mrsigner=report.mrsigner,
            isvprodid=report.isvprodid,
            isvsvn=report.isvsvn,
            attributes=report.attributes.build(),
            miscselect=report.miscselect,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbStage:
    """Where the platform stands: anything but UpToDate means that a newer level exists (a staged TCB recovery)."""

    status: TcbStatus = TcbStatus.UP_TO_DATE
    advisories: tuple[str, ...] = ()
    date: datetime = _DATE
    evaluation_number: int = EVALUATION_NUMBER


def collateral(
    pki: SimulatedPki,
    now: datetime,
    qe: QeValues,
    *,
    stage: TcbStage | None = None,
    fmspc: bytes | None = None,
    revoked_pcks: tuple[int, ...] = (),
    revoked_authorities: tuple[int, ...] = (),
) -> dict[str, str]:
    """This platform's collateral, with the keys of `Collateral.from_json`, valid from the day of `now` for 30 days.

    Args:
        pki: the platform's certificates.
        now: aware; it is cut to the day, so that documents of one day are equal.
        qe: which quoting enclave is the right one.
        stage: how the platform's level is judged; UpToDate where it is None.
        fmspc: another platform family than the PCK certificate's.
        revoked_pcks: serial numbers in the CA's list.
        revoked_authorities: serial numbers in the root's list.
    """
    start = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    end = start + VALIDITY
    stage = stage or TcbStage()
    tcb_info = tcb_info_text(pki, start, end, stage, fmspc or pki.fmspc)
    identity = qe_identity_text(qe, start, end, stage.evaluation_number)
    signer_chain = pki.tcb_signer.certificate.pem() + pki.root.certificate.pem()
    return {
        "tcb_info": tcb_info,
        "tcb_info_signature": sign_document(pki.tcb_signer, tcb_info),
        "tcb_info_issuer_chain": signer_chain,
        "qe_identity": identity,
        "qe_identity_signature": sign_document(pki.tcb_signer, identity),
        "qe_identity_issuer_chain": signer_chain,
        "pck_crl": revocation_list(pki.ca, start, end, revoked_pcks).hex(),
        "pck_crl_issuer_chain": pki.ca.certificate.pem() + pki.root.certificate.pem(),
        "root_ca_crl": revocation_list(pki.root, start, end, revoked_authorities).hex(),
        "pck_certificate_chain": pki.pck_chain_pem(),
    }


def sign_document(signer: Identity, text: str) -> str:
    """The signature over a document's exact text, hexadecimal r and s."""
    return sign_raw(signer.key, text.encode("utf-8")).hex()


def tcb_info_text(pki: SimulatedPki, start: datetime, end: datetime, stage: TcbStage, fmspc: bytes) -> str:
    """TCB info version 3: a newer level where the stage wants one, the platform's own, and the floor below it."""
    own, pcesvn = pki.tcb.components, pki.tcb.pcesvn
    levels = [
        _level(own, pcesvn, stage.status, stage.date, stage.advisories),
        _level((0,) * len(own), 0, TcbStatus.OUT_OF_DATE, datetime(2020, 1, 1, tzinfo=UTC), ()),
    ]
    if stage.status is not TcbStatus.UP_TO_DATE:
        newer = tuple(min(svn + (at in _DESCRIBED), _MAX_SVN) for at, svn in enumerate(own))
        levels.insert(0, _level(newer, pcesvn, TcbStatus.UP_TO_DATE, stage.date, ()))
    return _text(
        {
            "id": "SGX",
            "version": 3,
            "issueDate": _instant(start),
            "nextUpdate": _instant(end),
            "fmspc": fmspc.hex().upper(),
            "pceId": pki.extension.pceid.hex().upper(),
            "tcbType": 0,
            "tcbEvaluationDataNumber": stage.evaluation_number,
            "tcbLevels": levels,
        }
    )


def qe_identity_text(qe: QeValues, start: datetime, end: datetime, evaluation_number: int) -> str:
    """QE identity version 2 with the one level that the QE itself has."""
    attributes = bytes(value & mask for value, mask in zip(qe.attributes, _ATTRIBUTES_MASK, strict=True))
    return _text(
        {
            "id": "QE",
            "version": 2,
            "issueDate": _instant(start),
            "nextUpdate": _instant(end),
            "tcbEvaluationDataNumber": evaluation_number,
            "miscselect": f"{qe.miscselect:08X}",
            "miscselectMask": "FFFFFFFF",
            "attributes": attributes.hex().upper(),
            "attributesMask": _ATTRIBUTES_MASK.hex().upper(),
            "mrsigner": qe.mrsigner.hex().upper(),
            "isvprodid": qe.isvprodid,
            "tcbLevels": [
                {"tcb": {"isvsvn": qe.isvsvn}, "tcbDate": _instant(_DATE), "tcbStatus": TcbStatus.UP_TO_DATE.value}
            ],
        }
    )


def _level(
    components: tuple[int, ...], pcesvn: int, status: TcbStatus, date: datetime, advisories: tuple[str, ...]
) -> dict[str, Any]:
    described = [{"svn": svn, **_DESCRIBED.get(at, {})} for at, svn in enumerate(components)]
    level: dict[str, Any] = {
        "tcb": {"sgxtcbcomponents": described, "pcesvn": pcesvn},
        "tcbDate": _instant(date),
        "tcbStatus": status.value,
    }
    if advisories:
        level["advisoryIDs"] = list(advisories)
    return level


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(document: dict[str, Any]) -> str:
    return canonical_json(document).decode("utf-8")
