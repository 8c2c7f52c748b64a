"""Reads the bodies of requests: so large and so slow at most."""

from __future__ import annotations

import asyncio

from kloister.errors import Malformed, Unavailable
from kloister.services.attestation.exchange import Request


class Bodies:
    """The limits of bodies.

    Args:
        limit: bytes.
        seconds: for all of it.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds

    async def read(self, request: Request) -> bytes:
        """The whole body.

        Raises:
            Malformed: `body-size`. Unavailable: `body-late`.
        """
        try:
            async with asyncio.timeout(self._seconds):
                return await self._received(request)
        except TimeoutError:
            raise Unavailable("body-late", "The body did not arrive in time.", "Try again.") from None

    async def jws(self, request: Request) -> str:
        """A JWS as the body, or as a JSON string: clients do both. Raises also `Malformed`: `token-syntax`."""
        try:
            text = (await self.read(request)).decode("ascii").strip()
        except UnicodeDecodeError:
            raise Malformed("token-syntax", "The body is no JWS.") from None
        return text[1:-1] if text.startswith('"') and text.endswith('"') else text

    def check_size(self, size: int) -> None:
        """Return if so many bytes are not too many. Raises `Malformed`: `body-size`."""
        if size > self._limit:
            raise Malformed("body-size", f"The body has more than {self._limit} bytes.")

    async def _received(self, request: Request) -> bytes:
        parts, size = [], 0
        while True:
            message = await request.receive()
            if message["type"] != "http.request":
                raise Unavailable("body-late", "The client went away before its request was complete.")
            part = message.get("body", b"")
            size += len(part)
            self.check_size(size)
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)
