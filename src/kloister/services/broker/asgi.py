"""What both interfaces share: refusing browsers and wrong hosts, limits on bodies, errors as JSON."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from kloister.errors import Denied, KloisterError, Malformed, Unavailable

LOG = logging.getLogger("kloister.broker")
BODY_SECONDS = 20.0  # for the whole body: a guest sends 10 kB
_NOT_FOUND = frozenset(("policy-unknown", "refusal-unknown", "secret-unknown"))
_TOO_MANY = frozenset(("too-many-challenges", "too-many-requests"))

Handler = Callable[[Request], Awaitable[Response]]


class Guard:
    """Stands before an application: no browser, and only the hosts named.

    A page in a browser can send requests to a local address; it always sends Origin with those that could do harm,
    and a rebound DNS name shows in Host.

    Args:
        app: the application behind it.
        hosts: the values of Host that are served; None where the client does not know our name.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None) -> None:
        self._app = app
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope["headers"])
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await _error(refusal)(scope, receive, send)

    def _refusal(self, headers: Collection[tuple[bytes, bytes]]) -> KloisterError | None:
        names = [name.lower() for name, _ in headers]
        if b"origin" in names or b"sec-fetch-site" in names:
            return Denied("origin-refused", "Web pages cannot use this interface.", "Use the kloister command.")
        hosts = [value.decode("latin-1").lower() for name, value in headers if name.lower() == b"host"]
        if self._hosts is not None and (len(hosts) != 1 or hosts[0] not in self._hosts):
            return Denied("host-refused", "The request names a host that this interface does not serve.")
        return None


async def body(request: Request, content_types: Collection[str], limit: int) -> bytes:
    """The request's body, at most `limit` bytes, of one of the content types.

    Raises:
        Malformed: `content-type`, `body-size`. Unavailable: `body-late`.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in content_types:
        raise Malformed("content-type", f"The body must be {' or '.join(sorted(content_types))}.")
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                data += chunk
                if len(data) > limit:
                    raise Malformed("body-size", f"The body has more than {limit} bytes.")
    except TimeoutError:
        raise Unavailable("body-late", "The body did not arrive in time.", "Try again.") from None
    return bytes(data)


def answering(handler: Handler) -> Handler:
    """The handler with every failure turned into JSON; what is a bug is logged by its type only."""

    async def wrapped(request: Request) -> Response:
        try:
            return await handler(request)
        except KloisterError as error:
            return _error(error)
        except Exception as error:  # a traceback must not reach a client
            LOG.exception("internal error in %s", request.url.path)
            return _error(KloisterError("internal", f"This should not have happened: {type(error).__name__}."))

    return wrapped


def _error(error: KloisterError) -> Response:
    return JSONResponse({"error": error.as_json()}, status_of(error))


def status_of(error: KloisterError) -> int:
    """The HTTP status of an error's family."""
    if error.code in _NOT_FOUND:
        return 404
    if error.code in _TOO_MANY:
        return 429
    families: list[tuple[type[KloisterError], int]] = [(Malformed, 400), (Denied, 403), (Unavailable, 503)]
    return next((status for family, status in families if isinstance(error, family)), 500)


def json_response(value: Any, status: int = 200) -> Response:
    """A JSON answer that no cache keeps."""
    return JSONResponse(value, status, {"Cache-Control": "no-store"})
