from __future__ import annotations

import hashlib
from pathlib import Path

from kloister import entropy
from kloister.errors import Denied, KloisterError, Unverified
from kloister.formats.dcap.quote import Quote
from kloister.formats.pki import check_signature, p256_key, raw_signature
from kloister.formats.protocol import aesm
from kloister.formats.protocol.aesm import Answer, Asked
from kloister.formats.protocol.aesm_codes import AesmCode
from kloister.formats.protocol.platform import Plain
from kloister.formats.protocol.quoting import KEY_ID, NONCE, REPORT, QeInfo, Quoted, QuoteReport, ReportContent
from kloister.formats.protocol.typed import octets
from kloister.kubernetes.node.quotes.keys import check_key_id, of_keys, parameter
from kloister.kubernetes.node.quotes.link import PlatformLink

_MOST_BUFFER = 128 * 1024  # bytes that a client may have its quote padded to; Gramine takes 8 KiB
_TRIAL = b"Kloister quote helper, trial 1\n"  # the measured content of the enclave that tries quotes


class SimulatedBackend:
    """Quotes of the simulated platform, by its control socket.

    Args:
        control: path of that socket.
    """

    name = "simulated"

    def __init__(self, control: Path) -> None:
        self._link = PlatformLink(control)

    async def answer(self, request: Asked) -> Answer:
        """As AESM's quote service answers. Raises what the platform refuses, `platform-unreachable`, `peer-gone`."""
        match request:
            case aesm.InitQuote() | aesm.QuoteSize() | aesm.GetQuote():
                refusal = check_key_id(request.key_id)
                return Answer(request.NUMBER, refusal) if refusal else await self._of_key(request)
            case _:
                return of_keys(request)

    async def trial(self) -> bytes:
        """A quote of an enclave of our own, its signature checked. Raises as `answer`, and `aesm-trial`."""
        info = await self._info()
        data = hashlib.sha256(entropy.draw(NONCE)).digest() * 2
        asked = ReportContent(_TRIAL, info.target_info, data)
        report = octets(await self._link.ask(asked.build()), "report", "platform", REPORT)
        answer = await self.answer(aesm.GetQuote(report, aesm.ECDSA_P256, size=info.quote_size))
        try:
            if answer.quote is None:
                raise Unverified("aesm-trial", f"The trial was answered with error {answer.code}.")
            _check_trial(answer.quote, report)
        except KloisterError as error:
            raise Unverified(
                "aesm-trial", f"The quote of the trial is not as it must be: {error.text}", "Start the platform anew."
            ) from None
        return answer.quote

    async def close(self) -> None:
        """End the connection to the platform."""
        self._link.close()

    async def _of_key(self, request: aesm.InitQuote | aesm.QuoteSize | aesm.GetQuote) -> Answer:
        if isinstance(request, aesm.GetQuote):
            return await self._quote(request)
        info = await self._info()
        if isinstance(request, aesm.QuoteSize):
            return Answer(request.NUMBER, count=info.quote_size)
        if request.want_key and (request.size or 0) < KEY_ID:
            return parameter(request)
        key = info.key_id if request.want_key else None
        return Answer(request.NUMBER, target_info=info.target_info, key_size=KEY_ID, key=key)

    async def _quote(self, request: aesm.GetQuote) -> Answer:
        wrap = request.qe_report_info or b""
        if len(request.report) != REPORT or len(wrap) not in (0, aesm.QE_REPORT_INFO_SIZE):
            return parameter(request)
        nonce, target = (wrap[:NONCE], wrap[NONCE:-REPORT]) if wrap else (None, None)
        try:
            quoted = Quoted.parse(await self._link.ask_quote(QuoteReport(request.report, nonce, target).build()))
        except Denied as error:
            return _refused(request, error)
        if not len(quoted.quote) <= request.size <= _MOST_BUFFER:
            return parameter(request)
        told = wrap[:-REPORT] + quoted.qe_report if quoted.qe_report else None
        return Answer(request.NUMBER, quote=quoted.quote.ljust(request.size, b"\0"), qe_report_info=told)

    async def _info(self) -> QeInfo:
        return QeInfo.parse(await self._link.ask(Plain("qeTargetInfo").build()))


def _refused(request: aesm.GetQuote, error: Denied) -> Answer:
    """The number that AESM has for what the quoting enclave refuses; raises what is none of its refusals."""
    for prefix, code in (("report-", AesmCode.INVALID_REPORT), ("targetinfo-", AesmCode.PARAMETER)):
        if error.code.startswith(prefix):
            return Answer(request.NUMBER, code)
    raise error


def _check_trial(data: bytes, report: bytes) -> None:
    quote = Quote.parse(data)
    if quote.body != report[: len(quote.body)]:
        raise Unverified("aesm-trial", "It is of another report.")
    key = p256_key(quote.authentication.attestation_key, "attestation key")
    check_signature(key, raw_signature(quote.authentication.signature), quote.signed, "aesm-trial", "quote")
