"""The life of one resource: served, registered, and both again whenever the kubelet forgot it."""

from __future__ import annotations

import logging
from pathlib import Path

from kloister import clock
from kloister.errors import Denied, Unavailable
from kloister.kubernetes.node.kubelet.identity import Identity, identity
from kloister.kubernetes.node.kubelet.registration import FOLDER, SOCKET, register
from kloister.kubernetes.node.plugin import sockets
from kloister.kubernetes.node.plugin.resources import Resource
from kloister.kubernetes.node.plugin.server import Allocate, ResourceServer, options

_LOG = logging.getLogger("kloister.node.plugin")
_RETRY = (0.25, 0.5, 1.0)  # seconds between attempts; a kubelet that restarts refuses for 10 s and is then waited for
_UNWATCHED = 3.0  # seconds without a stream after which the kubelet is taken to have dropped us


class Offer:
    """Keeps one resource registered; `tend` is called every half second.

    Args:
        kubelet: the kubelet's folder.
        resource: what is offered.
        allocate: answers Allocate.
    """

    def __init__(self, kubelet: Path, resource: Resource, allocate: Allocate) -> None:
        self.resource = resource
        self.error: Denied | Unavailable | None = None
        """Why the last registration failed."""
        self.registrations = 0
        self._folder = kubelet / FOLDER
        self._allocate = allocate
        self._server: ResourceServer | None = None
        self._socket: Identity | None = None
        self._kubelet: Identity | None = None  # the kubelet's socket at which we are registered
        self._healthy = True
        self._failures = 0
        self._next = 0.0
        self._watched = 0.0  # when the kubelet was last seen watching

    @property
    def registered(self) -> bool:
        """Whether a kubelet accepted the resource and watches it."""
        return self._kubelet is not None and self._server is not None and self._server.watchers > 0

    async def tend(self) -> None:
        """Do what is missing: serve, then register. Raises `Misconfigured` `socket-path`."""
        if self._server is not None and identity(self._server.path) != self._socket:
            _LOG.info("socket gone", extra={"resource": self.resource.name, "socket": self._server.path.name})
            await self.withdraw()
        kubelet = identity(self._folder / SOCKET)
        if kubelet is None:
            self._kubelet = None
            return
        if self._server is None:
            await self._serve()
        if self._kubelet != kubelet or self._is_dropped():
            self._kubelet = None
            if clock.monotonic() >= self._next:
                await self._register(kubelet)

    async def withdraw(self) -> None:
        """Stop serving; the kubelet notices at once."""
        server, self._server, self._kubelet = self._server, None, None
        self._failures, self._next = 0, 0.0
        if server is not None:
            await server.stop()

    def set_health(self, *, healthy: bool) -> None:
        """Of all devices."""
        self._healthy = healthy
        if self._server is not None:
            self._server.set_health(healthy=healthy)

    async def _serve(self) -> None:
        for left in sockets.siblings(self._folder, self.resource.short):
            if not sockets.listening(left):
                left.unlink(missing_ok=True)  # a killed instance could not remove it
        path = sockets.fresh(self._folder, self.resource.short)
        server = ResourceServer(self.resource, path, self._allocate, healthy=self._healthy)
        try:
            await server.start()
        except OSError:
            await server.stop()
            raise
        self._server, self._socket = server, identity(path)

    async def _register(self, kubelet: Identity) -> None:
        if self._server is None:
            return
        try:
            await register(self._folder / SOCKET, self._server.path.name, self.resource.name, options(self.resource))
        except (Denied, Unavailable) as error:
            self._failed(error)
            return
        self.error, self._failures, self._next = None, 0, 0.0
        self._kubelet, self._watched = kubelet, clock.monotonic()
        self.registrations += 1
        _LOG.info(
            "registered",
            extra={
                "resource": self.resource.name,
                "devices": len(self.resource.devices),
                "socket": self._server.path.name,
            },
        )

    def _failed(self, error: Denied | Unavailable) -> None:
        if self.error is None or self.error.code != error.code:
            _LOG.warning(error.text, extra={"code": error.code, "resource": self.resource.name})
        self.error = error
        self._next = clock.monotonic() + _RETRY[min(self._failures, len(_RETRY) - 1)]
        self._failures += 1

    def _is_dropped(self) -> bool:
        """Registered, but no stream for a while: the kubelet took another instance that is gone by now, or lost us.

        While another instance of ours lives, the kubelet has that one: two that register in turn would never end.
        """
        if self._server is None or self._server.watchers:
            self._watched = clock.monotonic()
            return False
        if clock.monotonic() - self._watched < _UNWATCHED:
            return False
        others = [path for path in sockets.siblings(self._folder, self.resource.short) if path != self._server.path]
        return not any(sockets.listening(path) for path in others)
