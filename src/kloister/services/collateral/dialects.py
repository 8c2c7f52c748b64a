"""What servers are asked and how they answer: Intel's PCS, PCCS, Azure's THIM (versions 3 and 4 of the API)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol
from urllib.parse import unquote, urlencode

from kloister.errors import Malformed, Misconfigured
from kloister.formats.dcap import envelope
from kloister.formats.dcap.envelope import Envelope
from kloister.formats.pki import Crl
from kloister.formats.pki.crl import der_of
from kloister.services.collateral.model import MAX_CHAIN, Key, Kind, Tee
from kloister.services.collateral.transport import Answer, Endpoint, Request

V3, V4 = 3, 4
INTEL = "https://api.trustedservices.intel.com"
INTEL_CRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
THIM = "https://global.acccache.azure.net"
_CRL_PATH = "/IntelSGXRootCA.der"
_JSON = "application/json"
_IDENTITY_CHAIN = "sgx-enclave-identity-issuer-chain"
_PCK_CHAIN = "sgx-pck-certificate-issuer-chain"
_PCK_CRL_CHAIN = "sgx-pck-crl-issuer-chain"


class SourceKind(StrEnum):
    """Who is behind a source."""

    PCS = "pcs"  # Intel's own
    PCCS = "pccs"  # Intel's caching service, at home
    THIM = "thim"  # Azure's cache, which speaks as a PCCS does
    KDS = "kds"  # AMD's


class Source(Protocol):
    """One server that can be asked for documents."""

    @property
    def name(self) -> str:
        """Kind and host, for people and provenance."""

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        """Whom its requests go to."""

    def request(self, key: Key) -> Request | None:
        """How to ask for a document; None where this source does not carry it."""

    def read(self, key: Key, answer: Answer) -> tuple[bytes, str]:
        """Body and PEM chain out of an answer with status 200. Raises `Malformed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntelSource:
    """A server that speaks Intel's API.

    Attributes:
        kind: `pcs`, `pccs` or `thim`.
        base: scheme, host and port; the path is the API's.
        version: 3 or 4. TDX, early updates and evaluation numbers came with 4.
        headers: a subscription key or user token, where the server wants one.
    """

    kind: SourceKind
    base: str
    version: int = V4
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        """For instance `pccs localhost:8081`."""
        return f"{self.kind} {Endpoint.of(self.base).name}"

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        """Intel's PCS has its root's list at another host."""
        return frozenset({Endpoint.of(self.base), Endpoint.of(self._root_crl())})

    def request(self, key: Key) -> Request | None:
        """See `Source.request`."""
        root = self._path("sgx")
        if key.kind is Kind.ROOT_CRL:
            return self._request(self._root_crl())
        if key.kind is Kind.PCK_CRL:
            return self._request(f"{root}/pckcrl", ca=key.get("ca"), encoding="der")
        if key.kind is Kind.PCK:
            return self._pck(key)
        return self._document(key) if key.kind in (Kind.TCB_INFO, Kind.QE_IDENTITY) else None

    def _document(self, key: Key) -> Request | None:
        query = _channel(key.get("channel"))
        if self.version < V4 and (query or key.get("tee") != Tee.SGX):
            return None
        if key.kind is Kind.TCB_INFO:
            return self._request(f"{self._path(key.get('tee'))}/tcb", fmspc=key.get("fmspc").upper(), **query)
        return self._request(f"{self._path(key.get('tee'))}/qe/identity", **query)

    def read(self, key: Key, answer: Answer) -> tuple[bytes, str]:
        """See `Source.read`. Raises `Malformed`: `source-type`, `source-header`, `envelope-*`, `crl-*`."""
        if key.kind in (Kind.ROOT_CRL, Kind.PCK_CRL):
            chain = _chain(answer, _PCK_CRL_CHAIN) if key.kind is Kind.PCK_CRL else ""
            return crl_of(answer), chain
        if key.kind is Kind.PCK:
            return answer.body, _chain(answer, _PCK_CHAIN)
        name = envelope.TCB_INFO if key.kind is Kind.TCB_INFO else envelope.ENCLAVE_IDENTITY
        _require_json(answer)
        found = Envelope.parse(answer.body, name)
        header = self._tcb_header() if key.kind is Kind.TCB_INFO else _IDENTITY_CHAIN
        return found.build(), _chain(answer, header)

    def _pck(self, key: Key) -> Request | None:
        """By the encrypted PPID; a PCCS knows its platforms by the QE's id too, and a bare PPID is no question."""
        named = {name: key.get(name) for name in ("cpusvn", "pcesvn", "pceid")}
        if key.get("encrypted") == "yes":
            named["encrypted_ppid"] = key.get("ppid")
        if self.kind is not SourceKind.PCS:
            named["qeid"] = key.get("qeid")
        elif "encrypted_ppid" not in named:
            return None
        return self._request(f"{self._path('sgx')}/pckcert", **named)

    def _tcb_header(self) -> str:
        return "tcb-info-issuer-chain" if self.version >= V4 else "sgx-tcb-info-issuer-chain"

    def _path(self, tee: str) -> str:
        return f"{self.base}/{tee}/certification/v{self.version}"

    def _root_crl(self) -> str:
        if self.kind is not SourceKind.PCS:
            return f"{self._path('sgx')}/rootcacrl"
        return INTEL_CRL if self.base == INTEL else self.base + _CRL_PATH

    def _request(self, url: str, **query: str) -> Request:
        ours = Endpoint.of(url) == Endpoint.of(self.base)  # a key goes to whom it belongs, not to the list's host
        return Request(f"{url}?{urlencode(query)}" if query else url, dict(self.headers) if ours else {})


def _channel(channel: str) -> dict[str, str]:
    """The query of a baseline or number. `standard` is what servers send unasked; version 3 knows nothing else."""
    if channel == "standard":
        return {}
    return {"update": channel} if channel == "early" else {"tcbEvaluationDataNumber": channel}


def _content_type(answer: Answer) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def _require_json(answer: Answer) -> None:
    if _content_type(answer) != _JSON:
        raise Malformed("source-type", f"A document in JSON was expected, not {_content_type(answer)[:64]!a}.")


def crl_of(answer: Answer) -> bytes:
    """DER of a revocation list that came as DER, hexadecimal or PEM.

    The type is not looked at, but for JSON: a PCCS sends its hexadecimal as text/html.
    """
    if _content_type(answer) == _JSON:
        raise Malformed("source-type", "A revocation list was expected, not JSON.")
    Crl.parse(answer.body)
    return der_of(answer.body)


def _chain(answer: Answer, header: str) -> str:
    """The issuer chain: PEM, URL-encoded in a header."""
    value = answer.headers.get(header)
    if value is None or len(value) > MAX_CHAIN:
        raise Malformed("source-header", f"The answer lacks the issuer chain (header {header}), or it is too long.")
    try:
        chain = unquote(value, encoding="ascii", errors="strict")
    except UnicodeDecodeError:
        raise Malformed("source-header", f"The issuer chain (header {header}) is not PEM.") from None
    if not chain.isascii():
        raise Malformed("source-header", f"The issuer chain (header {header}) is not PEM.")
    return chain


def source_of(text: str, headers: Mapping[str, str] | None = None) -> IntelSource:
    """A source as an operator names it: `pcs`, `thim`, or KIND+URL; a bare URL is a PCCS.

    The URL may end in `/sgx/certification/vN`, as it stands in other clients' settings; it says the version then.

    Raises:
        Misconfigured: `source-url`, `source-plain`.
    """
    kind, plus, url = text.partition("+")
    if not plus:
        kind, url = (text, "") if text in ("pcs", "thim") else ("pccs", text)
    defaults = {"pcs": INTEL, "thim": THIM, "pccs": ""}
    if kind not in defaults:
        raise Misconfigured(
            "source-url",
            f"{kind[:32]!a} is no kind of source.",
            "Kinds are pcs, pccs, thim and kds.",
        )
    base, version = _split_version((url or defaults[kind]).rstrip("/"))
    Endpoint.of(base)
    return IntelSource(kind=SourceKind(kind), base=base, version=version, headers=tuple((headers or {}).items()))


def _split_version(url: str) -> tuple[str, int]:
    for version in (V3, V4):
        for tee in ("sgx", "tdx"):
            suffix = f"/{tee}/certification/v{version}"
            if url.endswith(suffix):
                return url[: -len(suffix)], version
    return url, V4
