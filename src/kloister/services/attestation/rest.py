"""The service over HTTP, as a plain ASGI function: what it answers most often should cost least."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ParamSpec, Protocol, TypeVar
from urllib.parse import parse_qs

from kloister import clock, entropy
from kloister.errors import Denied, KloisterError, Malformed, Unavailable
from kloister.formats.protocol.maa import read_object
from kloister.services.attestation import metadata
from kloister.services.attestation.auth import Authenticator, bearer
from kloister.services.attestation.ear import EarDesk
from kloister.services.attestation.evidence import NeedsTrying, NeedsWaiting
from kloister.services.attestation.kinds import JUDGED, Kind, kind_of
from kloister.services.attestation.lanes import Lane
from kloister.services.attestation.limits import RateLimit
from kloister.services.attestation.logs import AccessLog
from kloister.services.attestation.metrics import Metrics
from kloister.services.attestation.refusals import Refusal
from kloister.services.attestation.service import AttestationService
from kloister.services.attestation.settings import InstanceSettings, Settings
from kloister.services.attestation.tpm import TpmDesk

LOG = logging.getLogger("kloister.attestation")
VERSIONS = frozenset({
    "2018-09-01-preview", "2020-10-01", "2022-08-01", "2022-09-01-preview", "2023-04-01-preview", "2025-06-01",
    "2026-03-11-preview",
})  # fmt: skip
_JSON = b"application/json; charset=utf-8"
_OPERATIONAL = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json"})
_ADMITTED = "kloister.admitted"  # in the scope of a request that was counted against its client's rate
_REFUSALS = 2  # refused attestations per second that the audit notes, of all clients together
_MAX_REQUEST_ID = 64  # characters of a client's own name for its request

P = ParamSpec("P")
T = TypeVar("T")
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class Readiness(Protocol):
    """Whether the service can do its work."""

    def problems(self) -> Sequence[str]:
        """What is wrong; nothing where it is ready."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent."""

    body: bytes = field(repr=False)
    status: int = 200
    type: bytes = _JSON
    headers: Sequence[tuple[bytes, bytes]] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """What came, as far as routing needs it; the body is read by who wants it."""

    method: str
    path: str  # lower case, one slash between parts
    scope: Scope = field(repr=False)
    receive: Receive = field(repr=False)

    def header(self, name: bytes) -> str | None:
        """The first header of this name (lower case)."""
        found = next((value for key, value in self.scope["headers"] if key == name), None)
        return None if found is None else found.decode("latin-1")

    @property
    def client(self) -> str:
        """The peer's address."""
        peer = self.scope.get("client")
        return peer[0] if peer else "unknown"


class AttestationApp:
    """The ASGI application.

    Args:
        service: what is served.
        settings: instances and limits.
        authenticator: who may administer.
        metrics: counts answers.
        readiness: for `/readyz`.
        tpm: first rounds of TPM attestation.
        ear: results for relying parties of RATS.
        openapi: the document at `/openapi.json`.
        access: told of each answer.
    """

    def __init__(
        self,
        service: AttestationService,
        settings: Settings,
        authenticator: Authenticator,
        metrics: Metrics,
        readiness: Readiness,
        tpm: TpmDesk,
        ear: EarDesk,
        openapi: bytes,
        access: AccessLog | None = None,
    ) -> None:
        self._service = service
        self._settings = settings
        self._authenticator = authenticator
        self._metrics = metrics
        self._readiness = readiness
        self._tpm = tpm
        self._ear = ear
        self._openapi = openapi
        self._access = access
        self._rate = RateLimit(settings.limits_rate, clock.monotonic)
        self._by_authority = _by_authority(settings.instances)
        self._refusals = RateLimit(_REFUSALS, clock.monotonic)  # who proves nothing must not fill the disk
        self._bearers = Lane("bearers", 2, 32, settings.limits_seconds)
        self._fetches = Lane("fetches", 4, 128, settings.limits_seconds)
        self._drafts = Lane("drafts", 2, 16, settings.limits_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every failure becomes an answer."""
        if scope["type"] != "http":
            return
        begin = clock.monotonic()
        request = Request(scope["method"], _normal(scope["path"]), scope, receive)
        identifier, reason = _identifier(request), ""
        try:
            answer = await self._answer(request)
        except Exception as error:  # noqa: BLE001  a traceback must not reach a client
            answer, reason = _refusal(error, request, identifier)
        await _send(send, answer, identifier)
        self._answered(request, identifier, answer, reason, begin)

    def at_once(self, scope: Scope, body: bytes) -> tuple[int, Headers, bytes] | None:
        """Answer an attestation whose body is there, as by `__call__`, without a task of its own.

        Args:
            scope: of ASGI, `type`, `method` and `path` at least; given to `__call__` after this has declined.
            body: all of it.

        Returns:
            Status, headers and body; None where something else is asked, or something must be waited for.
        """
        begin = clock.monotonic()
        request = Request(scope["method"], _normal(scope["path"]), scope, _nothing)
        identifier, reason = _identifier(request), ""
        try:
            answer = self._attested_at_once(request, body)
        except Exception as error:  # noqa: BLE001  a traceback must not reach a client
            answer, reason = _refusal(error, request, identifier)
        if answer is None:
            return None
        self._answered(request, identifier, answer, reason, begin)
        return answer.status, _headers(answer, identifier), answer.body

    def _attested_at_once(self, request: Request, body: bytes) -> Answer | None:
        first, _, name = request.path[1:].partition("/")
        kind = kind_of(name)
        if first != "attest" or request.method != "POST" or kind not in JUDGED or not self._service.at_hand:
            return None
        self._check_rate(request)
        instance = self._instance(request)
        _check_version(request)
        self._check_size(len(body))
        try:
            token = self._service.attest(instance, kind, body, wait=False)
        except NeedsWaiting:
            request.scope[_ADMITTED] = True
            return None
        except KloisterError as error:
            self._metrics.verdict(kind, error.code)
            raise
        self._metrics.collateral("held")
        return self._accepted(kind, token)

    def _answered(self, request: Request, identifier: str, answer: Answer, reason: str, begin: float) -> None:
        self._metrics.answered(answer.status)
        if self._access is not None:
            facts: dict[str, str | int | float] = {
                "request": identifier, "method": request.method, "path": request.path, "status": answer.status,
                "reason": reason, "peer": request.client, "ms": round((clock.monotonic() - begin) * 1000, 2),
            }  # fmt: skip
            self._access.answered(clock.unix(), facts)

    async def _answer(self, request: Request) -> Answer:
        if request.path != "/healthz":
            self._check_rate(request)
        if request.path in _OPERATIONAL:
            _allow(request, "GET")
            return await self._operational(request.path)
        first, _, rest = request.path[1:].partition("/")
        if first == "attest":
            return await self._attest(request, rest)
        instance = self._instance(request)
        if request.path in ("/certs", "/.well-known/openid-configuration"):
            _allow(request, "GET")
            return await self._public(request.path, instance)
        if first == "v1":
            return await self._own(request, instance, rest)
        if first in ("policies", "certificates") or first.startswith("certificates:"):
            _check_version(request)
            return await self._administer(request, instance, rest)
        raise _no_path()

    async def _attest(self, request: Request, name: str) -> Answer:
        _allow(request, "POST")
        instance, kind = self._instance(request), kind_of(name)
        if kind is None:
            raise _no_path()
        _check_version(request)
        body = await self._body(request)
        if kind is Kind.TPM:
            await self._authenticated(request)
            return _json({"data": await self._apart(self._tpm.answer, instance, read_object(body))})
        if kind not in JUDGED:
            raise Malformed("attestation-type", f"Evidence of the type {kind} is not judged here.")
        try:
            token = await self._token(instance, kind, body)
        except KloisterError as error:
            self._metrics.verdict(kind, error.code)
            await self._note(instance, kind, error)
            raise
        return self._accepted(kind, token)

    def _accepted(self, kind: Kind, token: str) -> Answer:
        self._metrics.verdict(kind, "accepted")
        return Answer(b'{"token":"' + token.encode("ascii") + b'"}')

    async def _token(self, instance: InstanceSettings, kind: Kind, body: bytes) -> str:
        """At once where everything is at hand; in a lane of its own what strangers can make slow."""
        attest = self._service.attest
        try:
            if self._service.at_hand:
                token = attest(instance, kind, body, wait=False)
            else:
                token = await self._apart(attest, instance, kind, body, wait=False)
        except NeedsTrying:
            return await self._drafts.run(attest, instance, kind, body, wait=True)
        except NeedsWaiting:
            self._metrics.collateral("waited")
            return await self._fetches.run(attest, instance, kind, body, wait=True)
        self._metrics.collateral("held")
        return token

    async def _note(self, instance: InstanceSettings, kind: Kind, error: KloisterError) -> None:
        if self._settings.audit_attestations and self._refusals.admits("strangers"):
            await self._apart(self._service.refused, instance, kind, error)

    async def _public(self, path: str, instance: InstanceSettings) -> Answer:
        if path == "/certs":
            snapshot = await self._apart(self._service.snapshot, instance)
            return Answer(metadata.jwks(snapshot), headers=[(b"cache-control", b"max-age=300")])
        return Answer(metadata.openid_configuration(instance.base_url, str(self._settings.tokens_algorithm)))

    async def _administer(self, request: Request, instance: InstanceSettings, rest: str) -> Answer:
        actor, service = await self._authenticated(request), self._service
        if request.path == "/certificates":
            _allow(request, "GET")
            return _token_answer(await self._apart(service.certificates, instance))
        if request.path in ("/certificates:add", "/certificates:remove"):
            _allow(request, "POST")
            text, add = _jws(await self._body(request)), request.path.endswith(":add")
            return _token_answer(
                await self._apart(service.change_certificate, instance, text, actor, add=add)
            )  # fmt: skip
        name, colon, action = rest.partition(":")
        kind = kind_of(name)
        if kind is None or (colon and action != "reset"):
            raise _no_path()
        if colon:
            _allow(request, "POST")
            text = _jws(await self._body(request))
            return _token_answer(await self._apart(service.reset_policy, instance, kind, text, actor))
        if request.method == "PUT":
            text = _jws(await self._body(request))
            return _token_answer(await self._apart(service.set_policy, instance, kind, text, actor))
        _allow(request, "GET")
        return _token_answer(await self._apart(service.policy, instance, kind))

    async def _own(self, request: Request, instance: InstanceSettings, name: str) -> Answer:
        """What Azure does not have."""
        if name == "nonce":
            _allow(request, "POST")
            return _json(self._service.nonce(instance))
        if name == "appraise":
            _allow(request, "POST")
            body, owner = await self._body(request), await self._is_owner(request)
            return _json(await self._fetches.run(self._ear.answer, instance, body, owner=owner))
        if name == "audit":
            _allow(request, "GET")
            await self._authenticated(request)
            return _json(await self._apart(self._service.audit, _after(request)))
        raise _no_path()

    async def _is_owner(self, request: Request) -> bool:
        """Whether the caller administers; a token that says otherwise is no reason to refuse what needs none."""
        try:
            await self._authenticated(request)
        except KloisterError:
            return False
        return True

    def _check_rate(self, request: Request) -> None:
        if _ADMITTED not in request.scope and not self._rate.admits(request.client):
            raise Denied("rate-exceeded", "This client asks too often.", "Wait a second.")

    async def _apart(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Work that waits, in a thread, for so long as a request may take."""
        try:
            async with asyncio.timeout(self._settings.limits_seconds):
                return await asyncio.to_thread(work, *arguments, **named)
        except TimeoutError:
            raise Unavailable("request-late", "The request took too long.", "Try again.") from None

    async def _authenticated(self, request: Request) -> str:
        token = bearer(request.header(b"authorization"))
        return await self._bearers.run(self._authenticator.check, token, clock.unix())

    def _instance(self, request: Request) -> InstanceSettings:
        """The instance that the client means, by the header Host; the port may be another, behind a proxy."""
        host = (request.header(b"host") or "").lower()
        found = self._by_authority.get(host) or self._by_authority.get(_without_port(host))
        if found is None:
            raise Malformed("attestation-host", "There is no instance of this name here.", "See its base_url.")
        return found

    async def _body(self, request: Request) -> bytes:
        try:
            async with asyncio.timeout(self._settings.limits_seconds):
                return await self._received(request)
        except TimeoutError:
            raise Unavailable("body-late", "The body did not arrive in time.", "Try again.") from None

    async def _received(self, request: Request) -> bytes:
        parts, size = [], 0
        while True:
            message = await request.receive()
            if message["type"] != "http.request":
                raise Unavailable("body-late", "The client went away before its request was complete.")
            part = message.get("body", b"")
            size += len(part)
            self._check_size(size)
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def _check_size(self, size: int) -> None:
        limit = self._settings.limits_body
        if size > limit:
            raise Malformed("body-size", f"The body has more than {limit} bytes.")

    async def _operational(self, path: str) -> Answer:
        if path == "/metrics":
            return Answer(self._metrics.text(), type=b"text/plain; version=0.0.4; charset=utf-8")
        if path == "/openapi.json":
            return Answer(self._openapi)
        if path == "/healthz":
            return _json({"status": "alive"})
        problems = list(await self._apart(self._readiness.problems))
        status = "not ready" if problems else "ready"
        return _json({"status": status, "problems": problems}, 503 if problems else 200)


def _by_authority(instances: Sequence[InstanceSettings]) -> dict[str, InstanceSettings]:
    """By host and port; by host alone where only one instance has it."""
    found = {each.authority: each for each in instances}
    hosts = [_without_port(each.authority) for each in instances]
    alone = {host: each for host, each in zip(hosts, instances, strict=True) if hosts.count(host) == 1}
    return {**alone, **found}


def _without_port(authority: str) -> str:
    host, colon, port = authority.rpartition(":")
    return host if colon and port.isdigit() else authority


def _normal(path: str) -> str:
    """Lower case, one slash between parts, none at the end: as lenient as the original is."""
    return "/" + "/".join(part for part in path.lower().split("/") if part)


def _identifier(request: Request) -> str:
    given = request.header(b"x-ms-client-request-id") or ""
    return given if _is_name(given) else entropy.draw(10).hex()


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _MAX_REQUEST_ID and text.isascii() and text.replace("-", "").isalnum()


def _check_version(request: Request) -> None:
    query = request.scope.get("query_string", b"")
    if query == b"api-version=2020-10-01":  # nearly always
        return
    given = parse_qs(query.decode("latin-1"), max_num_fields=16).get("api-version", [])
    if len(given) != 1 or given[0] not in VERSIONS:
        raise Malformed(
            "api-version", "The api-version is missing or not known.", f"Known: {', '.join(sorted(VERSIONS))}."
        )


def _after(request: Request) -> int:
    query = request.scope.get("query_string", b"").decode("latin-1")
    text = parse_qs(query, max_num_fields=16).get("after", ["0"])[0]
    if not (text.isascii() and text.isdigit() and len(text) < 16):  # noqa: PLR2004  digits: below 2^53
        raise Malformed("audit-after", "after must be a sequence number.")
    return int(text)


def _allow(request: Request, method: str) -> None:
    if request.method != method:
        raise Malformed("attestation-method", f"This path takes {method} only.")


def _no_path() -> Malformed:
    return Malformed("attestation-path", "There is nothing at this path.", "See /openapi.json.")


def _jws(body: bytes) -> str:
    """A JWS as the body, or as a JSON string: clients do both."""
    try:
        text = body.decode("ascii").strip()
    except UnicodeDecodeError:
        raise Malformed("token-syntax", "The body is no JWS.") from None
    return text[1:-1] if text.startswith('"') and text.endswith('"') else text


def _json(value: Any, status: int = 200) -> Answer:
    return Answer(json.dumps(value).encode("ascii"), status)


def _token_answer(token: str) -> Answer:
    return _json({"token": token})


def _refusal(error: Exception, request: Request, identifier: str) -> tuple[Answer, str]:
    """The answer to what was raised, and its reason code."""
    if not isinstance(error, KloisterError):
        LOG.error(
            "internal error in %s %s", request.method, request.path, exc_info=error, extra={"request": identifier}
        )
        error = KloisterError("internal", f"This should not have happened: {type(error).__name__}.")
    refusal = Refusal.of(error)
    return Answer(refusal.body, refusal.status, headers=refusal.headers), error.code


def _headers(answer: Answer, identifier: str) -> Headers:
    return [
        (b"content-type", answer.type),
        (b"content-length", b"%d" % len(answer.body)),
        (b"x-ms-request-id", identifier.encode("ascii")),
        *answer.headers,
    ]


async def _nothing() -> Message:
    """The rest of a body that is there."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(send: Send, answer: Answer, identifier: str) -> None:
    start = {"type": "http.response.start", "status": answer.status, "headers": _headers(answer, identifier)}
    await send(start)
    await send({"type": "http.response.body", "body": answer.body})
