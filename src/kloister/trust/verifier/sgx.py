"""Verification of SGX quotes: version 3, and versions 4 and 5 with an SGX body. The steps are listed in `dcap.py`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from kloister.errors import Unverified
from kloister.formats.dcap import BodyType
from kloister.trust.evidence import _SEAL, TcbBasis, TcbResult, VerifiedSgx
from kloister.trust.root import Root
from kloister.trust.verifier.cache import VerifierCache
from kloister.trust.verifier.collateral import Collateral
from kloister.trust.verifier.dcap import Genuine, Request, Tee, verify_steps
from kloister.trust.verifier.tcb import converge

_TEE = Tee(name="sgx", info="SGX", identity="QE")


def verify_sgx(
    quote: bytes, collateral: Collateral, roots: Sequence[Root], at: datetime, cache: VerifierCache | None = None
) -> VerifiedSgx:
    """The evidence in an SGX quote, if it is genuine at the time `at`.

    Args:
        quote: raw bytes; padding after the signature data is accepted.
        collateral: documents for this platform's family; untrusted.
        roots: who may vouch: one of them must be at the end of every chain.
        at: aware; every validity is judged at this instant, ends included.
        cache: the caller's, for calls that see the same collateral, platforms or quoting enclaves again.

    Raises:
        Malformed: quote or collateral do not follow their formats.
        Unverified: not genuine; `TcbRevoked` if only because the TCB level is revoked. `tee-unexpected`: a TDX quote.
    """
    request = Request.of(quote, collateral, roots, at, cache)
    if request.quote.body_type is not BodyType.SGX:
        raise Unverified("tee-unexpected", "This is a TDX quote where one of SGX is wanted.")
    return judge_sgx(request)


def judge_sgx(request: Request) -> VerifiedSgx:
    """Steps 2 to 11 for a quote whose body is an SGX report."""
    judgement, root = verify_steps(request, _TEE, _judge)
    return VerifiedSgx(
        seal=_SEAL,
        tcb=judgement.tcb,
        fmspc=judgement.fmspc,
        report=request.quote.report,
        root=root,
        collateral_expires=judgement.expires,
        basis=judgement.basis,
    )


def _judge(genuine: Genuine) -> tuple[TcbResult, TcbBasis]:
    basis = genuine.basis()  # step 9
    return converge(basis.info, basis.level, [genuine.qe_level]), basis  # step 11
