"""What comes over a wire or from a person: release messages, the enclave's socket, requests to attest, policies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from kloister.formats.policy import parse_policy
from kloister.formats.protocol import aesm, tee
from kloister.formats.protocol.frames import Decoder
from kloister.formats.protocol.maa import AttestRequest, SnpEvidence
from kloister.formats.protocol.release import (
    Bundle,
    Challenge,
    ChallengeRequest,
    Refusal,
    ReleaseRequest,
    Sealed,
    SecretFile,
)
from kloister.formats.tokens.policy import PolicyToken, policy_token
from kloister.formats.wire import b64url, canonical_json
from kloister.services.yaml import load
from kloister.trust.policy.appraisal import parse_appraisal
from tests.fuzz.target import Target
from tests.support.attestation import Signer
from tests.support.broker import DOCUMENT

_LIMIT = 1 << 20  # bytes of a message


class _Message(Protocol):
    def build(self) -> bytes: ...


def targets() -> Iterator[Target]:
    """Messages and policies."""
    for name, message in _messages().items():
        yield Target(name=name, read=type(message).parse, seeds=_one(message), build=lambda value: value.build())
    yield Target(name="tee-request", read=_tee, seeds=_tee_requests)
    yield Target(name="aesm-request", read=aesm.parse_request, seeds=_aesm_requests)
    yield Target(name="aesm-answer", read=aesm.parse_answer, seeds=_aesm_answers)
    yield Target(name="attest-request", read=_attest_request, seeds=_attest_requests)
    yield Target(name="snp-evidence", read=SnpEvidence.parse, seeds=_snp_evidence)
    yield Target(name="policy-token", read=lambda data: _policy_token(data.decode("utf-8", "replace")), seeds=_tokens)
    yield Target(name="release-policy", read=lambda data: parse_policy(load(data, "policy")), seeds=_policies)
    yield Target(name="appraisal-policy", read=parse_appraisal, seeds=lambda: [json.dumps(_APPRAISAL).encode()])


_APPRAISAL: dict[str, Any] = {
    "tcb": {
        "accept": ["UpToDate", "SWHardeningNeeded"],
        "waive": [{"advisory": "INTEL-SA-00615", "until": "2027-01-01", "reason": "not reachable here"}],
        "minimumDate": "2026-01-01",
        "minimumEvaluationNumber": 20,
    },
    "collateral": {"maximumAge": 30},
    "simulated": "allow",
    "sgx": {"mrenclave": "11" * 32, "mrsigner": "22" * 32, "isvprodid": 7, "isvsvn": 3},
    "tdx": {},
}


def _one(message: _Message) -> Callable[[], list[bytes]]:
    return lambda: [message.build()]


def _messages() -> dict[str, Any]:
    bundle = Bundle(
        arguments=("/bin/app", "--serve"),
        environment={"DB_PASSWORD": "s3cret"},
        files=(SecretFile("/etc/tls/tls.key", 0o400, 1000, 1000, b"key"),),
        slots={"LOG_LEVEL": "^(info|debug)$"},
        keys={"layer": bytes(32)},
    )
    names = ("clinic", "inference")
    return {
        "challenge-request": ChallengeRequest(*names),
        "challenge": Challenge(bytes(32), 1 << 31),
        "release-request": ReleaseRequest(bytes(32), *names, "app", "instance-1", bytes(32), b"quote" * 100),
        "sealed": Sealed(bytes(range(32)), b"ciphertext"),
        "refusal": Refusal("id-1", "code", "A text.", "A hint."),
        "bundle": bundle,
    }


def _tee(data: bytes) -> object:
    frames = Decoder(_LIMIT, "tee")
    frames.feed(len(data).to_bytes(4, "big") + data)
    message = frames.take()
    return message is None or tee.parse_request(message)


def _tee_requests() -> list[bytes]:
    every = (
        tee.QuoteRequest(bytes(64)),
        tee.ReportRequest(bytes(512), bytes(64)),
        tee.TargetInfoRequest(),
        tee.KeyRequest(bytes(512)),
    )
    return [canonical_json(one.build()) for one in every]


def _aesm_requests() -> list[bytes]:
    key = aesm.ECDSA_P256
    every: tuple[aesm.Request, ...] = (
        aesm.InitQuote(key, want_key=True, size=32, timeout=10_000_000),
        aesm.QuoteSize(key),
        aesm.GetQuote(bytes(432), key, bytes(960), 8192),
        aesm.SelectKey(bytes(4) + b"\x01\0\0\0" + key),
        aesm.KeyNumber(),
        aesm.KeyIds(256),
        aesm.Legacy.GET_QUOTE,
    )
    return [aesm.build_request(one) for one in every]


def _aesm_answers() -> list[bytes]:
    every = (aesm.Answer(15, target_info=bytes(512), key_size=32, key=bytes(32)), aesm.Answer(17, 44))
    return [aesm.build_answer(one) for one in every]


def _policies() -> list[bytes]:
    return [json.dumps(DOCUMENT).encode(), json.dumps(DOCUMENT, indent=1).encode()]


def _attest_request(data: bytes) -> object:
    """All that is read of a request before any evidence is looked at."""
    request = AttestRequest.parse(data, "quote")
    given = [one for one in (request.runtime, request.inittime) if one is not None]
    return [one.json for one in given if one.type == "json"]


def _attest_requests() -> list[bytes]:
    data = {"data": b64url(b'{"jwk": [1, true, null]}'), "dataType": "JSON"}
    full = {"quote": b64url(b"quote"), "runtimeData": data, "initTimeData": data, "nonce": 1 << 63}
    return [
        json.dumps({**full, "draftPolicyForAttestation": "version=1.0;"}).encode(),
        json.dumps({"Quote": "cXVvdGU=", "EnclaveHeldData": "AA", "initTimeData": {"dataType": "JSON"}}).encode(),
    ]


def _snp_evidence() -> list[bytes]:
    return [json.dumps({"SnpReport": b64url(bytes(64)), "VcekCertChain": b64url(b"-----BEGIN"), "More": []}).encode()]


def _policy_token(text: str) -> object:
    """A policy, or the empty token that resets one."""
    token = PolicyToken.parse(text)
    return token.policy if token.payload else token.signer()


def _tokens() -> list[bytes]:
    signer = Signer.make("fuzz", curve=True)
    payload = b64url(json.dumps({"AttestationPolicy": b64url(b"version=1.0;")}).encode())
    signed = b64url(json.dumps({"alg": "ECDH256", "jwk": {"x5c": [signer.x5c]}}).encode()) + f".{payload}"
    assert isinstance(signer.key, ec.EllipticCurvePrivateKey)
    signature = b64url(signer.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return [policy_token("version=1.0;").encode(), b"eyJhbGciOiJub25lIn0..", f"{signed}.{signature}".encode()]
