"""Steps 5, 9 and 11 of the verification: how up to date the platform is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import ge

from kloister.errors import Unverified
from kloister.formats.dcap import PckExtension, QeLevel, TcbInfo, TcbLevel, TcbStatus
from kloister.trust.evidence import TcbResult, TcbUnsupported, UnsupportedBasis

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


def match_platform(info: TcbInfo, platform: PckExtension, tee_tcb_svn: bytes | None = None) -> TcbLevel:
    """Steps 9 and 10: the highest level that is reached in every component and in PCESVN.

    Args:
        info: for the platform's family; its levels descend.
        platform: what the PCK certificate says.
        tee_tcb_svn: of a trust domain, 16 bytes, to be compared with the TDX components. Where the module has a
            version (second byte), the first two belong to the module and not to the platform.

    Raises:
        TcbUnsupported: an `Unverified`, code `tcb-unsupported`.
    """
    for level in info.levels:
        if platform.pcesvn >= level.pcesvn and _reached(platform.components, level.components):
            if tee_tcb_svn is None:
                return level
            first = 2 if tee_tcb_svn[1] else 0
            if level.tdx_components is not None and _reached(tee_tcb_svn[first:], level.tdx_components[first:]):
                return level
    domain = f", and TEE_TCB_SVN {tee_tcb_svn.hex()}" if tee_tcb_svn is not None else ""
    text = f"No TCB level is reached by components {list(platform.components)}, PCESVN {platform.pcesvn}{domain}."
    raise TcbUnsupported(text, UnsupportedBasis(info=info, platform=platform, tee_tcb_svn=tee_tcb_svn))


def converge(info: TcbInfo, platform: TcbLevel, enclaves: Sequence[QeLevel]) -> TcbResult:
    """Step 11: platform and enclaves (QE, TDX module) taken together."""
    levels: list[TcbLevel | QeLevel] = [platform, *enclaves]
    return TcbResult(
        status=_worst(platform.status, {level.status for level in enclaves}),
        advisories=tuple(sorted({advisory for level in levels for advisory in level.advisories})),
        date=min(level.date for level in levels),
        evaluation_number=info.evaluation_number,
    )


def _reached(have: Sequence[int], need: Sequence[int]) -> bool:
    return all(map(ge, have, need))


def _worst(platform: TcbStatus, enclaves: set[TcbStatus]) -> TcbStatus:
    if TcbStatus.REVOKED in {platform, *enclaves}:
        return TcbStatus.REVOKED
    if TcbStatus.OUT_OF_DATE in enclaves:
        return _OUTDATED.get(platform, platform)
    return platform


def relaunch(launch: TcbResult, current: TcbResult) -> TcbResult:
    """Step 12: a trust domain that was launched on an outdated platform, which has been updated since, is to say so."""
    if launch.status not in _OUTDATED.values() or current.status not in _OUTDATED:
        return launch
    configuration = any("Configuration" in result.status for result in (launch, current))
    advised = TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED if configuration else TcbStatus.TD_RELAUNCH_ADVISED
    return replace(launch, status=advised)
