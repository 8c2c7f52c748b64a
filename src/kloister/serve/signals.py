"""One listener and one background task until the process is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine

from kloister.services.broker.listeners import Listener


async def until_signalled(listener: Listener, beside: Coroutine[None, None, None]) -> None:
    """Serve, with `beside` running, until SIGTERM or SIGINT; requests under way are finished.

    A failure of `beside` ends the listener and is raised.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(beside)
    task.add_done_callback(lambda _: _stop(listener))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, listener)
    await listener.listen()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _stop(listener: Listener) -> None:
    listener.should_exit = True
