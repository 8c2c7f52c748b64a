"""Log lines as JSON objects, one a line; never a body, a header or a token."""

from __future__ import annotations

import json
import logging
import time
from typing import TextIO

_quoted = json.encoder.encode_basestring_ascii
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


class JsonFormatter(logging.Formatter):
    """`time`, `level`, `logger`, `message`, and `request` where it is about one."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if hasattr(record, "request"):
            entry["request"] = record.request
        if record.exc_info and record.exc_info[0] is not None:
            entry["trace"] = self.formatException(record.exc_info)
        return _ENCODE(entry)


class AccessLog:
    """A line for each answer, straight to the stream: the logging module takes longer than a signature of P-256.

    Args:
        stream: where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._second = 0
        self._text = ""

    def answered(
        self, now: int, *, request: str, method: str, path: str, status: int, reason: str, peer: str, seconds: float
    ) -> None:
        """Write one; `now` is in unix seconds."""
        if now != self._second:
            self._second, self._text = now, time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime(now))
        self._stream.write(
            f'{{"time":"{self._text}","level":"INFO","logger":"kloister.attestation","message":"answered",'
            f'"request":{_quoted(request)},"method":{_quoted(method)},"path":{_quoted(path)},"status":{status},'
            f'"reason":{_quoted(reason)},"peer":{_quoted(peer)},"ms":{seconds * 1000:.2f}}}\n'
        )
        self._stream.flush()
