"""The service over HTTP, as a plain ASGI function: what it answers most often should cost least."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from kloister import clock
from kloister.errors import Denied, KloisterError, Malformed
from kloister.formats.protocol.maa import read_object
from kloister.services.attestation import metadata
from kloister.services.attestation.administration import Administration
from kloister.services.attestation.auth import Authenticator
from kloister.services.attestation.bodies import Bodies
from kloister.services.attestation.ear import EarDesk
from kloister.services.attestation.exchange import (
    COUNTED,
    Answer,
    Receive,
    Request,
    Scope,
    Send,
    check_version,
    identifier_of,
    no_path,
    refused,
)
from kloister.services.attestation.heads import Head
from kloister.services.attestation.hosts import Hosts
from kloister.services.attestation.kinds import JUDGED, Kind, kind_of
from kloister.services.attestation.lanes import Lane, Threads
from kloister.services.attestation.limits import RateLimit
from kloister.services.attestation.logs import AccessLog
from kloister.services.attestation.metrics import Metrics
from kloister.services.attestation.rights import Right
from kloister.services.attestation.service import AttestationService
from kloister.services.attestation.settings import InstanceSettings, Settings
from kloister.services.attestation.tpm import TpmDesk
from kloister.services.attestation.waiting import NeedsTrying, NeedsWaiting

_OPERATIONAL = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json"})
_REFUSALS = 2  # refused attestations per second that the audit notes, of all clients together


class Readiness(Protocol):
    """Whether the service can do its work."""

    def problems(self) -> Sequence[str]:
        """What is wrong; nothing where it is ready."""

    def collateral(self) -> Sequence[dict[str, Any]]:
        """What expires first of what is held."""


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
        self._metrics = metrics
        self._readiness = readiness
        self._tpm = tpm
        self._ear = ear
        self._openapi = openapi
        self._access = access
        self._rate = RateLimit(settings.limits_rate, clock.monotonic)
        self._hosts = Hosts(settings.instances)
        self._bodies = Bodies(settings.limits_body, settings.limits_seconds)
        self._threads = Threads(settings.limits_seconds)
        self._refusals = RateLimit(_REFUSALS, clock.monotonic)  # who proves nothing must not fill the disk
        bearers = Lane("bearers", 2, 32, settings.limits_seconds)
        self._administration = Administration(service, authenticator, self._bodies, self._threads, bearers)
        self._fetches = Lane("fetches", 4, 128, settings.limits_seconds)
        self._drafts = Lane("drafts", 2, 16, settings.limits_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every failure becomes an answer."""
        if scope["type"] != "http":
            return
        begin = clock.monotonic()
        request = Request.of(scope, receive)
        identifier, reason = request.identifier, ""
        try:
            answer = await self._answer(request)
        except Exception as error:  # noqa: BLE001  a traceback must not reach a client
            answer, reason = refused(error, f"{request.method} {request.path}", identifier)
            answer = request.told(answer)
        await answer.send(send, identifier)
        self._log(request.method, request.path, request.client, identifier, answer.status, reason, begin)

    def at_once(self, head: Head, client: str, body: bytes) -> tuple[int, bytes, bytes] | None:
        """Answer an attestation whose body is there, as by `__call__`, without a task of its own.

        Args:
            head: what came before the body; it is told of a request that was counted.
            client: the peer's address.
            body: all of it.

        Returns:
            Status, lines of headers, and body; None where something must be waited for: then `__call__` is to be asked.
        """
        if not self._service.at_hand:
            return None
        begin, name, reason = clock.monotonic(), identifier_of(head.name), ""
        try:
            answer = self._attested_at_once(head, client, body)
        except NeedsWaiting:
            return None
        except Exception as error:  # noqa: BLE001  a traceback must not reach a client
            answer, reason = refused(error, f"POST {head.path}", name)
        self._log("POST", head.path, client, name, answer.status, reason, begin)
        return answer.status, answer.head(name), answer.body

    def _attested_at_once(self, head: Head, client: str, body: bytes) -> Answer:
        self._check_rate(client)
        head.counted = True
        instance = self._hosts.named(head.host)
        check_version(head.version)
        self._bodies.check_size(len(body))
        try:
            token = self._service.attest(instance, head.kind, body, wait=False)
        except KloisterError as error:
            self._metrics.verdict(head.kind, error.code)
            raise
        self._metrics.collateral("held")
        return self._accepted(head.kind, token)

    def _log(
        self, method: str, path: str, client: str, identifier: str, status: int, reason: str, begin: float
    ) -> None:
        self._metrics.answered(status)
        if self._access is not None:
            self._access.answered(
                clock.unix(), request=identifier, method=method, path=path, status=status, reason=reason, peer=client,
                seconds=clock.monotonic() - begin,
            )  # fmt: skip

    async def _answer(self, request: Request) -> Answer:
        if request.path != "/healthz" and COUNTED not in request.scope:
            self._check_rate(request.client)
        if request.path in _OPERATIONAL:
            request.allow("GET")
            return await self._operational(request.path)
        first, _, rest = request.path[1:].partition("/")
        if first == "attest":
            return await self._attest(request, rest)
        instance = self._hosts.of(request)
        if request.path in ("/certs", "/.well-known/openid-configuration"):
            request.allow("GET")
            return await self._public(request.path, instance)
        if first == "v1":
            return await self._own(request, instance, rest)
        if first in ("policies", "certificates", "tcbbaselines") or first.startswith("certificates:"):
            request.check_version()
            return await self._administration.answer(request, instance)
        raise no_path()

    async def _attest(self, request: Request, name: str) -> Answer:
        request.allow("POST")
        instance, kind = self._hosts.of(request), kind_of(name)
        if kind is None:
            raise no_path()
        request.check_version()
        body = await self._bodies.read(request)
        if kind is Kind.TPM:
            await self._administration.admit(request, Right.READ)
            return Answer.of({"data": await self._threads.run(self._tpm.answer, instance, read_object(body))})
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
        return Answer.of_token(token)

    async def _token(self, instance: InstanceSettings, kind: Kind, body: bytes) -> str:
        """At once where everything is at hand; in a lane of its own what strangers can make slow."""
        attest = self._service.attest
        try:
            if self._service.at_hand:
                token = attest(instance, kind, body, wait=False)
            else:
                token = await self._threads.run(attest, instance, kind, body, wait=False)
        except NeedsTrying:
            return await self._drafts.run(attest, instance, kind, body, wait=True)
        except NeedsWaiting:
            self._metrics.collateral("waited")
            return await self._fetches.run(attest, instance, kind, body, wait=True)
        self._metrics.collateral("held")
        return token

    async def _note(self, instance: InstanceSettings, kind: Kind, error: KloisterError) -> None:
        if self._settings.audit_attestations and self._refusals.admits("strangers"):
            await self._threads.run(self._service.refused, instance, kind, error)

    async def _public(self, path: str, instance: InstanceSettings) -> Answer:
        if path == "/certs":
            snapshot = await self._threads.run(self._service.snapshot, instance)
            return Answer(metadata.jwks(snapshot), headers=[(b"cache-control", b"max-age=300")])
        return Answer(metadata.openid_configuration(instance.base_url, str(self._settings.tokens_algorithm)))

    async def _own(self, request: Request, instance: InstanceSettings, name: str) -> Answer:
        """What Azure does not have."""
        if name == "nonce":
            request.allow("POST")
            return Answer.of(self._service.nonce(instance))
        if name == "appraise":
            request.allow("POST")
            body, owner = await self._bodies.read(request), await self._administration.is_reader(request)
            return Answer.of(await self._fetches.run(self._ear.answer, instance, body, owner=owner))
        if name == "audit":
            return await self._administration.audit(request)
        raise no_path()

    def _check_rate(self, client: str) -> None:
        if not self._rate.admits(client):
            raise Denied("rate-exceeded", "This client asks too often.", "Wait a second.")

    async def _operational(self, path: str) -> Answer:
        if path == "/metrics":
            return Answer(self._metrics.text(), type=b"text/plain; version=0.0.4; charset=utf-8")
        if path == "/openapi.json":
            return Answer(self._openapi)
        if path == "/healthz":
            return Answer.of({"status": "alive"})
        problems = list(await self._threads.run(self._readiness.problems))
        status = "not ready" if problems else "ready"
        document = {"status": status, "problems": problems, "collateral": list(self._readiness.collateral())}
        return Answer.of(document, 503 if problems else 200)
