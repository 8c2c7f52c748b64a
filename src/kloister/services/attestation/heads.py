"""The heads of requests to attest as clients send them nearly always: one pattern reads them.

Whatever differs in anything is left to the HTTP parser, which decides what it means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kloister.services.attestation.kinds import JUDGED, Kind, kind_of

START = b"POST /attest/"
_END = b"\r\n\r\n"
_LINES = re.compile(
    rb"POST /attest/([A-Za-z]{1,20})\?api-version=([0-9A-Za-z-]{1,32}) HTTP/1\.1\r\n((?:[0-9A-Za-z-]+:[\t -~]*\r\n)+)"
)
_FIELD = re.compile(rb"([0-9a-z-]+):[\t ]*([\t -~]*)\r\n")
_NAME = b"x-ms-client-request-id"
_OWN = re.compile(rb"(?i)(?:^|\n)x-ms-client-request-id:[\t ]*([\t -~]*)\r\n")
_PATHS = {kind: f"/attest/{kind.lower()}" for kind in JUDGED}
_MAX_DIGITS = 7  # of a body's size
# what changes how a body comes, or what comes after it
_SPECIAL = frozenset({
    b"transfer-encoding", b"expect", b"upgrade", b"trailer", b"te", b"http2-settings", b"proxy-connection",
})  # fmt: skip


@dataclass(slots=True)
class Head:
    """The first part of a request to attest.

    Attributes:
        kind: of evidence that is judged.
        version: `api-version`.
        host: as it came, in lower case.
        name: the client's own name for the request, empty where it has none.
        size: bytes of the head.
        length: bytes of the body.
        counted: set by who has counted the request against its client's rate.
    """

    kind: Kind
    version: str
    host: str
    name: str
    size: int
    length: int
    counted: bool = False

    @property
    def path(self) -> str:
        """As the service writes it."""
        return _PATHS[self.kind]

    @classmethod
    def parse(cls, data: bytes, limit: int) -> Head | None:
        """The head that the data begin with; None where there is none of at most `limit` bytes that is as usual."""
        end = data.find(_END, 0, limit) + 2
        found = _LINES.fullmatch(data, 0, end)
        if found is None:
            return None
        named, version, lines = found.groups()
        pairs = _FIELD.findall(lines.lower())
        fields: dict[bytes, bytes] = dict(pairs)
        length = fields.get(b"content-length", b"")
        if (
            len(fields) != len(pairs)
            or not _SPECIAL.isdisjoint(fields)
            or fields.get(b"connection", b"keep-alive") != b"keep-alive"
            or not length.isdigit()
            or len(length) > _MAX_DIGITS
        ):
            return None
        kind = kind_of(named.decode("ascii"))
        if kind not in JUDGED:
            return None
        own = _OWN.search(lines) if _NAME in fields else None
        name = "" if own is None else own[1].decode("ascii").rstrip()
        host = fields.get(b"host", b"").decode("ascii").rstrip()
        return cls(kind, version.decode("ascii"), host, name, end + 2, int(length))
