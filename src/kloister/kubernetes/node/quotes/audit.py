from __future__ import annotations

import logging

from kloister.formats.protocol import aesm
from kloister.kubernetes.node.quotes.callers import Caller

_LOG = logging.getLogger("kloister.quotes")
_MRENCLAVE = slice(64, 96)  # of a REPORT (SDM 3D, 35.15)
_NAMES = {
    aesm.InitQuote.NUMBER: "InitQuoteEx",
    aesm.QuoteSize.NUMBER: "GetQuoteSizeEx",
    aesm.GetQuote.NUMBER: "GetQuoteEx",
    aesm.SelectKey.NUMBER: "SelectAttKeyID",
    aesm.KeyNumber.NUMBER: "GetSupportedAttKeyIDNum",
    aesm.KeyIds.NUMBER: "GetSupportedAttKeyIDs",
}


def name_of(number: int) -> str:
    """A call as AESM's interface names it; calls that are not served share one name."""
    return _NAMES.get(number, "other")


def quoted(caller: Caller, report: bytes) -> None:
    """Note who got a quote of which enclave."""
    _LOG.info("quote", extra={**_who(caller), "mrenclave": report[_MRENCLAVE].hex()})


def refused(caller: Caller, number: int, code: str) -> None:
    """Note who was refused what, and the reason code that `kloister explain` knows."""
    _LOG.warning("refused", extra={**_who(caller), "call": name_of(number), "code": code})


def _who(caller: Caller) -> dict[str, str | int]:
    return {"pod": caller.pod, "container": caller.container, "uid": caller.uid, "caller": caller.pid}
