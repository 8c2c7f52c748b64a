"""Evidence of the other TEEs, and what evidence arrives in: trust domains, SEV-SNP, Azure's blob, RA-TLS, bundles."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

from kloister.errors import Malformed
from kloister.formats.dcap import Quote, TcbInfo
from kloister.formats.ratls import Form, RatlsCertificate, cbor, claims_for
from kloister.formats.snp import AmdCertificate, AmdCrl, HclBlob, Product, SnpReport, parse_certificates
from kloister.formats.tdx import TdReport
from kloister.formats.wire import load_json
from kloister.services.appraisal.recognise import recognise
from kloister.services.collateral.bundle import Bundle
from kloister.trust.amd_root import AmdRoot
from kloister.trust.verifier import Collateral, Root, verify_quote
from kloister.trust.verifier.endorsement import SnpEndorsement
from kloister.trust.verifier.snp import verify_snp
from tests.fuzz.target import Target
from tests.support.evidence import NOW, Forge
from tests.support.ratls import ratls, spki
from tests.support.snp import NOW as SNP_NOW
from tests.support.snp import SnpForge
from tests.support.trust_domains import TDX15, TDX15EX, TdForge

_RUNTIME = b'{"keys":[{"kid":"HCLAkPub"}],"user-data":"00ff"}'
_LIMIT = 1 << 20  # bytes of a bundle


@cache
def _forges() -> tuple[SnpForge, ...]:
    return (SnpForge(), SnpForge.of(Product.GENOA, 2), SnpForge.of(Product.TURIN, 5), SnpForge.vlek())


@cache
def _genuine() -> tuple[bytes, SnpEndorsement, AmdRoot]:
    forge = _forges()[0]
    return forge.signed(), forge.endorsement(forge.crl(7)), forge.root


def targets() -> Iterator[Target]:
    """TDX, SNP and what carries them."""
    yield Target(name="td-report", read=TdReport.parse, seeds=_td_reports, build=TdReport.build)
    yield Target(name="td-quote", read=Quote.parse, seeds=_td_quotes, build=Quote.build)
    yield Target(name="verify-td-quote", read=_verify_domain, seeds=_td_quotes)
    yield Target(name="td-tcb-info", read=lambda data: TcbInfo.parse(_text(data)), seeds=_td_infos)
    yield Target(name="snp-report", read=SnpReport.parse, seeds=_snp_reports, build=SnpReport.build)
    yield Target(name="verify-snp-report", read=_verify_report, seeds=lambda: [_genuine()[0]])
    yield Target(name="verify-snp-certificate", read=_verify_certificate, seeds=lambda: [_genuine()[1].vek])
    yield Target(name="amd-certificate", read=AmdCertificate.parse, seeds=_amd_certificates)
    yield Target(name="amd-chain", read=lambda data: parse_certificates(data, "fuzzed-chain"), seeds=_amd_chains)
    yield Target(name="amd-crl", read=AmdCrl.parse, seeds=lambda: [one.crl(1, 2, 3) for one in _forges()[:2]])
    yield Target(name="hcl-blob", read=_hcl, seeds=_blobs, build=HclBlob.build)
    yield Target(name="cbor", read=cbor.decode, seeds=lambda: [claims_for(spki(), b"nonce")], build=cbor.encode)
    yield Target(name="ratls-certificate", read=RatlsCertificate.parse, seeds=_ratls)
    yield Target(name="recognise", read=recognise, seeds=_evidence, refusals=(Malformed,))
    yield Target(name="evidence-bundle", read=_bundle, seeds=_bundles, refusals=(Malformed,))


def _td_reports() -> list[bytes]:
    return [bytes(range(256))[:8] * (size // 8) + bytes(size % 8) for size in (584, 648, 885)]


@cache
def _td_forges() -> tuple[TdForge, ...]:
    return (TdForge(), TdForge(version=5, report=TDX15), TdForge(version=5, report=TDX15EX))


def _td_quotes() -> list[bytes]:
    return [forge.quote() for forge in _td_forges()]


def _td_infos() -> list[bytes]:
    return [_td_documents()["tcb_info"].encode()]


@cache
def _td_documents() -> dict[str, str]:
    return _td_forges()[0].documents()


def _verify_domain(data: bytes) -> object:
    return verify_quote(data, Collateral.from_json(_td_documents()), [_root()], NOW)


@cache
def _root() -> Root:
    return Root.from_der(_td_forges()[0].pki.root_der())


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").encode("ascii", "replace").decode("ascii")  # collateral is ASCII by then


def _snp_reports() -> list[bytes]:
    return [forge.signed() for forge in _forges()]


def _verify_report(data: bytes) -> object:
    _, endorsement, root = _genuine()
    return verify_snp(data, endorsement, [root], SNP_NOW)


def _verify_certificate(data: bytes) -> object:
    report, genuine, root = _genuine()
    return verify_snp(report, replace(genuine, vek=data), [root], SNP_NOW)


def _amd_certificates() -> list[bytes]:
    return [one for forge in _forges() for one in (forge.vek_der(), forge.ask_der(), forge.ark_der())]


def _amd_chains() -> list[bytes]:
    forge = _forges()[0]
    return [forge.chain(), forge.ask_der() + forge.ark_der()]


def _hcl(data: bytes) -> HclBlob:
    blob = HclBlob.parse(data)
    blob.claims()
    return blob


def _blobs() -> list[bytes]:
    blob = HclBlob(report=_forges()[0].signed(), runtime=_RUNTIME).build()
    return [blob, blob + bytes(300)]


def _ratls() -> list[bytes]:
    return [ratls(Forge(), form) for form in Form]


def _evidence() -> list[bytes]:
    quote = Forge().quote()
    bound = base64.b64encode(_ratls()[0])
    pem = b"-----BEGIN CERTIFICATE-----\n" + bound + b"\n-----END CERTIFICATE-----\n"
    return [quote, quote.hex().encode(), base64.b64encode(quote), *_ratls(), pem, _blobs()[0], _forges()[0].signed()]


def _bundle(data: bytes) -> object:
    """With the hash that fits: it is there against accidents, and every forger can compute it."""
    value = load_json(data, "evidence-bundle", _LIMIT)
    if isinstance(value, dict):
        parts = {name: value.get(name) for name in ("evidence", "collateral", "policy", "at")}
        value["sha256"] = hashlib.sha256(_canonical(parts)).hexdigest()
        data = _canonical(value)
    return Bundle.parse(data)


def _canonical(value: Any) -> bytes:
    build: Callable[..., str] = json.dumps
    return build(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _bundles() -> list[bytes]:
    forge = Forge()
    at = NOW - timedelta(seconds=1)
    one = Bundle(evidence=forge.quote()[:100], collateral=dict(forge.documents()), policy="{}", at=at)
    two = Bundle(evidence=b"x", collateral={}, policy=None, at=NOW)
    return [one.build(), two.build()]
