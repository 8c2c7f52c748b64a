"""One request and its answer, as ASGI brings and takes them."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs

from kloister import entropy
from kloister.errors import KloisterError, Malformed
from kloister.services.attestation.refusals import Refusal

LOG = logging.getLogger("kloister.attestation")
VERSIONS = frozenset({
    "2018-09-01-preview", "2020-10-01", "2022-08-01", "2022-09-01-preview", "2023-04-01-preview", "2025-06-01",
    "2026-03-11-preview",
})  # fmt: skip
_JSON = b"application/json; charset=utf-8"
_MAX_REQUEST_ID = 64  # characters of a client's own name for its request
_MAX_PARAMETERS = 16  # of a query
_ALLOWED = "kloister.allowed"  # in the scope of a request whose path takes other methods: which
COUNTED = "kloister.counted"  # in the scope of a request that was counted against its client's rate before

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent."""

    body: bytes = field(repr=False)
    status: int = 200
    type: bytes = _JSON
    headers: Sequence[tuple[bytes, bytes]] = ()

    @classmethod
    def of(cls, value: Any, status: int = 200) -> Answer:
        """A JSON document."""
        return cls(json.dumps(value).encode("ascii"), status)

    @classmethod
    def of_token(cls, token: str) -> Answer:
        """A token (a JWS: ASCII without quotes), as all of Azure's answers have it."""
        return cls(b'{"token":"' + token.encode("ascii") + b'"}')

    def all_headers(self, identifier: str) -> Headers:
        """Its headers; `identifier` is the request's name."""
        return [
            (b"content-type", self.type),
            (b"content-length", b"%d" % len(self.body)),
            (b"x-ms-request-id", identifier.encode("ascii")),
            *self.headers,
        ]

    def head(self, identifier: str) -> bytes:
        """The same as lines of HTTP/1.1."""
        lines = b"content-type: %b\r\ncontent-length: %d\r\nx-ms-request-id: %b\r\n"
        more = b"".join([b"%b: %b\r\n" % header for header in self.headers]) if self.headers else b""
        return lines % (self.type, len(self.body), identifier.encode("ascii")) + more

    async def send(self, send: Send, identifier: str) -> None:
        """Send it."""
        start = {"type": "http.response.start", "status": self.status, "headers": self.all_headers(identifier)}
        await send(start)
        await send({"type": "http.response.body", "body": self.body})


async def _nothing() -> Message:
    """The rest of a body that is there."""
    return {"type": "http.request", "body": b"", "more_body": False}


@dataclass(frozen=True, slots=True)
class Request:
    """What came, as far as routing needs it; the body is read by who wants it."""

    method: str
    path: str  # lower case, one slash between parts
    scope: Scope = field(repr=False)
    receive: Receive = field(repr=False)

    @classmethod
    def of(cls, scope: Scope, receive: Receive = _nothing) -> Request:
        """Of a scope of ASGI; the path is read as leniently as the original does."""
        path = "/" + "/".join(part for part in scope["path"].lower().split("/") if part)
        return cls(scope["method"], path, scope, receive)

    def header(self, name: bytes) -> str | None:
        """The first header of this name (lower case)."""
        found = next((value for key, value in self.scope["headers"] if key == name), None)
        return None if found is None else found.decode("latin-1")

    @property
    def client(self) -> str:
        """The peer's address."""
        peer = self.scope.get("client")
        return peer[0] if peer else "unknown"

    @property
    def identifier(self) -> str:
        """The client's name for the request, else a new one each time."""
        return identifier_of(self.header(b"x-ms-client-request-id") or "")

    def parameters(self, name: str) -> list[str]:
        """The values of a parameter of the query."""
        query = self.scope.get("query_string", b"").decode("latin-1")
        try:
            return parse_qs(query, max_num_fields=_MAX_PARAMETERS).get(name, [])
        except ValueError:
            raise Malformed("query-size", f"The query has more than {_MAX_PARAMETERS} parameters.") from None

    def allow(self, *methods: str) -> None:
        """Return if it is one of these methods. Raises `Malformed`: `attestation-method`."""
        if self.method not in methods:
            self.scope[_ALLOWED] = ", ".join(methods).encode("ascii")
            raise Malformed("attestation-method", f"This path takes {' and '.join(methods)} only.")

    def told(self, refusal: Answer) -> Answer:
        """With the methods that `allow` missed, which the answer must name (RFC 9110, section 15.5.6)."""
        allowed = self.scope.get(_ALLOWED)
        return refusal if allowed is None else replace(refusal, headers=[*refusal.headers, (b"allow", allowed)])

    def check_version(self) -> None:
        """Return if it names a version that is known. Raises `Malformed`: `api-version`."""
        if self.scope.get("query_string", b"") == b"api-version=2020-10-01":  # nearly always
            return
        given = self.parameters("api-version")
        check_version(given[0] if len(given) == 1 else "")


def identifier_of(given: str) -> str:
    """The client's own name for a request, else a new one."""
    return given if _is_name(given) else entropy.draw(10).hex()


def check_version(version: str) -> None:
    """Return if it is a version that is known. Raises `Malformed`: `api-version`."""
    if version not in VERSIONS:
        raise Malformed(
            "api-version", "The api-version is missing or not known.", f"Known: {', '.join(sorted(VERSIONS))}."
        )


def refused(error: Exception, what: str, identifier: str) -> tuple[Answer, str]:
    """The answer to what was raised, and its reason code; `what` was asked, method and path."""
    if not isinstance(error, KloisterError):
        LOG.error("internal error in %s", what, exc_info=error, extra={"request": identifier})
        error = KloisterError("internal", f"This should not have happened: {type(error).__name__}.")
    refusal = Refusal.of(error)
    return Answer(refusal.body, refusal.status, headers=refusal.headers), error.code


def no_path() -> Malformed:
    """The refusal of a path that nothing stands at."""
    return Malformed("attestation-path", "There is nothing at this path.", "See /openapi.json.")


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _MAX_REQUEST_ID and text.isascii() and text.replace("-", "").isalnum()
