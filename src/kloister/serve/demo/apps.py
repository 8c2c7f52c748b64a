"""An enclave that runs while somebody talks to it: started, waited for, stopped, its end known."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from kloister import clock
from kloister.errors import KloisterError, Unavailable
from kloister.formats.protocol.events import Event
from kloister.images.pack import Pack
from kloister.serve import launch
from kloister.serve.state import State

_PAUSE = 0.02  # seconds between two looks at whether the application answers
_PATIENCE = 60.0  # seconds until an application must answer, and until a stopped one must be gone
_OUTPUT = 256 * 1024  # bytes of output that are kept


class App:
    """An application in an enclave; leaving the context ends it and waits until it is gone.

    Attributes:
        events: what the platform said, in order.
    """

    def __init__(self, state: State, pack: Pack, options: launch.RunOptions) -> None:
        self.events: list[Event] = []
        self._error: KloisterError | None = None
        self._code: int | None = None
        reader, writer = os.pipe()
        null = os.open(os.devnull, os.O_RDWR)
        try:
            self._launch = launch.launch(state, pack, replace(options, stdio=(null, writer, writer)))
        finally:
            os.close(writer)
            os.close(null)
        self._output = bytearray()
        self._threads = [threading.Thread(target=self._follow), threading.Thread(target=self._read, args=(reader,))]
        for thread in self._threads:
            thread.start()

    def _follow(self) -> None:
        try:
            self._code = launch.finish(self._launch, self.events.append)
        except KloisterError as error:
            self._error = error

    def _read(self, reader: int) -> None:
        with os.fdopen(reader, "rb", buffering=0) as output:
            while chunk := output.read(65536):
                self._output += chunk[: _OUTPUT - len(self._output)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def output(self) -> str:
        """What the application has written so far."""
        return self._output.decode("utf-8", "replace")

    def until(self, answers: Callable[[], bool]) -> None:
        """Wait until the application answers.

        Raises:
            KloisterError: why it was refused. Unavailable: `application-silent`, `application-ended`.
        """
        deadline = clock.monotonic() + _PATIENCE
        while clock.monotonic() < deadline:
            if not self._threads[0].is_alive():
                self.wait()
                raise Unavailable("application-ended", f"The application ended: {self.output.strip()[-500:]}")
            if answers():
                return
            threading.Event().wait(_PAUSE)
        raise Unavailable("application-silent", f"The application does not answer: {self.output.strip()[-500:]}")

    def wait(self) -> int:
        """The exit code, when the enclave has ended.

        Raises:
            KloisterError: why it was refused.
        """
        self._threads[0].join(_PATIENCE)
        if self._error:
            raise self._error
        return -1 if self._code is None else self._code

    def close(self) -> None:
        """SIGTERM, as `kubectl delete` would send; what does not end in time is killed."""
        if self._threads[0].is_alive():
            try:
                self._launch.signal(signal.SIGTERM)
                self._threads[0].join(_PATIENCE)
            except KloisterError:
                pass  # it ended by itself meanwhile
        self._launch.close()
        for thread in self._threads:
            thread.join(_PATIENCE)
