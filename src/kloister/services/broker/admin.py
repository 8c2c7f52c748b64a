"""The administration interface: over a Unix socket whose peer is known by its uid, or over mutual TLS."""

from __future__ import annotations

from collections.abc import Collection

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from kloister.errors import Malformed
from kloister.services.broker.asgi import Guard, answering, body, json_response
from kloister.services.broker.secrets import MAX_VALUE
from kloister.services.broker.service import Administration
from kloister.services.yaml import MAX_TEXT

POLICY_TYPES = ("application/yaml", "application/json")
SECRET_TYPES = ("application/octet-stream",)
_PREFIX = "/admin/v1"


def admin_app(administration: Administration, hosts: Collection[str]) -> ASGIApp:
    """The application with the paths of architecture.md, section 11; `hosts` are the values of Host it serves."""
    handlers = _Handlers(administration)
    policy = _PREFIX + "/policies/{namespace}/{name}"
    routes = [
        Route(f"{_PREFIX}/status", answering(handlers.status), methods=["GET"]),
        Route(f"{_PREFIX}/policies", answering(handlers.policies), methods=["GET"]),
        Route(f"{_PREFIX}/policies", answering(handlers.apply), methods=["PUT"]),
        Route(policy, answering(handlers.policy), methods=["GET"]),
        Route(f"{policy}/secrets", answering(handlers.secrets), methods=["GET"]),
        Route(policy + "/secrets/{secret}", answering(handlers.set_secret), methods=["PUT"]),
        Route(_PREFIX + "/refusals/{identifier}", answering(handlers.refusal), methods=["GET"]),
        Route(f"{_PREFIX}/audit", answering(handlers.audit), methods=["GET"]),
    ]
    return Guard(Router(routes), hosts)


class _Handlers:
    """One method per path; the work is done in a thread, because it waits for the disk."""

    def __init__(self, administration: Administration) -> None:
        self._administration = administration

    async def status(self, _: Request) -> Response:
        return json_response(await run_in_threadpool(self._administration.status))

    async def policies(self, _: Request) -> Response:
        return json_response({"policies": await run_in_threadpool(self._administration.policies)})

    async def apply(self, request: Request) -> Response:
        document = await body(request, POLICY_TYPES, MAX_TEXT)
        return json_response(await run_in_threadpool(self._administration.apply, document, _actor(request)))

    async def policy(self, request: Request) -> Response:
        return json_response(await run_in_threadpool(self._administration.policy, *_names(request)))

    async def secrets(self, request: Request) -> Response:
        return json_response({"secrets": await run_in_threadpool(self._administration.secrets, *_names(request))})

    async def set_secret(self, request: Request) -> Response:
        value = await body(request, SECRET_TYPES, MAX_VALUE)
        names = (*_names(request), request.path_params["secret"])
        result = await run_in_threadpool(self._administration.set_secret, *names, value, _actor(request))
        return json_response(result)

    async def refusal(self, request: Request) -> Response:
        identifier = request.path_params["identifier"]
        return json_response(await run_in_threadpool(self._administration.refusal, identifier))

    async def audit(self, request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) < 16):  # noqa: PLR2004  digits: below 2^53
            raise Malformed("audit-after", "after must be a sequence number.")
        return json_response(await run_in_threadpool(self._administration.audit, int(after)))


def _names(request: Request) -> tuple[str, str]:
    return request.path_params["namespace"], request.path_params["name"]


def _actor(request: Request) -> str:
    """Who acts, as the connection proves it: `uid:N` of a Unix socket, `cn:NAME` of a client certificate."""
    return request.client.host if request.client else "unknown"
