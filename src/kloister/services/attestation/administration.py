"""What administrators ask over HTTP: policies, policy management certificates, TCB baselines, the audit log."""

from __future__ import annotations

from collections.abc import Callable

from kloister import clock
from kloister.errors import KloisterError, Malformed
from kloister.services.attestation.auth import Authenticator, bearer
from kloister.services.attestation.bodies import Bodies
from kloister.services.attestation.exchange import Answer, Request, no_path
from kloister.services.attestation.kinds import Kind, kind_of
from kloister.services.attestation.lanes import Lane, Threads
from kloister.services.attestation.rights import Right
from kloister.services.attestation.service import AttestationService
from kloister.services.attestation.settings import InstanceSettings

_BASELINES = "/tcbbaselines/"
_MAX_DIGITS = 16  # of a sequence number: below 2^53


class Administration:
    """Answers those who administer.

    Args:
        service: what is administered.
        authenticator: tells who they are.
        bodies: reads theirs.
        threads: where it waits.
        bearers: where it waits for who they are.
    """

    def __init__(
        self,
        service: AttestationService,
        authenticator: Authenticator,
        bodies: Bodies,
        threads: Threads,
        bearers: Lane,
    ) -> None:
        self._service = service
        self._authenticator = authenticator
        self._bodies = bodies
        self._threads = threads
        self._bearers = bearers

    async def answer(self, request: Request, instance: InstanceSettings) -> Answer:
        """The answer under `/policies`, `/certificates` and `/tcbbaselines`.

        Raises:
            Denied: `bearer-*`. Malformed: `attestation-path`, `attestation-method`; and as `policies`.
        """
        actor = await self.admit(request, Right.READ if request.method == "GET" else Right.WRITE)
        if request.path.startswith("/policies/"):
            return await self._policy(request, instance, actor)
        if request.path.startswith(_BASELINES):
            return await self._baselines(request, instance)
        if request.path == "/certificates":
            request.allow("GET")
            return Answer.of_token(await self._threads.run(self._service.certificates, instance))
        if request.path in ("/certificates:add", "/certificates:remove"):
            return await self._certificate(request, instance, actor)
        raise no_path()

    async def admit(self, request: Request, right: Right) -> str:
        """The caller's name, if it has this right. Raises `Denied`: `bearer-*`. Unavailable: `oidc-*` and others."""
        token = bearer(request.header(b"authorization"))
        caller = await self._bearers.run(self._authenticator.check, token, clock.unix())
        caller.require(right)
        return caller.name

    async def is_reader(self, request: Request) -> bool:
        """Whether the caller may read policies; a token that says otherwise is no reason to refuse what needs none."""
        try:
            await self.admit(request, Right.READ)
        except KloisterError:
            return False
        return True

    async def audit(self, request: Request) -> Answer:
        """A page of the audit log."""
        request.allow("GET")
        await self.admit(request, Right.READ)
        return Answer.of(await self._threads.run(self._service.audit, _after(request)))

    async def _policy(self, request: Request, instance: InstanceSettings, actor: str) -> Answer:
        name, colon, action = request.path.removeprefix("/policies/").partition(":")
        kind = kind_of(name)
        if kind is None or (colon and action != "reset"):
            raise no_path()
        if colon:
            request.allow("POST")
            return await self._change(request, self._service.reset_policy, instance, kind, actor)
        request.allow("GET", "PUT")
        if request.method == "PUT":
            return await self._change(request, self._service.set_policy, instance, kind, actor)
        return Answer.of_token(await self._threads.run(self._service.policy, instance, kind))

    async def _baselines(self, request: Request, instance: InstanceSettings) -> Answer:
        request.allow("GET")
        kind = kind_of(request.path.removeprefix(_BASELINES))
        if kind is None:
            raise no_path()
        return Answer.of(await self._threads.run(self._service.baselines, instance, kind))

    async def _change(
        self,
        request: Request,
        change: Callable[[InstanceSettings, Kind, str, str], str],
        instance: InstanceSettings,
        kind: Kind,
        actor: str,
    ) -> Answer:
        text = await self._bodies.jws(request)
        return Answer.of_token(await self._threads.run(change, instance, kind, text, actor))

    async def _certificate(self, request: Request, instance: InstanceSettings, actor: str) -> Answer:
        request.allow("POST")
        text, add = await self._bodies.jws(request), request.path.endswith(":add")
        return Answer.of_token(
            await self._threads.run(self._service.change_certificate, instance, text, actor, add=add)
        )


def _after(request: Request) -> int:
    text = (request.parameters("after") or ["0"])[0]
    if not (text.isascii() and text.isdigit() and len(text) < _MAX_DIGITS):
        raise Malformed("audit-after", "after must be a sequence number.")
    return int(text)
