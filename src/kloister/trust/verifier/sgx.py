"""Verification of SGX quotes: version 3, and versions 4 and 5 with an SGX body. The steps are listed in `dcap.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric import ec

from kloister.errors import Misused, Unverified
from kloister.formats.dcap import BodyType
from kloister.formats.pki import check_signature, raw_signature
from kloister.formats.pki.signature import RAW_SIZE
from kloister.trust.evidence import _SEAL, Sealed, TcbBasis, TcbResult, VerifiedSgx
from kloister.trust.root import Root
from kloister.trust.verifier.cache import VerifierCache
from kloister.trust.verifier.collateral import Collateral
from kloister.trust.verifier.dcap import Genuine, Proof, Request, Tee, verify_steps
from kloister.trust.verifier.tcb import converge

_TEE = Tee(name="sgx", info="SGX", identity="QE")
_V3 = 3
_REPORT_DATA = slice(48 + 320, 48 + 384)  # of a quote of version 3: the end of what is signed
_SIGNATURE = slice(48 + 384 + 4, 48 + 384 + 4 + RAW_SIZE)  # behind the size of the signature data


@dataclass(frozen=True, slots=True, kw_only=True)
class SgxPrecedent(Sealed):
    """A genuine quote of version 3, by which others are judged that differ in report data and signature only.

    All steps but the signature's look at what these have in common, at collateral and at roots: with the same ones
    they find the same again. The caller sees to it that collateral and roots are those of the precedent.

    Attributes:
        verified: what holds for the others, too, but for the report data.
        start, end: from when until when, both included, it holds.
        frame: all that quotes under it have in common.
    """

    VARYING: ClassVar[slice] = slice(_REPORT_DATA.start, _SIGNATURE.stop)  # where the others differ, if at all

    verified: VerifiedSgx
    start: datetime
    end: datetime
    key: ec.EllipticCurvePublicKey = field(repr=False)  # the attestation key
    frame: bytes = field(repr=False)

    @staticmethod
    def frame_of(quote: bytes) -> bytes:
        """A quote of version 3 without report data and signature."""
        return quote[: _REPORT_DATA.start] + quote[_REPORT_DATA.stop : _SIGNATURE.start] + quote[_SIGNATURE.stop :]

    def check(self, quote: bytes) -> bytes:
        """The report data (64 bytes) of another quote of the same frame, if its signature holds.

        Raises:
            Unverified: `quote-signature`. Misused: `precedent-frame`: this precedent says nothing of such a quote.
        """
        if self.frame_of(quote) != self.frame:
            raise Misused(
                "precedent-frame", "The quote differs from the precedent in more than report data and signature."
            )
        signature = raw_signature(quote[_SIGNATURE])
        check_signature(self.key, signature, quote[: _REPORT_DATA.stop], "quote-signature", "the quote")
        return quote[_REPORT_DATA]


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
    return judge_sgx(_asked(Request.of(quote, collateral, roots, at, cache)))


def prove_sgx(
    quote: bytes, collateral: Collateral, roots: Sequence[Root], at: datetime, cache: VerifierCache | None = None
) -> tuple[VerifiedSgx, SgxPrecedent | None]:
    """As `verify_sgx`, and the precedent that the quote is, if its version is 3."""
    request = _asked(Request.of(quote, collateral, roots, at, cache))
    proof = verify_steps(request, _TEE, _judge)
    verified = _verified(request, proof)
    if request.quote.header.version != _V3:
        return verified, None
    frame = SgxPrecedent.frame_of(quote)
    dates = {"start": proof.start, "end": proof.end}
    return verified, SgxPrecedent(seal=_SEAL, verified=verified, key=proof.key, frame=frame, **dates)


def _asked(request: Request) -> Request:
    if request.quote.body_type is not BodyType.SGX:
        raise Unverified("tee-unexpected", "This is a TDX quote where one of SGX is wanted.")
    return request


def judge_sgx(request: Request) -> VerifiedSgx:
    """Steps 2 to 11 for a quote whose body is an SGX report."""
    return _verified(request, verify_steps(request, _TEE, _judge))


def _verified(request: Request, proof: Proof) -> VerifiedSgx:
    judgement = proof.judgement
    return VerifiedSgx(
        seal=_SEAL,
        tcb=judgement.tcb,
        fmspc=judgement.fmspc,
        report=request.quote.report,
        root=proof.platform.root,
        collateral_expires=judgement.expires,
        basis=judgement.basis,
    )


def _judge(genuine: Genuine) -> tuple[TcbResult, TcbBasis]:
    basis = genuine.basis()  # step 9
    return converge(basis.info, basis.level, [genuine.qe_level]), basis  # step 11
