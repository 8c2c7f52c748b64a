from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kloister.errors import Unverified
from kloister.formats.dcap import TcbInfo, TcbStatus
from kloister.trust.evidence import TcbResult
from kloister.trust.verifier.tcb import match_platform, relaunch
from tests.support.trust_domains import TdForge

DATE = datetime(2025, 3, 3, tzinfo=UTC)
UP, HARDENING = TcbStatus.UP_TO_DATE, TcbStatus.SW_HARDENING_NEEDED
CONFIGURATION = TcbStatus.CONFIGURATION_NEEDED
OLD, OLD_CONFIGURATION = TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED
ADVISED, ADVISED_CONFIGURATION = TcbStatus.TD_RELAUNCH_ADVISED, TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED


def result(status: TcbStatus) -> TcbResult:
    return TcbResult(status=status, advisories=("INTEL-SA-00001",), date=DATE, evaluation_number=5)


@pytest.mark.parametrize(
    ("launched", "current", "together"),
    [
        (OLD, UP, ADVISED),
        (OLD, HARDENING, ADVISED),
        (OLD, CONFIGURATION, ADVISED_CONFIGURATION),
        (OLD_CONFIGURATION, UP, ADVISED_CONFIGURATION),
        (OLD_CONFIGURATION, CONFIGURATION, ADVISED_CONFIGURATION),
        (OLD, OLD, OLD),
        (OLD_CONFIGURATION, OLD, OLD_CONFIGURATION),
        (UP, UP, UP),
        (TcbStatus.REVOKED, UP, TcbStatus.REVOKED),
        # step 12 (dcap.md, section 3): only the four better statuses of the present advise a relaunch; Revoked is none
        # of them, so the launch's status stands, "otherwise", and is not made worse either
        (OLD, TcbStatus.REVOKED, OLD),
        (OLD_CONFIGURATION, TcbStatus.REVOKED, OLD_CONFIGURATION),
        (UP, TcbStatus.REVOKED, UP),
    ],
)
def test_a_domain_launched_before_an_update_is_to_start_again(
    launched: TcbStatus, current: TcbStatus, together: TcbStatus
) -> None:
    found = relaunch(result(launched), result(current))
    assert found == replace(result(launched), status=together)


@pytest.mark.parametrize("domain", [None, bytes([1, 0, *[3] * 14])])
def test_a_platform_below_all_levels_is_told_what_it_has(domain: bytes | None) -> None:
    forge = TdForge()
    info = TcbInfo.parse(forge.documents()["tcb_info"])
    old = replace(forge.pki.extension, pcesvn=5)
    with pytest.raises(Unverified) as refused:
        match_platform(replace(info, levels=info.levels[:1]), old, domain)
    assert refused.value.code == "tcb-unsupported"
    assert "PCESVN 5" in refused.value.text
    assert ("TEE_TCB_SVN 0100" in refused.value.text) == (domain is not None)


@pytest.mark.parametrize(
    ("svns", "reached"),
    [
        ((3, 0, 3, 3), True),
        ((2, 0, 3, 3), False),
        ((3, 0, 2, 3), False),
        ((0, 1, 3, 3), True),  # the first two are the module's, which its version names
        ((3, 1, 2, 3), False),
        ((3, 1, 3, 2), False),
    ],
)
def test_each_component_of_a_domain_counts_but_for_those_of_a_module_with_a_version(
    svns: tuple[int, ...],
    reached: bool,  # noqa: FBT001 -- a row
) -> None:
    forge = TdForge()
    info = TcbInfo.parse(forge.documents()["tcb_info"])
    high, low = (replace(info.levels[0], tdx_components=(*first, *[0] * 12)) for first in ((3, 0, 3, 3), (0, 0, 0, 0)))
    found = match_platform(replace(info, levels=(high, low)), forge.pki.extension, bytes([*svns, *[0] * 12]))
    assert (found is high) == reached
