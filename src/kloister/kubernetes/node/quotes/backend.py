from __future__ import annotations

from typing import Protocol

from kloister.errors import KloisterError, Unavailable
from kloister.formats.protocol.aesm import Answer, Asked
from kloister.formats.protocol.aesm_codes import AesmCode


class QuoteBackend(Protocol):
    """What makes the quotes of a node."""

    name: str  # for figures: `simulated` or `forward`

    async def answer(self, request: Asked) -> Answer:
        """The answer to a request, a refusal included.

        Raises:
            KloisterError: nobody answers, or not as they must; `code_of` says what the client is told.
        """

    async def trial(self) -> bytes | None:
        """Make a quote as a client would, look at it, and give it; None where nobody here can make a whole one.

        Raises:
            KloisterError: why no quote can be had now.
        """

    async def close(self) -> None:
        """Let go of connections."""


def code_of(error: KloisterError) -> AesmCode:
    """What a client is told of a failure that AESM itself has no answer for."""
    return AesmCode.SERVICE_UNAVAILABLE if isinstance(error, Unavailable) else AesmCode.UNEXPECTED
