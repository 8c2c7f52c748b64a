"""What collateral is asked for, and what is kept of it."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from kloister.errors import KloisterError, Malformed
from kloister.formats.wire import canonical_json

MAX_BODY = 4 * 1024 * 1024  # bytes of one document; Intel's and AMD's have some 10 KiB
MAX_CHAIN = 256 * 1024  # characters of an issuer chain; Intel's have 2 KiB
_MAX_TEXT = 1024  # characters of a source's name or a part of a key
_PARTS = 8  # of a key; five are in use
_INSTANT = "%Y-%m-%dT%H:%M:%SZ"
_HIDDEN = frozenset({"chip", "qeid", "ppid"})  # in a key: what names one machine
_ANCHOR = "roots"  # in a key: under which roots the document is held


class Tee(StrEnum):
    """Whose platforms Intel's documents describe."""

    SGX = "sgx"
    TDX = "tdx"


class Update(StrEnum):
    """Which of Intel's two baselines: `early` counts a TCB recovery from its announcement on (PCS API v4)."""

    STANDARD = "standard"
    EARLY = "early"


class Kind(StrEnum):
    """The documents: Intel's four and the certificate of a platform, and AMD's."""

    TCB_INFO = "tcb-info"
    QE_IDENTITY = "qe-identity"
    PCK_CRL = "pck-crl"
    ROOT_CRL = "root-crl"
    PCK = "pck-certificate"
    VCEK = "vcek"
    VLEK = "vlek"
    AMD_CHAIN = "amd-chain"
    AMD_CRL = "amd-crl"


@dataclass(frozen=True, slots=True)
class Key:
    """Names one document: its kind, and what it is about (`fmspc`, `ca`, ...), sorted by name."""

    kind: Kind
    about: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, kind: Kind, /, **about: str) -> Self:
        """The key of a document about these things."""
        return cls(kind, tuple(sorted(about.items())))

    def get(self, name: str) -> str:
        """One of the things; empty where the key has none of this name."""
        return dict(self.about).get(name, "")

    @property
    def name(self) -> str:
        """A file name: the kind and 32 digits of a hash, so that no chip's identifier stands in a directory listing."""
        return f"{self.kind}-{hashlib.sha256(canonical_json(self.as_json())).hexdigest()[:32]}"

    @property
    def label(self) -> str:
        """For people. What names one machine for its whole life is hashed."""
        about = [pair for pair in self.about if pair[0] != _ANCHOR]
        shown = [(name, _hidden(value) if name in _HIDDEN else value) for name, value in about]
        return " ".join([self.kind, *(f"{name}={value}" for name, value in shown)])

    def under(self, anchor: str) -> Self:
        """The same document, as those who trust these roots hold it (`anchor_of`)."""
        return type(self).of(self.kind, **{**dict(self.about), _ANCHOR: anchor})

    def as_json(self) -> dict[str, Any]:
        """`{"kind", "about"}`."""
        return {"kind": str(self.kind), "about": dict(self.about)}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The reverse of `as_json`. Raises `Malformed`: `item-key`."""
        if isinstance(value, dict) and isinstance(value.get("about"), dict) and value.get("kind") in tuple(Kind):
            about = value["about"]
            texts = [text for pair in about.items() for text in pair]
            if len(about) <= _PARTS and all(isinstance(text, str) and len(text) <= _MAX_TEXT for text in texts):
                return cls.of(Kind(value["kind"]), **about)
        raise Malformed("item-key", "An item of collateral does not say what it is.")


def anchor_of(fingerprints: Iterable[str]) -> str:
    """A name for a set of roots, so that documents under others (a simulator's) do not take each other's place."""
    return hashlib.sha256("".join(sorted(fingerprints)).encode("ascii")).hexdigest()[:16]


def _hidden(value: str) -> str:
    return "hashed:" + hashlib.sha256(b"kloister/collateral/chip" + value.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a quote's verification needs.

    Attributes:
        tee: which of Intel's.
        fmspc: the platform family, 6 bytes; empty where the PCK certificate has to be fetched first.
        ca: `platform` or `processor`, who issued the PCK certificate; empty likewise.
        pck: which certificate that is.
        update: which baseline, where no number is given.
        evaluation_number: one TCB evaluation data number instead of a baseline.
        pck_chain: PEM, for quotes that carry no certificates.
    """

    tee: Tee
    fmspc: bytes = b""
    ca: str = ""
    pck: Key | None = None
    update: Update = Update.STANDARD
    evaluation_number: int | None = None
    pck_chain: str | None = field(default=None, repr=False)

    def keys(self) -> tuple[Key, Key, Key, Key]:
        """Root CRL first: whoever it revokes cannot vouch for the others (PCK CRL, TCB info, QE identity)."""
        number = self.evaluation_number
        channel = str(self.update) if number is None else str(number)
        return (
            Key.of(Kind.ROOT_CRL),
            Key.of(Kind.PCK_CRL, ca=self.ca),
            Key.of(Kind.TCB_INFO, tee=self.tee, fmspc=self.fmspc.hex(), channel=channel),
            Key.of(Kind.QE_IDENTITY, tee=self.tee, channel=channel),
        )


@dataclass(frozen=True, slots=True)
class Window:
    """From when until when a document vouches, both ends included."""

    issued: datetime
    expires: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One document as it was fetched.

    Attributes:
        key: what it is.
        body: the signed envelope as sent, or DER of a list or certificate.
        chain: PEM of who signed it; empty where the document itself or a pinned root says so.
        source: who sent it; names the host, never a query.
        fetched: when.
    """

    key: Key
    body: bytes = field(repr=False)
    chain: str = field(default="", repr=False)
    source: str
    fetched: datetime

    @property
    def sha256(self) -> str:
        """Of the body, hexadecimal."""
        return hashlib.sha256(self.body).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """The object of caches and packs."""
        return {
            **self.key.as_json(),
            "body": base64.b64encode(self.body).decode("ascii"),
            "chain": self.chain,
            "source": self.source,
            "fetched": instant(self.fetched),
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The reverse of `as_json`. Raises `Malformed`: `item-key`, `item-field`."""
        key = Key.from_json(value)
        return cls(
            key=key,
            body=_octets(value),
            chain=_text(value, "chain", MAX_CHAIN),
            source=_text(value, "source", _MAX_TEXT),
            fetched=parse_instant(_text(value, "fetched", _MAX_TEXT), "item-field"),
        )


@dataclass(frozen=True, slots=True)
class Held:
    """An item that was admitted. `stale` says why no newer one could be had, where one was due."""

    item: Item
    window: Window
    stale: KloisterError | None = None

    def as_json(self) -> dict[str, Any]:
        """Its provenance, for people and machines."""
        return {
            "item": self.item.key.label,
            "source": self.item.source,
            "fetched": instant(self.item.fetched),
            "issued": instant(self.window.issued),
            "expires": instant(self.window.expires),
            "sha256": self.item.sha256,
            **({"stale": self.stale.as_json()} if self.stale else {}),
        }


def instant(at: datetime) -> str:
    """`2026-01-15T00:00:00Z`."""
    return at.astimezone(UTC).strftime(_INSTANT)


def parse_instant(text: str, code: str) -> datetime:
    """The reverse of `instant`. Raises `Malformed` with `code`."""
    try:
        return datetime.strptime(text, _INSTANT).replace(tzinfo=UTC)
    except ValueError:
        raise Malformed(code, f"{text[:32]!a} is no time like 2026-01-15T00:00:00Z.") from None


def _octets(value: Mapping[str, Any]) -> bytes:
    text = _text(value, "body", MAX_BODY // 3 * 4 + 4)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("item-field", "The body of an item of collateral is not base64.") from None


def _text(value: Mapping[str, Any], name: str, limit: int) -> str:
    found = value.get(name)
    if not isinstance(found, str) or len(found) > limit or not found.isascii():
        raise Malformed("item-field", f"The part {name} of an item of collateral is missing, not text, or too long.")
    return found
