"""What others wrap around quotes: a key broker's JSON; and what a token claims before it is verified."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from kloister.errors import Malformed, Misused
from kloister.formats.tokens import Jws
from kloister.formats.tokens.reading import Form, form_of
from kloister.formats.wire import load_json
from kloister.trust.verifier.binding import Binding, KbsBinding

MAX_SIZE = 1024 * 1024  # bytes of KBS evidence; a TDX event log, which is left alone, has some 100 KiB


def open_kbs(data: bytes) -> tuple[bytes, Binding | None]:
    """The quote in KBS evidence, and what its report data must bind if the session's data are there.

    Three shapes (KBS protocol 0.2.0 to 0.4.0): the evidence of one TEE, `{"quote": base64}`; the body of an attestation
    request 0.2.0, `{"tee-evidence": evidence}`; and of 0.4.0, `{"runtime-data": {"nonce", "tee-pubkey"},
    "tee-evidence": {"primary_evidence": evidence, "additional_evidence": text}}`.

    Raises:
        Malformed: `kbs-evidence`, `kbs-evidence-json`, `evidence-not-supported`.
    """
    document = load_json(data, "kbs-evidence", MAX_SIZE)
    if not isinstance(document, dict):
        raise _unfit("is no object")
    inner = document.get("tee-evidence", document)
    if not isinstance(inner, dict):
        raise _unfit("has a tee-evidence that is no object")
    binding = None
    primary = inner.get("primary_evidence")
    if primary is not None and "runtime-data" in document:
        binding = _binding(document["runtime-data"], inner.get("additional_evidence", ""))
    return _quote(inner if primary is None else primary), binding


def token_form(token: bytes) -> Form:
    """Whose token it is by its claims, unverified."""
    return form_of(token_claims(token))


def token_claims(token: bytes) -> dict[str, Any]:
    """What a token claims, unverified; nothing where it cannot be read."""
    try:
        return Jws.parse(token).claims
    except Malformed:
        return {}


def _binding(runtime: Any, additional: Any) -> Binding:
    if not isinstance(runtime, dict) or not isinstance(additional, str):
        raise _unfit("has runtime-data or additional_evidence of a wrong type")
    try:
        return KbsBinding.of(runtime, additional)
    except (Misused, UnicodeError, RecursionError):
        raise _unfit("has runtime-data that no key and nonce can be") from None


def _quote(evidence: Any) -> bytes:
    if not isinstance(evidence, dict):
        raise _unfit("holds evidence that is no object")
    quote = evidence.get("quote")
    if not isinstance(quote, str):
        names = ", ".join(sorted(str(name) for name in evidence)[:8]) or "nothing"
        raise Malformed(
            "evidence-not-supported",
            f"This JSON object holds no quote but {names[:200]!a}.",
            'Evidence of SGX and TDX for a key broker is {"quote": base64}.',
        )
    try:
        return base64.b64decode(
            quote.encode("ascii"), altchars=b"-_" if {"-", "_"} & set(quote) else None, validate=True
        )
    except (ValueError, binascii.Error):
        raise _unfit("has a quote that is not base64") from None


def _unfit(what: str) -> Malformed:
    return Malformed(
        "kbs-evidence", f"The KBS evidence {what}.", 'Evidence is {"quote": base64}, or an attestation body.'
    )
