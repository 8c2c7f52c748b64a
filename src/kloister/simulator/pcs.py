"""What Intel's PCS would answer about the simulated platform (API version 4, and a PCCS's `rootcacrl`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import ge
from typing import Any

from kloister.formats.dcap import envelope
from kloister.formats.dcap.envelope import Envelope
from kloister.formats.wire import load_json
from kloister.simulator.naming import PlatformName

_PREFIX = "/sgx/certification/v4"
_FMSPC = re.compile(r"[0-9A-Fa-f]{12}")
_HEX = re.compile(r"[0-9A-Fa-f]*")
_NAMED = {"cpusvn": 16, "pcesvn": 2, "pceid": 2}  # bytes, as they stand in a quote
_OK, _BAD, _NOT_FOUND, _GONE = 200, 400, 404, 410
_LIMIT = 1024 * 1024  # bytes of our own TCB info


@dataclass(frozen=True, slots=True)
class PcsAnswer:
    """Status, content type, body, and an issuer chain (PEM, still to be URL-encoded) with the header it goes into."""

    status: int
    content_type: str = ""
    body: bytes = field(default=b"", repr=False)
    header: str = ""
    chain: str = field(default="", repr=False)
    more: Mapping[str, str] = field(default_factory=dict)  # other headers


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPcs:
    """A platform's published documents (with the keys of `Collateral.from_json`), by baseline.

    Attributes:
        ca: who issued the PCK certificate, `platform` or `processor`.
        standard, early: the two baselines.
        pck: that certificate; without it there is no `pckcert`.
    """

    ca: str
    standard: Mapping[str, str] = field(repr=False)
    early: Mapping[str, str] = field(repr=False)
    pck: PlatformName | None = field(default=None, repr=False)

    def answer(self, path: str, query: Mapping[str, str]) -> PcsAnswer:
        """The answer to a GET; 404 for whatever this platform has nothing about, TDX included."""
        if path == "/IntelSGXRootCA.der":
            return PcsAnswer(_OK, "application/pkix-crl", bytes.fromhex(self.standard["root_ca_crl"]))
        known = {
            f"{_PREFIX}/rootcacrl": self._root_crl,
            f"{_PREFIX}/pckcrl": self._pck_crl,
            f"{_PREFIX}/tcb": self._tcb,
            f"{_PREFIX}/qe/identity": self._identity,
            f"{_PREFIX}/pckcert": self._certificate,
        }
        return known[path](query) if path in known else PcsAnswer(_NOT_FOUND)

    def _root_crl(self, _: Mapping[str, str]) -> PcsAnswer:
        """A PCCS has it, hexadecimal."""
        return PcsAnswer(_OK, "text/plain", self.standard["root_ca_crl"].encode("ascii"))

    def _pck_crl(self, query: Mapping[str, str]) -> PcsAnswer:
        if query.get("ca") not in ("platform", "processor") or query.get("encoding", "der") != "der":
            return PcsAnswer(_BAD)
        if query["ca"] != self.ca:
            return PcsAnswer(_NOT_FOUND)
        crl, chain = bytes.fromhex(self.standard["pck_crl"]), self.standard["pck_crl_issuer_chain"]
        return PcsAnswer(_OK, "application/pkix-crl", crl, "SGX-PCK-CRL-Issuer-Chain", chain)

    def _tcb(self, query: Mapping[str, str]) -> PcsAnswer:
        if not _FMSPC.fullmatch(query.get("fmspc", "")):
            return PcsAnswer(_BAD)
        documents = self._baseline(query)
        if isinstance(documents, PcsAnswer):
            return documents
        if _fields(documents)["fmspc"].lower() != query["fmspc"].lower():
            return PcsAnswer(_NOT_FOUND)
        found = Envelope(envelope.TCB_INFO, documents["tcb_info"], documents["tcb_info_signature"])
        chain = documents["tcb_info_issuer_chain"]
        return PcsAnswer(_OK, "application/json", found.build(), "TCB-Info-Issuer-Chain", chain)

    def _identity(self, query: Mapping[str, str]) -> PcsAnswer:
        documents = self._baseline(query)
        if isinstance(documents, PcsAnswer):
            return documents
        found = Envelope(envelope.ENCLAVE_IDENTITY, documents["qe_identity"], documents["qe_identity_signature"])
        chain = documents["qe_identity_issuer_chain"]
        return PcsAnswer(_OK, "application/json", found.build(), "SGX-Enclave-Identity-Issuer-Chain", chain)

    def _certificate(self, query: Mapping[str, str]) -> PcsAnswer:
        """The PCK certificate, asked for by the QE's id, as a PCCS is, or by the encrypted PPID, as Intel's PCS is.

        Only Intel's can decrypt a PPID; of any other text this service, which has one platform only, thinks the same.
        """
        raw = {name: query.get(name, "") for name in _NAMED}
        known_by = [name for name in ("qeid", "encrypted_ppid") if name in query]
        if not known_by or not all(_hexadecimal(text, _NAMED[name]) for name, text in raw.items()):
            return PcsAnswer(_BAD)
        cpusvn, pcesvn, pceid = (bytes.fromhex(raw[name]) for name in _NAMED)
        pck = self.pck
        if pck is None or pceid != pck.extension.pceid or query.get("qeid", pck.qe_id.hex()).lower() != pck.qe_id.hex():
            return PcsAnswer(_NOT_FOUND)
        reached = all(map(ge, cpusvn, pck.extension.cpusvn))
        if not reached or int.from_bytes(pcesvn, "little") < pck.extension.pcesvn:
            return PcsAnswer(_NOT_FOUND)
        more = {
            "SGX-TCBm": pck.svns.hex(),
            "SGX-FMSPC": pck.extension.fmspc.hex().upper(),
            "SGX-PCK-Certificate-CA-Type": self.ca,
        }
        header = "SGX-PCK-Certificate-Issuer-Chain"
        return PcsAnswer(_OK, "application/x-pem-file", pck.pem.encode("ascii"), header, pck.issuers, more)

    def _baseline(self, query: Mapping[str, str]) -> Mapping[str, str] | PcsAnswer:
        """The documents of `update=` or of a number: 410 for one that is retired, 404 for one that is not there yet."""
        update, number = query.get("update"), query.get("tcbEvaluationDataNumber")
        if number is None:
            known = {None: self.standard, "standard": self.standard, "early": self.early}
            return known[update] if update in known else PcsAnswer(_BAD)
        if update is not None or not (number.isascii() and number.isdigit()):
            return PcsAnswer(_BAD)
        by_number = {_fields(each)["tcbEvaluationDataNumber"]: each for each in (self.standard, self.early)}
        if int(number) in by_number:
            return by_number[int(number)]
        return PcsAnswer(_GONE if int(number) < min(by_number) else _NOT_FOUND)


def _hexadecimal(text: str, size: int) -> bool:
    return len(text) == 2 * size and _HEX.fullmatch(text) is not None


def _fields(documents: Mapping[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = load_json(documents["tcb_info"].encode("ascii"), "tcb-info", _LIMIT)
    return fields
