"""Refusals as Azure's clients read them: a status, a code of theirs, and a sentence with our own code behind it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from kloister.errors import Denied, KloisterError, Malformed, Unavailable, Unverified

_PARSING = frozenset({"maa-parsing"})
_EVALUATION = frozenset({
    "maa-denied", "maa-not-permitted", "maa-evaluation", "maa-read-only", "maa-limit", "tcb-identifier",
})  # fmt: skip
_OPERATION = frozenset({
    "policy-shared", "policy-unsigned", "policy-signer", "policy-replayed", "certificates-many", "certificate-last",
    "certificates-not-isolated", "policy-missing", "attestation-type", "tpm-message", "api-version",
})  # fmt: skip
_STATUSES = {
    "bearer-missing": 401,
    "bearer-refused": 401,
    "bearer-right": 403,
    "attestation-path": 404,
    "attestation-host": 404,
    "attestation-method": 405,
    "body-late": 408,
    "body-size": 413,
    "attest-request-size": 413,
    "rate-exceeded": 429,
}
_CODES = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed", 408: "RequestTimeout"}
_CODES |= {413: "RequestTooLarge", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}
_HEADERS = {401: ("www-authenticate", "Bearer"), 429: ("retry-after", "1"), 503: ("retry-after", "5")}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a client gets instead of an answer."""

    status: int
    code: str  # one of Azure's
    message: str
    reason: str  # one of ours

    @classmethod
    def of(cls, error: KloisterError) -> Refusal:
        """Bad evidence and bad requests are never 5xx: clients would send them again and again."""
        status = _STATUSES.get(error.code) or _status(error)
        return cls(status, _CODES.get(status) or _code(error.code), str(error), error.code)

    @property
    def body(self) -> bytes:
        """The JSON document."""
        error = {"code": self.code, "message": self.message, "innererror": {"code": self.reason}}
        return json.dumps({"error": error}).encode("ascii")

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Beside those of every answer."""
        found = [(b"x-ms-error-code", self.code.encode("ascii"))]
        if self.status in _HEADERS:
            name, value = _HEADERS[self.status]
            found.append((name.encode("ascii"), value.encode("ascii")))
        return found


def _status(error: KloisterError) -> int:
    if isinstance(error, (Malformed, Unverified, Denied)):
        return 400
    return 503 if isinstance(error, Unavailable) else 500


def _code(reason: str) -> str:
    if reason in _PARSING:
        return "PolicyParsingError"
    if reason in _EVALUATION:
        return "PolicyEvaluationError"
    if reason in _OPERATION or reason.startswith(("policy-token", "token-")):
        return "InvalidOperation"
    return "InvalidParameter"
