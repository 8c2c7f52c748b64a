"""Where a pod's entry says why the application does not start: stderr, and Kubernetes' termination message."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from kloister.errors import KloisterError
from kloister.formats.protocol.events import Refused
from kloister.runtime.launcher.channel import Channel

TERMINATION_LOG = Path("/dev/termination-log")  # terminationMessagePath, unless the pod says otherwise
_MESSAGE_LIMIT = 4096  # bytes that kubelet reads of it
_TEXT_LIMIT = 1024  # characters of the text in it, so that the object is whole; the log has all of it


class Report(Channel):
    """A channel without pid 1: remarks and the refusal, one JSON object on one line each; phases are not told."""

    def __init__(self, termination_log: Path = TERMINATION_LOG) -> None:
        super().__init__(None)
        self._file = termination_log

    def log(self, text: str) -> None:
        """A line for the operator; never a secret."""
        _print({"event": "log", "text": text})

    def refuse(self, error: KloisterError) -> None:
        """Say why the application does not start."""
        _print(Refused(error.code, error.text, error.hint).build())
        short = Refused(error.code, error.text[:_TEXT_LIMIT], error.hint[: _TEXT_LIMIT // 4]).build()
        line = json.dumps(short, ensure_ascii=False).encode("utf-8", "replace")
        try:
            descriptor = os.open(self._file, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # outside Kubernetes nobody reads one
            return
        with os.fdopen(descriptor, "wb", 0) as file:
            file.write(line[:_MESSAGE_LIMIT])


def _print(message: dict[str, object]) -> None:
    print(json.dumps(message, ensure_ascii=False), file=sys.stderr, flush=True)  # noqa: T201 -- a container's log
