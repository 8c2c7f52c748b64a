"""Verification of TDX quotes: version 4, and version 5 with any TD report. The steps are listed in `dcap.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from kloister.errors import Unverified
from kloister.formats.dcap import BodyType, QeLevel, TcbInfo, TdxModule
from kloister.formats.tdx import TdReport
from kloister.trust.evidence import _SEAL, TcbBasis, TcbResult, VerifiedTdx
from kloister.trust.root import Root
from kloister.trust.verifier.cache import VerifierCache
from kloister.trust.verifier.collateral import Collateral
from kloister.trust.verifier.dcap import Genuine, Request, Tee, verify_steps
from kloister.trust.verifier.tcb import converge, relaunch

_TEE = Tee(name="tdx", info="TDX", identity="TD_QE")


def verify_tdx(
    quote: bytes, collateral: Collateral, roots: Sequence[Root], at: datetime, cache: VerifierCache | None = None
) -> VerifiedTdx:
    """The evidence in a TDX quote, if it is genuine at the time `at`.

    Args:
        quote: raw bytes; padding after the signature data is accepted.
        collateral: documents for this platform's family, with TCB info and QE identity for TDX; untrusted.
        roots: who may vouch: one of them must be at the end of every chain.
        at: aware; every validity is judged at this instant, ends included.
        cache: the caller's, for calls that see the same collateral, platforms or quoting enclaves again.

    Raises:
        Malformed: quote or collateral do not follow their formats.
        Unverified: not genuine; `TcbRevoked` if only because the TCB level is revoked. `tee-unexpected`: an SGX quote.
    """
    request = Request.of(quote, collateral, roots, at, cache)
    if request.quote.body_type is BodyType.SGX:
        raise Unverified("tee-unexpected", "This is an SGX quote where one of TDX is wanted.")
    return judge_tdx(request)


def judge_tdx(request: Request) -> VerifiedTdx:
    """Steps 2 to 12 for a quote whose body is a TD report."""
    report = TdReport.parse(request.quote.body)
    looked_at = report.tee_tcb_svn + report.mrsignerseam + report.seam_attributes + (report.tee_tcb_svn2 or b"")
    proof = verify_steps(request, _TEE, partial(_judge, report), looked_at)
    judgement = proof.judgement
    return VerifiedTdx(
        seal=_SEAL,
        tcb=judgement.tcb,
        fmspc=judgement.fmspc,
        report=report,
        root=proof.platform.root,
        collateral_expires=judgement.expires,
        basis=judgement.basis,
    )


def _judge(report: TdReport, genuine: Genuine) -> tuple[TcbResult, TcbBasis]:
    tcb, basis = _result(genuine, report, report.tee_tcb_svn)  # steps 9 to 11
    if report.tee_tcb_svn2 is None:
        return tcb, basis
    current, now = _result(genuine, report, report.tee_tcb_svn2)
    advised = relaunch(tcb, current)  # step 12
    return advised, basis if advised is tcb else replace(basis, current=now)


def _result(genuine: Genuine, report: TdReport, tee_tcb_svn: bytes) -> tuple[TcbResult, TcbBasis]:
    """Steps 9 to 11 for the platform as TEE_TCB_SVN describes it: at the domain's launch, or now."""
    module = _match_module(genuine.info, report, tee_tcb_svn)
    basis = genuine.basis(tee_tcb_svn, module)
    enclaves = [genuine.qe_level] if module is None else [genuine.qe_level, module]
    return converge(genuine.info, basis.level, enclaves), basis


def _match_module(info: TcbInfo, report: TdReport, tee_tcb_svn: bytes) -> QeLevel | None:
    """Step 10: the module is Intel's; the highest level that it reaches, None for a module without levels.

    Raises:
        Unverified: `tdx-module-unknown`, `tdx-module-signer`, `tdx-module-attributes`, `tdx-module-svn-unsupported`.
    """
    svn, version = tee_tcb_svn[0], tee_tcb_svn[1]
    module = _module(info, version)
    if report.mrsignerseam != module.mrsigner:
        raise Unverified("tdx-module-signer", "The TDX module was signed by another key than the TCB info says.")
    masked = bytes(a & m for a, m in zip(report.seam_attributes, module.attributes_mask, strict=True))
    if masked != module.attributes:
        raise Unverified("tdx-module-attributes", "The TDX module's attributes are not those in the TCB info.")
    if not version:
        return None
    for level in module.levels:  # descending
        if svn >= level.isvsvn:
            return level
    lowest = f"; the lowest asks for {module.levels[-1].isvsvn}" if module.levels else ""
    raise Unverified(
        "tdx-module-svn-unsupported",
        f"No level of the module {module.id} is reached by its SVN {svn}{lowest}.",
        "Update the TDX module (a package of the host's operating system, or BIOS).",
    )


def _module(info: TcbInfo, version: int) -> TdxModule:
    name = f"TDX_{version:02X}" if version else ""
    modules = info.tdx_modules if version else (info.tdx_module,)
    for module in modules:
        if module is not None and module.id == name:
            return module
    raise Unverified(
        "tdx-module-unknown",
        f"The TCB info does not know the TDX module of version {version}.",
        "Get newer TCB info; if it does not know the module either, the module is not Intel's.",
    )
