"""Quotes, reports, certificates and lists; and the whole verification of what they make together."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from kloister.formats.dcap import PckExtension, Quote
from kloister.formats.pki import Certificate, Crl, parse_chain
from kloister.formats.sgx import Report, ReportBody, Sigstruct
from kloister.simulator.architectural import QE
from kloister.simulator.pki import CaType, SimulatedPki
from tests.fuzz.target import Target
from tests.support.evidence import ENCLAVE, SEED, Forge


@cache
def _forge() -> Forge:
    return Forge()


def targets() -> Iterator[Target]:
    """SGX evidence."""
    yield Target(name="quote", read=Quote.parse, seeds=_quotes, build=Quote.build)
    yield Target(name="verify-sgx-quote", read=_verify, seeds=lambda: [_forge().quote()])
    yield Target(name="sgx-report-body", read=ReportBody.parse, seeds=lambda: [ENCLAVE.build()], build=ReportBody.build)
    yield Target(name="sgx-report", read=Report.parse, seeds=_reports, build=Report.build)
    yield Target(name="sigstruct", read=Sigstruct.parse, seeds=lambda: [QE.sigstruct().build()], build=Sigstruct.build)
    yield Target(name="pck-extension", read=PckExtension.parse, seeds=_extensions, build=PckExtension.build)
    yield Target(name="crl", read=Crl.parse, seeds=_lists)
    yield Target(name="certificate", read=Certificate.parse, seeds=_certificates)
    yield Target(name="certificate-chain", read=_chain, seeds=lambda: [_forge().pki.pck_chain_pem().encode()])


def _verify(data: bytes) -> object:
    return _forge().verify(_documents(), quote=data)


@cache
def _documents() -> dict[str, str]:
    return _forge().documents()


def _chain(data: bytes) -> object:
    return parse_chain(data, "fuzzed-chain")


def _quotes() -> list[bytes]:
    return [_forge().quote(), Forge(padding=bytes(64)).quote(), Forge(qe_auth_data=b"").quote()]


def _reports() -> list[bytes]:
    return [Report(body=ENCLAVE, keyid=bytes(range(32)), mac=bytes(range(16))).build()]


def _extensions() -> list[bytes]:
    kinds = (SimulatedPki.derive(SEED, ca_type=kind) for kind in CaType)
    return [pki.extension.build() for pki in kinds]


def _lists() -> list[bytes]:
    documents = _forge().documents(revoked_pcks=(1, 2, 1 << 100))
    raw = bytes.fromhex(documents["pck_crl"])
    return [raw, documents["root_ca_crl"].encode(), bytes.fromhex(documents["root_ca_crl"])]


def _certificates() -> list[bytes]:
    pki = _forge().pki
    return [one.certificate.der for one in (pki.pck, pki.ca, pki.root, pki.tcb_signer)]
