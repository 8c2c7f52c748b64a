"""Steps 5, 9 and 11 of the verification: how up to date the platform is."""

from __future__ import annotations

from collections.abc import Sequence

from kloister.errors import Unverified
from kloister.formats.dcap import PckExtension, QeLevel, TcbInfo, TcbLevel, TcbStatus
from kloister.trust.evidence import TcbResult

_OUTDATED = {
    TcbStatus.UP_TO_DATE: TcbStatus.OUT_OF_DATE,
    TcbStatus.SW_HARDENING_NEEDED: TcbStatus.OUT_OF_DATE,
    TcbStatus.CONFIGURATION_NEEDED: TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED: TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
}


def check_scope(info: TcbInfo, platform: PckExtension, tee: str) -> None:
    """Step 5: the TCB info speaks of this kind of TEE and of this platform.

    Raises:
        Unverified: `tcb-info-tee`, `tcb-info-fmspc`, `tcb-info-pceid`.
    """
    if info.id != tee:
        raise Unverified("tcb-info-tee", f"The TCB info is for {info.id!r}; this quote needs one for {tee!r}.")
    if info.fmspc != platform.fmspc:
        raise Unverified(
            "tcb-info-fmspc",
            f"The TCB info is for the FMSPC {info.fmspc.hex()}; the PCK certificate says {platform.fmspc.hex()}.",
            "Get the collateral of that platform family.",
        )
    if info.pceid != platform.pceid:
        raise Unverified(
            "tcb-info-pceid",
            f"The TCB info is for PCE {info.pceid.hex()}; the PCK certificate says {platform.pceid.hex()}.",
        )


def match_platform(info: TcbInfo, platform: PckExtension) -> TcbLevel:
    """Step 9: the highest level whose every component, and PCESVN, the PCK certificate reaches.

    Raises:
        Unverified: `tcb-unsupported`.
    """
    for level in info.levels:  # descending
        pairs = zip(platform.components, level.components, strict=True)
        if all(have >= need for have, need in pairs) and platform.pcesvn >= level.pcesvn:
            return level
    raise Unverified(
        "tcb-unsupported",
        f"No TCB level is reached by components {list(platform.components)} and PCESVN {platform.pcesvn}.",
        "The platform is older than anything that Intel still judges; update its firmware.",
    )


def converge(info: TcbInfo, platform: TcbLevel, enclaves: Sequence[QeLevel]) -> TcbResult:
    """Step 11: platform and enclaves (QE, later the TDX module) taken together."""
    levels: list[TcbLevel | QeLevel] = [platform, *enclaves]
    return TcbResult(
        status=_worst(platform.status, {level.status for level in enclaves}),
        advisories=tuple(sorted({advisory for level in levels for advisory in level.advisories})),
        date=min(level.date for level in levels),
        evaluation_number=info.evaluation_number,
    )


def _worst(platform: TcbStatus, enclaves: set[TcbStatus]) -> TcbStatus:
    if TcbStatus.REVOKED in {platform, *enclaves}:
        return TcbStatus.REVOKED
    if TcbStatus.OUT_OF_DATE in enclaves:
        return _OUTDATED.get(platform, platform)
    return platform
