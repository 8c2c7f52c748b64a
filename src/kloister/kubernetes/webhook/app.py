"""The webhook's HTTP interface, a plain ASGI application: POST /mutate, GET /healthz, /readyz, /metrics."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from kloister import clock
from kloister.errors import KloisterError, Malformed
from kloister.kubernetes.webhook.mutate import Settings
from kloister.kubernetes.webhook.review import LIMIT, answer

LOG = logging.getLogger("kloister.webhook")
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
_JSON, _TEXT = b"application/json", b"text/plain; charset=utf-8"
_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1)  # seconds; the aim is a p99 of 10 ms


class Webhook:
    """The application.

    Args:
        settings: called for each request, since the cluster's nodes change.
        ready: whether the API server trusts our certificate yet.
    """

    def __init__(self, settings: Callable[[], Settings], ready: Callable[[], bool]) -> None:
        self._settings = settings
        self._ready = ready
        self._registry = CollectorRegistry()
        self._answers = Counter("kloister_webhook_answers", "Pods by outcome.", ["outcome"], registry=self._registry)
        self._seconds = Histogram(
            "kloister_webhook_seconds", "Seconds from request to answer.", buckets=_BUCKETS, registry=self._registry
        )

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request; nothing but HTTP is served."""
        if scope["type"] != "http":
            return
        status, kind, body = await self._answer(scope["method"], scope["path"], receive)
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, method: str, path: str, receive: Receive) -> tuple[int, bytes, bytes]:
        if (method, path) == ("POST", "/mutate"):
            return await self._mutate(receive)
        if (method, path) == ("GET", "/healthz"):
            return 200, _TEXT, b"ok\n"
        if (method, path) == ("GET", "/readyz"):
            return (200, _TEXT, b"ok\n") if self._ready() else (503, _TEXT, b"the API server does not trust us yet\n")
        if (method, path) == ("GET", "/metrics"):
            return 200, _TEXT, generate_latest(self._registry)
        return 404, _TEXT, b"not found\n"

    async def _mutate(self, receive: Receive) -> tuple[int, bytes, bytes]:
        start = clock.monotonic()
        try:
            review = answer(await _body(receive), self._settings())
        except KloisterError as error:
            return self._counted("malformed", 400, {"error": error.as_json()})
        except Exception as error:  # a traceback must not reach the API server
            LOG.exception("internal error")
            return self._counted(
                "error", 500, {"error": {"code": "internal", "text": type(error).__name__, "hint": ""}}
            )
        self._seconds.observe(clock.monotonic() - start)
        return self._counted(_outcome(review["response"]), 200, review)

    def _counted(self, outcome: str, status: int, document: Message) -> tuple[int, bytes, bytes]:
        self._answers.labels(outcome).inc()
        return status, _JSON, json.dumps(document, separators=(",", ":")).encode()


def _outcome(response: Message) -> str:
    return "refused" if not response["allowed"] else "patched" if "patch" in response else "unchanged"


async def _body(receive: Receive) -> bytes:
    data = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Malformed("admission-review", "The caller went away.", "Only the API server calls this address.")
        data += message.get("body", b"")
        more = message.get("more_body", False)
        if len(data) > LIMIT:
            raise Malformed("admission-review", f"The body has more than {LIMIT} bytes.", "No pod is that large.")
    return bytes(data)
