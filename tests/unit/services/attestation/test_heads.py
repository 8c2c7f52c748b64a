"""A usual head is read as the HTTP parser reads it; all others are left to that."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.services.attestation.heads import Head
from kloister.services.attestation.kinds import Kind

LINE = b"POST /attest/SgxEnclave?api-version=2022-08-01 HTTP/1.1\r\n"
FIELDS = b"Host: A.test:1\r\ncontent-LENGTH:\t5\r\nX-Ms-Client-Request-Id: aB-7\r\nConnection: Keep-Alive\r\n"
USUAL = LINE + FIELDS + b"\r\n"
LIMIT = 1000


class Parsed:
    """What the HTTP parser finds."""

    def __init__(self, data: bytes) -> None:
        self.url, self.fields, self.complete = b"", dict[bytes, bytes](), False
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.complete = True


def test_a_usual_head() -> None:
    head = Head.parse(USUAL + b"{...}", LIMIT)
    assert head is not None
    assert (head.kind, head.path, head.version) == (Kind.SGX_ENCLAVE, "/attest/sgxenclave", "2022-08-01")
    assert (head.host, head.name, head.size, head.length) == ("a.test:1", "aB-7", len(USUAL), 5)
    first = Head.parse(LINE + b"x-ms-client-request-id: 1\r\nContent-Length: 0\r\n\r\n", LIMIT)
    assert first is not None
    assert (first.host, first.name, first.length) == ("", "1", 0)


@pytest.mark.parametrize(
    "data",
    [
        USUAL[:-1],
        USUAL.replace(b"POST", b"PUT"),
        USUAL.replace(b"1.1", b"1.0"),
        USUAL.replace(b"/attest/", b"/Attest/"),
        USUAL.replace(b"SgxEnclave", b"Tpm"),
        USUAL.replace(b"SgxEnclave", b"nothing"),
        USUAL.replace(b"?api", b"?a=b&api"),
        USUAL.replace(b"Keep-Alive", b"close"),
        USUAL.replace(b"\t5", b"-5"),
        USUAL.replace(b"\t5", b"5, 5"),
        USUAL.replace(b"\t5", b"50000000"),
        USUAL.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
        USUAL.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"),
        USUAL.replace(b"\r\n\r\n", b"\r\nUpgrade: h2c\r\n\r\n"),
        USUAL.replace(b"\r\n\r\n", b"\r\nProxy-Connection: close\r\n\r\n"),
        USUAL.replace(b"\r\n\r\n", b"\r\nHost: b\r\n\r\n"),
        USUAL.replace(b"\r\n\r\n", b"\r\n folded\r\n\r\n"),
        USUAL.replace(b"\r\n\r\n", b"\r\nX : y\r\n\r\n"),
        USUAL.replace(b"\r\n\r\n", b"\r\nX: \xff\r\n\r\n"),
        USUAL.replace(b"\r\n\r\n", b"\r\nX: a\nb\r\n\r\n"),
        USUAL.replace(b"\r\n\r\n", b"\r\nX: a\rb\r\n\r\n"),
        USUAL.replace(b"\r\n\r\n", b"\r\nX: " + b"y" * LIMIT + b"\r\n\r\n"),
        b"\r\n" + USUAL,
    ],
)
def test_what_is_not_usual_is_left_alone(data: bytes) -> None:
    assert Head.parse(USUAL, LIMIT) is not None
    assert Head.parse(data, LIMIT) is None


@given(st.integers(0, len(USUAL) - 1), st.integers(0, 255))
def test_whatever_is_read_the_parser_reads_alike(at: int, byte: int) -> None:
    data = USUAL[:at] + bytes([byte]) + USUAL[at + 1 :]
    head = Head.parse(data, LIMIT)
    if head is None:
        return
    parsed = Parsed(data)
    assert parsed.complete
    assert parsed.url.lower() == f"{head.path}?api-version={head.version}".lower().encode()
    assert parsed.fields.get(b"host", b"").lower().decode() == head.host
    assert int(parsed.fields[b"content-length"]) == head.length
    assert parsed.fields.get(b"x-ms-client-request-id", b"").decode() == head.name
