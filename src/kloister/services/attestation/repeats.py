"""Enclaves that ask again: what is the same in their requests and tokens is found, compared and written once.

Evidence of one enclave differs in report data and signature, its tokens in these, the client's data and the times.
A request whose evidence has everything else from one that was accepted, byte by byte, needs the signature verified,
the client's data bound, and the rest filled into the token's text.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from kloister.errors import Malformed
from kloister.formats.protocol.maa import decode
from kloister.services.attestation.evidence import Precedent
from kloister.services.attestation.kinds import Kind
from kloister.services.attestation.tokens import PayloadForm
from kloister.trust.verifier import SgxPrecedent

_MAX_REPEATS = 512  # of one instance; some 20 KiB each, 60 at most
_MAX_TEXT = 24 * 1024  # characters of evidence that is remembered: some 6000, but a quote may be padded at will
_OFFSETS = {Kind.SGX_ENCLAVE: 0, Kind.OPEN_ENCLAVE: 16}  # of the quote in the evidence
# claims that two requests of one enclave need not have in common
VARYING = frozenset({
    "aas-ehd", "exp", "iat", "jti", "kloister-nonce", "maa-attestationcollateral", "maa-ehd", "nbf", "nonce",
    "x-ms-inittime", "x-ms-runtime", "x-ms-sgx-collateral", "x-ms-sgx-ehd", "x-ms-sgx-report-data",
})  # fmt: skip


def keeps_outcome(wanted: Collection[str] | None) -> bool:
    """Whether a policy that asks for these claims (None: for any) says the same of all requests of an enclave."""
    return wanted is not None and VARYING.isdisjoint(wanted)


@dataclass(frozen=True, slots=True)
class Repeat:
    """An enclave whose evidence was accepted.

    Attributes:
        precedent: what judges its next quote.
        claims: of its tokens, with all that do not vary.
    """

    precedent: Precedent
    claims: Mapping[str, Any] = field(repr=False)
    head: bytes = field(repr=False)  # of its evidence, before what differs
    tail: bytes = field(repr=False)  # behind
    _forms: dict[tuple[str, ...], PayloadForm] = field(default_factory=dict, repr=False)

    def payload(self, texts: Mapping[str, str]) -> bytes:
        """A token's payload; `texts` are the varying claims as JSON."""
        names = tuple(texts)
        form = self._forms.get(names)
        if form is None:  # one for each set of names: there are few
            form = self._forms[names] = PayloadForm.of(self.claims, names)
        return form.filled(texts)


@dataclass(frozen=True, slots=True)
class Again:
    """Evidence of an enclave that was accepted before, its signature not yet verified."""

    repeat: Repeat
    evidence: bytes = field(repr=False)
    quote: bytes = field(repr=False)


class Repeats:
    """The enclaves that an instance has seen under its present keys and policies. Safe to share by threads."""

    def __init__(self) -> None:
        self._known: dict[tuple[Kind, str], Repeat] = {}
        self._lock = threading.Lock()

    def find(self, kind: Kind, text: str) -> Again | None:
        """The enclave whose evidence this is, as it stands in a request; None: of none that is known."""
        span = _SPANS.get(kind)
        repeat = None if span is None else self._known.get((kind, span.key(text)))
        if span is None or repeat is None:
            return None
        try:
            middle = decode(text[span.characters], "evidence")
        except Malformed:
            return None  # who reads all of it says where
        evidence = repeat.head + middle + repeat.tail
        quote = evidence[span.offset :]
        return Again(repeat, evidence, quote) if SgxPrecedent.frame_of(quote) == repeat.precedent.quote.frame else None

    def keep(self, kind: Kind, text: str, evidence: bytes, precedent: Precedent, claims: Mapping[str, Any]) -> None:
        """Remember an enclave by evidence that was accepted, and by the claims of its token."""
        span = _SPANS[kind]
        if len(text) > _MAX_TEXT or len(text.rstrip("=")) != (len(evidence) * 8 + 5) // 6:
            return  # it is padded, or there are characters that mean nothing
        constant = {name: value for name, value in claims.items() if name not in VARYING}
        repeat = Repeat(precedent, constant, evidence[: span.bytes.start], evidence[span.bytes.stop :])
        with self._lock:
            while len(self._known) >= _MAX_REPEATS:
                del self._known[next(iter(self._known))]
            self._known[kind, span.key(text)] = repeat


@dataclass(frozen=True, slots=True)
class _Span:
    """Where the quotes of an enclave differ, in whole groups of base64: 3 bytes, 4 characters."""

    offset: int  # of the quote in the evidence
    bytes: slice
    characters: slice

    @classmethod
    def of(cls, offset: int) -> _Span:
        first = (offset + SgxPrecedent.VARYING.start) // 3
        last = -(-(offset + SgxPrecedent.VARYING.stop) // 3)
        return cls(offset, slice(first * 3, last * 3), slice(first * 4, last * 4))

    def key(self, text: str) -> str:
        """What is the same in all of them."""
        return text[: self.characters.start] + text[self.characters.stop :]


_SPANS = {kind: _Span.of(offset) for kind, offset in _OFFSETS.items()}
