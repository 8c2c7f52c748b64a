"""Each message about quotes by itself: it is read as it was built, and without its parts refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kloister.errors import Malformed
from kloister.formats.protocol import platform
from kloister.formats.protocol.quoting import QeInfo, Quoted, QuoteReport, ReportContent
from kloister.formats.wire import b64url

REPORT, NONCE, TARGET, DATA = bytes(range(216)) * 2, bytes(range(16)), bytes(range(256)) * 2, bytes(64)
MESSAGES: list[tuple[Any, Callable[[dict[str, Any]], Any]]] = [
    (platform.Plain("qeTargetInfo"), platform.parse_request),
    (QuoteReport(REPORT), platform.parse_request),
    (QuoteReport(REPORT, NONCE, TARGET), platform.parse_request),
    (ReportContent(b"content", TARGET, DATA), platform.parse_request),
    (QeInfo(TARGET, bytes(32), 4000), QeInfo.parse),
    (Quoted(b"quote"), Quoted.parse),
    (Quoted(b"quote", REPORT), Quoted.parse),
]


@pytest.mark.parametrize(("message", "parse"), MESSAGES)
def test_what_is_built_is_read(message: Any, parse: Callable[[dict[str, Any]], Any]) -> None:
    assert parse(message.build()) == message


@pytest.mark.parametrize(("message", "parse"), MESSAGES)
def test_members_are_neither_missing_nor_unknown_nor_of_another_size(
    message: Any, parse: Callable[[dict[str, Any]], Any]
) -> None:
    built = message.build()
    with pytest.raises(Malformed, match="platform-member"):
        parse({**built, "other": 1})
    for name in built.keys() - {"op", "qeReport"}:
        with pytest.raises(Malformed):
            parse({each: value for each, value in built.items() if each != name})
        if name not in ("content", "quote"):
            with pytest.raises(Malformed):
                parse({**built, name: b64url(b"short")})


def test_content_has_a_limit() -> None:
    with pytest.raises(Malformed, match="platform-content"):
        platform.parse_request(ReportContent(bytes(platform.CONTENT_LIMIT + 1), TARGET, DATA).build())
