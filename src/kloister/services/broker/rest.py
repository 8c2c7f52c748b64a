"""The release interface over HTTPS: the only one that a workload sees."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from kloister.errors import KloisterError
from kloister.formats.protocol.release import (
    CHALLENGE_PATH,
    MAX_REQUEST,
    RELEASE_PATH,
    ChallengeRequest,
    Refusal,
    ReleaseRequest,
)
from kloister.services.broker.asgi import LOG, Guard, answering, body, status_of
from kloister.services.broker.release import Refused, ReleaseDesk

_JSON = ("application/json",)


def release_app(desk: ReleaseDesk) -> ASGIApp:
    """The application with the two paths of architecture.md, section 10."""

    async def challenge(request: Request) -> Response:
        try:
            asked = ChallengeRequest.parse(await body(request, _JSON, MAX_REQUEST))
            answer = await run_in_threadpool(desk.challenge, asked, _peer(request))
        except KloisterError as error:
            return _unrecorded(error)
        return _answer(answer.build(), 200)

    async def release(request: Request) -> Response:
        try:
            asked = ReleaseRequest.parse(await body(request, _JSON, MAX_REQUEST))
            sealed = await run_in_threadpool(desk.release, asked, _peer(request))
        except Refused as refused:
            return _refusal(refused)
        except KloisterError as error:
            return _unrecorded(error)
        LOG.info("released %s/%s to %s of %s", asked.namespace, asked.policy, asked.service, _peer(request))
        return _answer(sealed.build(), 200)

    routes = [
        Route(CHALLENGE_PATH, answering(challenge), methods=["POST"]),
        Route(RELEASE_PATH, answering(release), methods=["POST"]),
    ]
    return Guard(Router(routes), None)


def _peer(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def _refusal(refused: Refused) -> Response:
    """The code and the id, nothing of what was expected or seen: the guest may be anybody's."""
    LOG.warning("refused %s: %s", refused.id, refused.code)
    text = f"The request was refused with {refused.code}."
    hint = f"The broker's owner sees the whole reason with: kloister explain {refused.id}"
    return _answer(Refusal(refused.id, refused.code, text, hint).build(), 503 if refused.ours else 403)


def _unrecorded(error: KloisterError) -> Response:
    return _answer(Refusal("unrecorded", error.code, error.text, error.hint).build(), status_of(error))


def _answer(data: bytes, status: int) -> Response:
    return Response(data, status, {"Cache-Control": "no-store"}, "application/json")
