"""As much of a quote as can be tried by who is no enclave.

The last call has a REPORT of zeros. Intel's quoting enclave checks a REPORT's MAC with its own key before it signs, so
error 47 for this one says that the enclave is loaded, its key certified and the platform's certificates there; what
is not tried is the signature itself, which the next quote of a pod shows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from kloister.errors import Unavailable, Unverified
from kloister.formats.protocol import aesm
from kloister.formats.protocol.aesm import Answer, Asked
from kloister.formats.protocol.aesm_codes import AesmCode

_KEY_ID = 32  # bytes of an attestation key's name
_REPORT = 432  # bytes, sgx_report_t
_LEAST, _MOST = 1020, 128 * 1024  # bytes of a quote: without certification data; with far more than there is
_ABOUT_THE_REPORT = (AesmCode.INVALID_REPORT, AesmCode.PARAMETER)


async def try_quote(ask: Callable[[Asked], Awaitable[Answer]]) -> None:
    """Ask as a client does for its first quote.

    Raises:
        Unavailable: as `ask`, and a refusal as `aesm-*`.
        Unverified: `aesm-trial`: a quote was made for a REPORT of nobody, or none can have the size that is said.
    """
    _require(await ask(aesm.InitQuote(aesm.ECDSA_P256, want_key=True, size=_KEY_ID)))
    size = _require(await ask(aesm.QuoteSize(aesm.ECDSA_P256))).count or 0
    if not _LEAST <= size <= _MOST:
        raise Unverified("aesm-trial", f"A quote is said to have {size} bytes.", "See `journalctl -u aesmd`.")
    answer = await ask(aesm.GetQuote(bytes(_REPORT), aesm.ECDSA_P256, size=size))
    if answer.code == AesmCode.SUCCESS:
        raise Unverified(
            "aesm-trial",
            "A quote was made for a REPORT that no enclave made.",
            "What listens there is no quoting enclave: see who does.",
        )
    if answer.code not in _ABOUT_THE_REPORT:
        _require(answer)


def _require(answer: Answer) -> Answer:
    if answer.code != AesmCode.SUCCESS:
        raise Unavailable(
            f"aesm-{answer.code}",
            f"AESM refuses with error {answer.code}.",
            f"`kloister explain aesm-{answer.code}` says what to do.",
        )
    return answer
