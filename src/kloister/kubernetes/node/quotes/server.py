from __future__ import annotations

import asyncio
import contextlib
import logging
import socket

from kloister.errors import KloisterError, Malformed, Misconfigured
from kloister.formats.dcap.quote import MAX_SIZE
from kloister.formats.protocol import aesm
from kloister.formats.protocol.aesm import Answer
from kloister.formats.protocol.aesm_codes import AesmCode, reason_of
from kloister.kubernetes.node.quotes import audit
from kloister.kubernetes.node.quotes.backend import QuoteBackend, code_of
from kloister.kubernetes.node.quotes.callers import Callers
from kloister.kubernetes.node.quotes.exchange import Exchange
from kloister.kubernetes.node.quotes.forward import ForwardBackend
from kloister.kubernetes.node.quotes.limits import Accounts
from kloister.kubernetes.node.quotes.listening import Listeners, affordable
from kloister.kubernetes.node.quotes.metrics import QuoteMetrics
from kloister.kubernetes.node.quotes.readiness import NOT_TRIED, Readiness
from kloister.kubernetes.node.quotes.settings import QuoteSettings

_LOG = logging.getLogger("kloister.quotes")
_ACCEPTED = 8  # connections accepted before others of the loop have their turn
_CALLERS_OWN = (  # refusals that say nothing of what makes the quotes
    AesmCode.PARAMETER,
    AesmCode.BUSY,
    AesmCode.UNSUPPORTED_ATT_KEY_ID,
    AesmCode.ATT_KEY_NOT_INITIALIZED,
    AesmCode.INVALID_REPORT,
    AesmCode.NO_QE_REPORT,
)
_SWEEP = 0.5  # seconds between two looks for what is overdue


class QuoteServer:
    """AESM's socket for the pods of a node.

    Args:
        settings: where it listens, and its limits.
        backend: makes the quotes; closed by `serve`.
        metrics: counts them.
    """

    def __init__(self, settings: QuoteSettings, backend: QuoteBackend, metrics: QuoteMetrics) -> None:
        self.readiness: Readiness = NOT_TRIED
        self.quote: bytes | None = None
        """The latest quote of this platform, whoever asked for it; it says nothing that is secret."""
        self._retry = asyncio.Event()  # set where a caller met what no caller is to blame for
        self._settings = settings
        self._backend = backend
        self._metrics = metrics
        self._limits = settings.limits
        self._callers = Callers(settings.proc)
        self._accounts = Accounts(settings.limits)
        self._open: dict[Exchange, None] = {}  # in the order in which they came
        self._most = settings.limits.connections

    async def serve(self) -> None:
        """Serve until cancelled.

        Raises:
            Misconfigured: `quote-socket`, `quote-loop`.
        """
        if isinstance(self._backend, ForwardBackend) and self._backend.path.resolve() == self._settings.path.resolve():
            raise Misconfigured(
                "quote-loop",
                f"The helper would ask itself: it listens at {self._settings.path}, where it looks for aesmd.",
                "Give the helper a folder of its own.",
            )
        self._most = affordable(self._limits.connections)
        listeners = Listeners(self._settings)
        loop = asyncio.get_running_loop()
        for sock in listeners.sockets:
            loop.add_reader(sock, self._accept, sock)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._sweep())
                tasks.create_task(self._try())
        finally:
            for sock in listeners.sockets:
                loop.remove_reader(sock)
            listeners.close()
            for exchange in list(self._open):
                exchange.close()
            await self._backend.close()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTED):
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError:  # no descriptor is left in this process or machine: the oldest idle one gives its own
                self._make_place("descriptors")
                return
            self._admit(sock)

    def _admit(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        caller = self._callers.of(sock)
        account = self._accounts.of(caller.key)
        if not account.may_connect:
            self._metrics.refused("caller-connections")
            sock.close()
            return
        if len(self._open) >= self._most and not self._make_place("connections"):
            self._metrics.refused("connections")
            sock.close()
            return
        deadline = asyncio.get_running_loop().time() + self._limits.request_patience
        exchange = Exchange(sock, caller, account, deadline, self._whole, self._over)
        account.connections += 1
        self._open[exchange] = None
        self._metrics.connections.set(len(self._open))
        exchange.begin()

    def _make_place(self, reason: str) -> bool:
        """End the oldest connection for which nothing is being worked on."""
        idle = next((exchange for exchange in self._open if exchange.deadline is not None), None)
        if idle is not None:
            self._metrics.refused(reason)
            idle.close()
        return idle is not None

    def _over(self, exchange: Exchange) -> None:
        del self._open[exchange]
        exchange.account.connections -= 1
        self._metrics.connections.set(len(self._open))

    def _whole(self, exchange: Exchange, body: bytes) -> None:
        """A request is there; refuse it at once, or have it answered when its caller's turn comes."""
        now = asyncio.get_running_loop().time()
        if not exchange.account.requests.take(now):
            self._refuse(exchange, aesm.request_number(body), AesmCode.BUSY, "aesm-rate")
            return
        try:
            request = aesm.parse_request(body)
        except Malformed as error:
            self._refuse(exchange, aesm.request_number(body), AesmCode.PARAMETER, error.code)
            return
        if isinstance(request, aesm.Legacy):
            self._refuse(exchange, request, AesmCode.SERVICE_UNAVAILABLE, "aesm-legacy")
        else:
            exchange.task = asyncio.create_task(self._serve(exchange, request, now))

    async def _serve(self, exchange: Exchange, request: aesm.Asked, since: float) -> None:
        try:
            async with asyncio.timeout(self._limits.backend_patience), exchange.account.window:
                answer = await self._backend.answer(request)
        except TimeoutError:
            self._refuse(exchange, request.NUMBER, AesmCode.BUSY, "aesm-patience")
        except KloisterError as error:
            self._retry.set()
            self._refuse(exchange, request.NUMBER, code_of(error), error.code)
        except Exception:  # noqa: BLE001 (one request must not end the helper of all)
            _LOG.exception("a request failed in a way that it should not")
            self._refuse(exchange, request.NUMBER, AesmCode.UNEXPECTED, "aesm-internal")
        else:
            self._answer(exchange, request, answer, since)

    def _answer(self, exchange: Exchange, request: aesm.Asked, answer: Answer, since: float) -> None:
        if answer.code != AesmCode.SUCCESS:
            if answer.code not in _CALLERS_OWN:
                self._retry.set()
            self._refuse(exchange, request.NUMBER, answer.code, reason_of(answer.code))
            return
        now = asyncio.get_running_loop().time()
        self._send(exchange, answer, now)  # first: the client waits for it, and for nothing below
        self._metrics.request(audit.name_of(request.NUMBER), "ok")
        if isinstance(request, aesm.GetQuote):
            self._metrics.quote(exchange.caller.pod, now - since)
            self._note(answer.quote)
            audit.quoted(exchange.caller, request.report)

    def _refuse(self, exchange: Exchange, number: int, code: int, reason: str) -> None:
        now = asyncio.get_running_loop().time()
        self._metrics.request(audit.name_of(number), reason)
        if exchange.account.lines.take(now):
            audit.refused(exchange.caller, number, reason)
        self._send(exchange, Answer(number, code), now)

    def _send(self, exchange: Exchange, answer: Answer, now: float) -> None:
        exchange.task = None  # it is the one that runs now: closing the exchange must not cancel it
        exchange.answer(aesm.build_answer(answer), now + self._limits.request_patience)

    async def _sweep(self) -> None:
        """End what is overdue: who sends or reads too slowly gives its place to others."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP)
            now = loop.time()
            for exchange in [one for one in self._open if one.deadline is not None and one.deadline < now]:
                self._metrics.refused("slow")
                exchange.close()
            self._accounts.sweep(now)

    async def _try(self) -> None:
        """Make a quote now and then, as a pod would."""
        while True:
            before = self.readiness
            try:
                async with asyncio.timeout(self._limits.backend_patience):
                    self._note(await self._backend.trial())
                self.readiness = Readiness(ready=True)
            except TimeoutError:
                self.readiness = Readiness(ready=False, code="aesm-patience", text="No quote was made in time.")
            except KloisterError as error:
                self.readiness = Readiness.of(error)
            except Exception:  # noqa: BLE001 (the helper goes on; what failed is in its log)
                _LOG.exception("a trial failed in a way that it should not")
                self.readiness = Readiness(ready=False, code="aesm-internal", text="The trial failed.")
            self._metrics.ready.set(self.readiness.ready)
            if self.readiness != before:
                _LOG.warning("%s", _said(self.readiness))
            await self._pause()

    def _note(self, quote: bytes | None) -> None:
        if quote is not None:
            self.quote = quote[:MAX_SIZE]  # what is beyond is padding, as much as its caller liked
            self._metrics.made.set_to_current_time()

    async def _pause(self) -> None:
        """Until the next trial is due, or a caller's failure says that it is; not more often than while it fails."""
        await asyncio.sleep(self._settings.retrial)
        if self.readiness.ready:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._retry.wait(), max(0.0, self._settings.trial - self._settings.retrial))
        self._retry.clear()


def _said(readiness: Readiness) -> str:
    if readiness.ready:
        return "quotes can be had"
    return f"no quotes: {readiness.text} [{readiness.code}] {readiness.hint}"
