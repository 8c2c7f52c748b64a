"""How far evidence has been trusted, as types: only `trust/verifier` can make a `Verified`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import ClassVar, Protocol

from kloister.errors import Misused, Unverified
from kloister.formats.dcap import PckExtension, QeIdentity, QeLevel, TcbInfo, TcbLevel, TcbStatus
from kloister.formats.sgx import Flag, ReportBody
from kloister.formats.tdx import TdFlag, TdReport
from kloister.trust.root import Root

_SEAL = object()  # imported by trust/verifier and by nobody else; a test holds this


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbResult:
    """What the collateral says of the platform and of its quoting enclave together."""

    status: TcbStatus
    advisories: tuple[str, ...]  # union of the matched levels, sorted, each once
    date: datetime  # the earliest of the matched levels
    evaluation_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbBasis:
    """What a TCB result was judged from: references to what verification read anyway, kept for explanations."""

    info: TcbInfo = field(repr=False)
    platform: PckExtension = field(repr=False)
    level: TcbLevel
    identity: QeIdentity = field(repr=False)
    qe_isvsvn: int
    qe_level: QeLevel
    tee_tcb_svn: bytes | None = None  # 16, of a TD: the TDX module's and what stands below it
    module_level: QeLevel | None = None  # of a TD with a versioned module
    issued: datetime  # when the oldest of TCB info, QE identity and revocation lists was issued
    current: TcbBasis | None = field(
        default=None, repr=False
    )  # of a TD that should be launched again: the platform now


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsupportedBasis:
    """What a platform was compared with that reaches no level at all."""

    info: TcbInfo = field(repr=False)
    platform: PckExtension = field(repr=False)
    tee_tcb_svn: bytes | None = None  # 16, of a TD


Claims = Mapping[str, str | int | bool]


class TrustedRoot(Protocol):
    """What every maker's root of trust can say of itself."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def fingerprint(self) -> str:
        """Of what is pinned, hexadecimal, for people to compare."""

    @property
    def simulated(self) -> bool:
        """Whether this is the root of a simulated platform."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """Something that only the verifier can make."""

    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise Misused("verified-made-elsewhere", "Only the verifier says that evidence is genuine.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified(Sealed, ABC):
    """Evidence that is genuine: signed by hardware under `root`, on a platform that is not revoked.

    It says nothing about whether the evidence is wanted: debug, status and measurements are for policy to judge.
    It is made as one of its subclasses, one per TEE, whose `report` is what was signed.
    """

    tee: ClassVar[str]

    tcb: TcbResult | None = None  # None where the maker publishes no status (AMD)
    fmspc: str | None = None  # of Intel's platforms: 12 hexadecimal digits, lower case
    root: TrustedRoot
    collateral_expires: datetime  # the first of the collateral's parts that ends
    basis: TcbBasis | None = field(default=None, repr=False)  # of Intel's TEEs; explanations and the age need it

    @property
    @abstractmethod
    def claims(self) -> Claims:
        """What the evidence says, as strings (bytes in lower-case hexadecimal), integers and booleans."""

    @property
    def tcb_status(self) -> TcbStatus | None:
        """The status of platform, quoting enclave and TDX module together."""
        return self.tcb.status if self.tcb else None

    @property
    def advisories(self) -> tuple[str, ...]:
        """The maker's advisories that apply to the matched levels."""
        return self.tcb.advisories if self.tcb else ()

    @property
    def tcb_date(self) -> datetime | None:
        """The date of the oldest matched level."""
        return self.tcb.date if self.tcb else None

    @property
    def simulated(self) -> bool:
        """Whether the root is that of a simulated platform."""
        return self.root.simulated


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedIntel(Verified):
    """Genuine evidence of one of Intel's TEEs."""

    tcb: TcbResult
    fmspc: str
    root: Root


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedSgx(VerifiedIntel):
    """A genuine SGX enclave."""

    tee: ClassVar[str] = "sgx"

    report: ReportBody = field(repr=False)

    @property
    def claims(self) -> Claims:
        """What the report says."""
        report = self.report
        return MappingProxyType(
            {
                "mrenclave": report.mrenclave.hex(),
                "mrsigner": report.mrsigner.hex(),
                "isvprodid": report.isvprodid,
                "isvsvn": report.isvsvn,
                "isvextprodid": report.isvextprodid.hex(),
                "isvfamilyid": report.isvfamilyid.hex(),
                "configid": report.configid.hex(),
                "configsvn": report.configsvn,
                "cpusvn": report.cpusvn.hex(),
                "miscselect": report.miscselect,
                "attributes": report.attributes.build().hex(),
                "debug": report.attributes.has(Flag.DEBUG),
                "report_data": report.report_data.hex(),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedTdx(VerifiedIntel):
    """A genuine TDX trust domain."""

    tee: ClassVar[str] = "tdx"

    report: TdReport = field(repr=False)

    @property
    def claims(self) -> Claims:
        """What the report says; `tee_tcb_svn2` and `mrservicetd` are there from TDX 1.5 on."""
        report = self.report
        claims: dict[str, str | int | bool] = {
            "mrtd": report.mrtd.hex(),
            **{f"rtmr{index}": value.hex() for index, value in enumerate(report.rtmrs)},
            "mrseam": report.mrseam.hex(),
            "mrsignerseam": report.mrsignerseam.hex(),
            "seam_attributes": report.seam_attributes.hex(),
            "td_attributes": report.td_attributes.to_bytes(8, "little").hex(),
            "xfam": report.xfam.hex(),
            "mrconfigid": report.mrconfigid.hex(),
            "mrowner": report.mrowner.hex(),
            "mrownerconfig": report.mrownerconfig.hex(),
            "tee_tcb_svn": report.tee_tcb_svn.hex(),
            "debug": report.has(TdFlag.DEBUG),
            "sept_ve_disable": report.has(TdFlag.SEPT_VE_DISABLE),
            "report_data": report.report_data.hex(),
        }
        if report.tee_tcb_svn2 is not None and report.mrservicetd is not None:
            claims["tee_tcb_svn2"] = report.tee_tcb_svn2.hex()
            claims["mrservicetd"] = report.mrservicetd.hex()
        return MappingProxyType(claims)


class TcbRevoked(Unverified):
    """Everything verifies, but platform or quoting enclave is revoked: not genuine. `tcb` says what was found."""

    def __init__(self, tcb: TcbResult, fmspc: str, root: Root, basis: TcbBasis | None = None, tee: str = "sgx") -> None:
        super().__init__(
            "tcb-revoked",
            "The platform's TCB level is revoked.",
            "Intel no longer vouches for this platform; update its firmware or use another one.",
        )
        self.tcb = tcb
        self.fmspc = fmspc
        self.root = root
        self.tee = tee
        self.basis = basis


class TcbUnsupported(Unverified):
    """The platform is below every level of the TCB info; `basis` says by how much."""

    def __init__(self, text: str, basis: UnsupportedBasis) -> None:
        super().__init__(
            "tcb-unsupported",
            text,
            "The platform is older than anything that Intel still judges; update its firmware (--explain says what).",
        )
        self.basis = basis
