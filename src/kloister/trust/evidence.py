"""How far evidence has been trusted, as types: only `trust/verifier` can make a `Verified`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from datetime import datetime

from kloister.errors import Misused, Unverified
from kloister.formats.dcap import PckExtension, QeIdentity, QeLevel, TcbInfo, TcbLevel, TcbStatus
from kloister.formats.sgx import ReportBody
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Evidence that is genuine: signed by hardware under `root`, on a platform that is not revoked.

    It says nothing about whether the evidence is wanted: debug, status and measurements are for policy to judge.
    `claims` holds what the quote says, as strings (bytes in lower-case hexadecimal), integers and booleans.
    """

    seal: InitVar[object]
    tee: str  # "sgx"
    tcb: TcbResult
    fmspc: str  # 12 hexadecimal digits, lower case
    claims: Mapping[str, str | int | bool] = field(repr=False)
    report: ReportBody = field(repr=False)
    root: Root
    collateral_expires: datetime  # the first of the collateral's parts that ends
    basis: TcbBasis | None = field(default=None, repr=False)  # of Intel's TEEs

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise Misused("verified-made-elsewhere", "Only the verifier says that evidence is genuine.")

    @property
    def tcb_status(self) -> TcbStatus:
        """The status of platform and quoting enclave together."""
        return self.tcb.status

    @property
    def advisories(self) -> tuple[str, ...]:
        """Intel's advisories that apply to the matched levels."""
        return self.tcb.advisories

    @property
    def tcb_date(self) -> datetime:
        """The date of the oldest matched level."""
        return self.tcb.date

    @property
    def simulated(self) -> bool:
        """Whether the root is that of a simulated platform."""
        return self.root.simulated


class TcbRevoked(Unverified):
    """Everything verifies, but platform or quoting enclave is revoked: not genuine. `tcb` says what was found."""

    def __init__(self, tcb: TcbResult, fmspc: str, root: Root, basis: TcbBasis | None = None) -> None:
        super().__init__(
            "tcb-revoked",
            "The platform's TCB level is revoked.",
            "Intel no longer vouches for this platform; update its firmware or use another one.",
        )
        self.tcb = tcb
        self.fmspc = fmspc
        self.root = root
        self.basis = basis
