from __future__ import annotations

import asyncio
from pathlib import Path

from kloister.errors import KloisterError, Malformed, Unavailable, Unverified
from kloister.formats.protocol import aesm
from kloister.formats.protocol.aesm import Answer, Asked
from kloister.formats.protocol.aesm_codes import AesmCode
from kloister.kubernetes.node.quotes.trying import try_quote

SOCKET = Path("/var/run/aesmd/aesm.socket")
"""Where Intel's aesmd listens."""

_AT_ONCE = 64  # requests to aesmd under way, of eight callers at their most: it works them off one after another
_MICROSECONDS = 1e6
_INSTALL = "Install sgx-aesm-service and libsgx-aesm-quote-ex-plugin on the node, and start aesmd."


class ForwardBackend:
    """Quotes of Intel's aesmd, by its socket: every request goes on as it is understood here, one connection each.

    Args:
        path: aesmd's socket.
        patience: seconds for an answer; a client's own time limit holds if it is shorter.
    """

    name = "forward"

    def __init__(self, path: Path = SOCKET, patience: float = 60.0) -> None:
        self.path = path
        self._patience = patience
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def answer(self, request: Asked) -> Answer:
        """The answer of aesmd itself.

        Raises:
            Unavailable: `aesmd-missing`, `aesmd-refused`, `aesmd-permission`, `aesmd-silent`, `aesmd-gone`.
            Unverified: `aesmd-answer`: it answered, but not this request.
        """
        limit = min(self._patience, (request.timeout or 0) / _MICROSECONDS or self._patience)
        try:
            async with asyncio.timeout(limit), self._turn:
                body = await self._ask(aesm.frame(aesm.build_request(request)))
        except TimeoutError:
            raise Unavailable(
                "aesmd-silent",
                f"aesmd did not answer within {limit:g} seconds.",
                "See its log: `journalctl -u aesmd`; it may wait for the PCCS that /etc/sgx_default_qcnl.conf names.",
            ) from None
        return _checked(request, body)

    async def trial(self) -> None:
        """All calls of a quote, up to the REPORT that only an enclave can make: see `trying`. Raises as that."""
        await try_quote(self.answer)

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _ask(self, frame: bytes) -> bytes:
        reader, writer = await _connect(self.path)
        try:
            writer.write(frame)
            size = aesm.frame_size(await reader.readexactly(aesm.PREFIX), aesm.RESPONSE_LIMIT)
            return await reader.readexactly(size)
        except (asyncio.IncompleteReadError, OSError):
            raise Unavailable(
                "aesmd-gone", "aesmd closed the connection without an answer.", "See `journalctl -u aesmd`."
            ) from None
        except Malformed as error:
            raise _no_answer(error.text) from None
        finally:
            writer.close()


async def _connect(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        return await asyncio.open_unix_connection(path)
    except FileNotFoundError:
        raise Unavailable("aesmd-missing", f"There is no aesmd at {path}.", _INSTALL) from None
    except PermissionError:
        raise Unavailable(
            "aesmd-permission", f"The socket {path} may not be used.", "Run the agent as a user who may write to it."
        ) from None
    except OSError as error:
        raise Unavailable(
            "aesmd-refused", f"Nobody answers at {path}: {error.strerror}.", "systemctl restart aesmd"
        ) from None


def _checked(request: Asked, body: bytes) -> Answer:
    try:
        answer = aesm.parse_answer(body)
    except KloisterError as error:
        raise _no_answer(error.text) from None
    if answer.number != request.NUMBER:
        raise _no_answer(f"It is one to request {answer.number}, not {request.NUMBER}.")
    if isinstance(request, aesm.GetQuote) and answer.code == AesmCode.SUCCESS and not answer.quote:
        raise _no_answer("It says success and has no quote.")
    return answer


def _no_answer(why: str) -> Unverified:
    return Unverified(
        "aesmd-answer", f"What listens at aesmd's socket gives no answer of AESM: {why}", "Check what listens there."
    )
