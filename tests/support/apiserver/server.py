from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from kloister import entropy
from tests.support.pcs import certified

Json = dict[str, Any]
_CONFLICT = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "the object has been modified"}


class ApiServer:
    """Objects by path (`/api/v1/nodes/NAME`), each with a resourceVersion; refuses writes of older versions (409)."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.requests: list[tuple[str, str]] = []
        self.token = ""
        """What every request must bear; empty: anybody may ask."""
        self._version = 0
        self._writing = threading.Lock()  # the test writes, too, beside the server's thread
        self._events: list[tuple[str, Json]] = []
        self.app = Starlette(
            routes=[Route("/{path:path}", self._answer, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])]
        )

    def put(self, path: str, document: Json, event: str = "MODIFIED") -> Json:
        """Store an object as it is and tell the watchers."""
        with self._writing:
            self._version += 1
            document.setdefault("metadata", {})["resourceVersion"] = str(self._version)
            document["metadata"].setdefault("uid", f"uid-{self._version}")
            self.objects[path] = document
            self._events.append((event, document))
        return document

    def items(self) -> list[tuple[str, Json]]:
        """Paths and objects of one moment: no iteration that the other thread could break."""
        return list(self.objects.items())

    async def _answer(self, request: Request) -> Response:
        path = request.url.path.removesuffix("/status")
        self.requests.append((request.method, path))
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return JSONResponse({"kind": "Status", "code": 401, "message": "Unauthorized"}, 401)
        if request.method == "POST":
            document = await request.json()
            return JSONResponse(self.put(f"{path}/{document['metadata']['name']}", document, "ADDED"), 201)
        if path not in self.objects:
            return self._listed(request, path)
        if request.method == "DELETE":
            return JSONResponse(self.objects.pop(path))
        if request.method == "GET":
            return JSONResponse(self.objects[path])
        return self._written(path, await request.json(), request)

    def _written(self, path: str, given: Any, request: Request) -> Response:
        present = self.objects[path]
        form = request.headers.get("content-type", "")
        changed = given
        if request.method == "PATCH":
            changed = _json_patched(present, given) if "json-patch" in form else _merged(present, given)
        version = changed["metadata"].get("resourceVersion")
        if version is not None and version != present["metadata"]["resourceVersion"]:
            return JSONResponse({**_CONFLICT, "code": 409, "reason": "Conflict"}, 409)
        return JSONResponse(self.put(path, changed))

    def _listed(self, request: Request, path: str) -> Response:
        last = path.rsplit("/", 1)[1]
        plural = last.islower() and "-" not in last and not last[-1].isdigit() and last.endswith(("s",))
        if request.method != "GET" or not plural:
            return JSONResponse({"kind": "Status", "code": 404, "reason": "NotFound", "message": "not found"}, 404)
        if request.query_params.get("watch"):
            return StreamingResponse(self._watched(path), media_type="application/json")
        found = [item for key, item in self.items() if _below(path, key)]
        return JSONResponse({"metadata": {"resourceVersion": str(self._version)}, "items": found})

    async def _watched(self, path: str) -> AsyncIterator[str]:
        sent = 0
        while True:
            events = self._events[sent:]
            sent += len(events)
            for event, item in events:
                if any(known is item and _below(path, key) for key, known in self.items()):
                    yield json.dumps({"type": event, "object": item}) + "\n"
            await asyncio.sleep(0.02)


def _below(path: str, key: str) -> bool:
    """`/api/v1/pods` lists `/api/v1/namespaces/NS/pods/NAME` too."""
    head, _, plural = path.rpartition("/")
    return key.rpartition("/")[0] == path or (key.startswith(f"{head}/namespaces/") and key.split("/")[-2] == plural)


def _merged(present: Json, patch: Json) -> Json:
    """RFC 7396."""
    result = dict(present)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            old = result.get(name)
            result[name] = _merged(old if isinstance(old, dict) else {}, value) if isinstance(value, dict) else value
    return result


def _json_patched(present: Json, patch: list[Json]) -> Json:
    """RFC 6902, `add` and `replace`."""
    document: Json = json.loads(json.dumps(present))
    for operation in patch:
        apply(document, operation)
    return document


def apply(document: Json, operation: Json) -> None:
    """One `add` or `replace` of RFC 6902, in place."""
    *parents, last = operation["path"].lstrip("/").split("/")
    target: Any = document
    for part in parents:
        target = target[int(part)] if isinstance(target, list) else target[part]
    if isinstance(target, list):
        assert last == "-"
        target.append(operation["value"])
    else:
        assert operation["op"] == "add" or last in target
        target[last] = operation["value"]


@contextlib.contextmanager
def running(server: ApiServer, directory: Path) -> Iterator[Path]:
    """Serve on loopback; the value is a kubeconfig for it."""
    with socket.create_server(("127.0.0.1", 0)) as sock, _served(server, sock):
        yield _kubeconfig(directory, sock.getsockname()[1])


@contextlib.contextmanager
def in_cluster(server: ApiServer, directory: Path) -> Iterator[dict[str, str]]:
    """Serve on loopback with TLS; `directory` becomes a pod's service account, the value is a pod's environment."""
    directory.mkdir(parents=True, exist_ok=True)
    authority, _ = certified(directory)
    authority.rename(directory / "ca.crt")
    server.token = entropy.identifier()
    (directory / "token").write_text(server.token)
    with socket.create_server(("127.0.0.1", 0)) as sock, _served(server, sock, directory):
        yield {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(sock.getsockname()[1])}


@contextlib.contextmanager
def _served(server: ApiServer, sock: socket.socket, tls: Path | None = None) -> Iterator[None]:
    config = uvicorn.Config(
        server.app,
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=1,
        ssl_certfile=tls and tls / "tls.pem",
    )
    daemon = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(daemon.serve(sockets=[sock])))
    thread.start()
    try:
        yield
    finally:
        daemon.should_exit = True
        thread.join()


def _kubeconfig(directory: Path, port: int) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    path = directory / "kubeconfig"
    path.write_text(json.dumps(document))
    return path
