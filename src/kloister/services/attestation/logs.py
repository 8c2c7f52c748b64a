"""Log lines as JSON objects, one a line."""

from __future__ import annotations

import json
import logging

_FIELDS = ("request", "method", "path", "status", "reason", "peer", "ms")


class JsonFormatter(logging.Formatter):
    """`time`, `level`, `logger`, `message`, and what a request adds; never a body, a header or a token."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **{name: getattr(record, name) for name in _FIELDS if hasattr(record, name)},
        }
        if record.exc_info and record.exc_info[0] is not None:
            entry["trace"] = self.formatException(record.exc_info)
        return json.dumps(entry)
