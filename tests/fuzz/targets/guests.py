"""What guests and services send around evidence: tokens and their keys, a TPM's quote, a key broker's JSON, packs."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from kloister.errors import Malformed
from kloister.formats.snp import HclBlob
from kloister.formats.snp.serde import report_of_json
from kloister.formats.tokens import Jwk, JwkSet, Jws, jwk_of, sign, unsecured
from kloister.formats.tokens.reading import read_claims
from kloister.formats.tpm import TpmQuote
from kloister.formats.wire import load_json
from kloister.services.appraisal.kbs import open_kbs
from kloister.services.collateral.model import Held, Item, Key, Kind, Window
from kloister.services.collateral.pack import Pack
from kloister.trust.verifier.token import verify_token
from kloister.trust.verifier.vtpm import VtpmEvidence, verify_vtpm
from tests.fuzz.target import Target
from tests.support.evidence import NOW, Forge
from tests.support.serde import serde
from tests.support.snp import SnpForge
from tests.support.tokens import KEYS, certificate

_LIMIT = 1 << 20  # bytes of JSON
_HEADER = {"kid": "k", "typ": "JWT"}
_CLAIMS: tuple[dict[str, Any], ...] = (
    {
        "iss": "https://issuer.example", "nbf": 1, "exp": 1 << 33, "x-ms-ver": "1.0", "x-ms-attestation-type": "sgx",
        "x-ms-sgx-mrenclave": "11" * 32, "x-ms-sgx-svn": 3, "x-ms-sgx-is-debuggable": False,
        "kloister-tcb-status": "UpToDate", "kloister-advisories": ["INTEL-SA-00001"],
        "kloister-collateral": {"issued": "2026-01-01T00:00:00Z"}, "kloister-tcb-date": "2026-01-01T00:00:00Z",
    },
    {
        "iss": "https://issuer.example", "exp": 1 << 33, "eat_profile": "tag:github.com,2023:veraison/ear",
        "ear.verifier-id": {"developer": "https://a.example", "build": "1"},
        "submods": {"guest": {"ear.status": "affirming", "ear.trustworthiness-vector": {"executables": 2}}},
    },
)  # fmt: skip
_REGISTERS = [bytes([number]) * 32 for number in range(24)]


def targets() -> Iterator[Target]:
    """Tokens, TPMs, key brokers, packs."""
    yield Target(name="jws", read=_jws, seeds=_tokens, refusals=(Malformed,))
    yield Target(name="jwk-set", read=JwkSet.parse, seeds=_key_sets, refusals=(Malformed,))
    yield Target(name="verify-token", read=lambda data: verify_token(data, _keys(), NOW), seeds=lambda: _tokens()[:-1])
    yield Target(name="token-claims", read=_claims, seeds=lambda: [json.dumps(one).encode() for one in _CLAIMS])
    yield Target(name="tpm-quote", read=TpmQuote.parse, seeds=lambda: [_tpm().build()], build=TpmQuote.build)
    yield Target(name="verify-tpm-quote", read=_verify_tpm, seeds=lambda: [_tpm().build()])
    yield Target(name="snp-json", read=_report, seeds=_reports, refusals=(Malformed,))
    yield Target(name="kbs-evidence", read=open_kbs, seeds=_kbs, refusals=(Malformed,))
    yield Target(name="collateral-pack", read=_pack, seeds=_packs, refusals=(Malformed,))


def _jws(data: bytes) -> object:
    return Jws.parse(data).claims


def _tokens() -> list[bytes]:
    payloads = [json.dumps(each).encode() for each in _CLAIMS]
    signed = [sign(_HEADER, payload, KEYS[name]) for payload in payloads for name in ("ES256", "ES384")]
    return [one.encode() for one in (*signed, unsecured(_HEADER, payloads[0]))]


@cache
def _keys() -> JwkSet:
    names = ("ES256", "ES384")
    return JwkSet(tuple(Jwk(kid="k", key=KEYS[name].public_key()) for name in names))


def _key_sets() -> list[bytes]:
    with_chain = [jwk_of(key.public_key(), name, [certificate(key)]) for name, key in KEYS.items()]
    return [json.dumps(one).encode() for one in (_keys().as_json(), {"keys": with_chain})]


def _claims(data: bytes) -> object:
    return read_claims(_object(data))


def _object(data: bytes) -> dict[str, Any]:
    value = load_json(data, "fuzzed", _LIMIT)
    if not isinstance(value, dict):
        raise Malformed("fuzzed", "No object.")
    return value


def _tpm(nonce: bytes = b"n" * 32) -> TpmQuote:
    digest = hashlib.sha256(b"".join(_REGISTERS)).digest()
    return TpmQuote(nonce=nonce, selection=((TpmQuote.SHA256, tuple(range(24))),), pcr_digest=digest)


def _verify_tpm(data: bytes) -> object:
    """Every message is signed: what is looked at behind the signature."""
    key: Any = KEYS["RS256"]
    signature = key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    runtime = {"keys": [jwk_of(key.public_key(), "HCLAkPub")]}
    return verify_vtpm(VtpmEvidence(data, signature, _REGISTERS), runtime)


def _report(data: bytes) -> object:
    return report_of_json(load_json(data, "fuzzed", _LIMIT))


@cache
def _forge() -> SnpForge:
    return SnpForge()


def _reports() -> list[bytes]:
    return [json.dumps(serde(_forge().signed(), old)).encode() for old in (False, True)]


def _kbs() -> list[bytes]:
    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    forge, quote = _forge(), text(Forge().quote())
    table = [("VCEK", forge.vek_der()), ("ASK", forge.ask_der()), ("ARK", forge.ark_der())]
    chain = [{"cert_type": name, "data": list(der)} for name, der in table]
    blob = HclBlob(report=forge.signed(), runtime=b'{"keys":[]}').build()
    tpm = {"signature": "00" * 256, "message": _tpm().build().hex(), "pcrs": [one.hex() for one in _REGISTERS]}
    session = {"nonce": "AAAA", "tee-pubkey": {"kty": "EC", "crv": "P-256"}}
    documents: list[dict[str, Any]] = [
        {"quote": quote},
        {"tee-evidence": {"quote": quote}},
        {"runtime-data": session, "tee-evidence": {"primary_evidence": {"quote": quote}, "additional_evidence": ""}},
        {"attestation_report": serde(forge.signed()), "cert_chain": chain},
        {"version": 2, "tpm_quote": tpm, "hcl_report": text(blob), "vcek": text(forge.vek_der())},
    ]
    return [json.dumps(one).encode() for one in documents]


def _pack(data: bytes) -> object:
    """With the hash that fits: it is there against accidents, and every forger can compute it."""
    value = load_json(data, "collateral-pack", _LIMIT)
    if isinstance(value, dict) and isinstance(value.get("items"), list):
        value["sha256"] = hashlib.sha256(_canonical(value["items"])).hexdigest()
        data = _canonical(value)
    return Pack.parse(data)


def _canonical(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def _packs() -> list[bytes]:
    item = Item(key=Key.of(Kind.ROOT_CRL), body=b"x", source="https://a.example", fetched=NOW)
    packs = (Pack(NOW, ()), Pack(NOW, (Held(item, Window(NOW, NOW)),)))
    return [one.build() for one in packs]
