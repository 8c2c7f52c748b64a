"""The verifier's library as a typed program uses it: mypy reads this file, and pytest runs it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import assert_type

from kloister.errors import Denied, KloisterError, Malformed, Unverified
from kloister.formats.dcap import TcbStatus
from kloister.formats.sgx import ReportBody
from kloister.formats.tdx import TdReport
from kloister.trust.evidence import VerifiedSgx, VerifiedTdx
from kloister.trust.policy.appraisal import AppraisalPolicy, check_appraisal
from kloister.trust.verifier import Collateral, Root, VerifierCache, verify_quote, verify_sgx, verify_tdx
from tests.support.evidence import NOW, Forge
from tests.support.trust_domains import TdForge


def measurement(quote: bytes, collateral: Collateral, root: Root, at: datetime) -> bytes | str:
    """What an application may do with any of Intel's quotes."""
    cache = VerifierCache(platforms=100)
    try:
        verified = verify_quote(quote, collateral, [root], at, cache)
        check_appraisal(verified, AppraisalPolicy(simulated=True), at)
    except (Malformed, Unverified, Denied) as refusal:
        assert_type(refusal.code, str)
        return refusal.code
    assert_type(verified, VerifiedSgx | VerifiedTdx)
    assert_type(verified.tcb_status, TcbStatus | None)
    assert_type(verified.claims, Mapping[str, str | int | bool])
    if isinstance(verified, VerifiedSgx):
        assert_type(verified.report, ReportBody)
        return verified.report.mrenclave
    assert_type(verified.report, TdReport)
    return verified.report.mrtd


def test_a_program_that_takes_both() -> None:
    sgx, tdx = Forge(), TdForge()
    enclave, domain = Collateral.from_json(sgx.documents()), Collateral.from_json(tdx.documents())
    assert measurement(sgx.quote(), enclave, sgx.root, NOW) == sgx.enclave.mrenclave
    assert measurement(tdx.quote(), domain, sgx.root, NOW) == tdx.report.mrtd
    assert measurement(tdx.quote(), enclave, sgx.root, NOW) == "tcb-info-tee"


def test_a_program_that_takes_one() -> None:
    sgx, tdx = Forge(), TdForge()
    enclave = verify_sgx(sgx.quote(), Collateral.from_json(sgx.documents()), [sgx.root], NOW)
    assert_type(enclave, VerifiedSgx)
    assert_type(enclave.fmspc, str)
    domain = verify_tdx(tdx.quote(), Collateral.from_json(tdx.documents()), [sgx.root], NOW)
    assert_type(domain, VerifiedTdx)
    assert_type(domain.report.rtmrs, tuple[bytes, bytes, bytes, bytes])
    assert issubclass(KloisterError, Exception)
