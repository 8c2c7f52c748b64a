"""Other people's programs validate our tokens by the published keys alone: PyJWT, joserfc and openssl."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jwt
import pytest
from joserfc import jwk
from joserfc import jwt as joserfc_jwt

from kloister.formats.wire import b64url, unb64url
from tests.support.attestation import AAD, ask, running, settings, sgx_quote

AUDIENCE = "api://relying-party"


@pytest.fixture(scope="module", params=["RS256", "ES256", "ES384"])
def issued(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, dict[str, Any]]:
    """Algorithm, token and key set."""
    algorithm = str(request.param)
    given = settings(tmp_path_factory.mktemp("service"), tokens={"algorithm": algorithm, "audience": AUDIENCE})
    with running(given) as process:
        token = ask(process, "POST", "/attest/SgxEnclave", {"quote": b64url(sgx_quote())}).json["token"]
        return algorithm, token, ask(process, "GET", "/certs").json


def test_pyjwt(issued: tuple[str, str, dict[str, Any]]) -> None:
    algorithm, token, keys = issued
    key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, algorithms=[algorithm], audience=AUDIENCE, issuer=AAD)
    assert claims["x-ms-attestation-type"] == "sgx"
    header, payload, signature = token.split(".")
    changed = b64url(unb64url(payload, "payload").replace(b'"x-ms-sgx-svn":3', b'"x-ms-sgx-svn":4'))
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(f"{header}.{changed}.{signature}", key, algorithms=[algorithm], audience=AUDIENCE, issuer=AAD)


def test_joserfc(issued: tuple[str, str, dict[str, Any]]) -> None:
    algorithm, token, keys = issued
    decoded = joserfc_jwt.decode(token, jwk.KeySet.import_key_set(keys), algorithms=[algorithm])  # type: ignore[arg-type]
    wanted = joserfc_jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": AAD}, aud={"essential": True, "value": AUDIENCE}
    )  # fmt: skip
    wanted.validate(decoded.claims)
    assert decoded.header["jku"] == f"{AAD}/certs"


def test_openssl(issued: tuple[str, str, dict[str, Any]], tmp_path: Path) -> None:
    algorithm, token, keys = issued
    signed, _, signature = token.rpartition(".")
    (tmp_path / "signed").write_text(signed)
    raw = unb64url(signature, "signature")
    (tmp_path / "signature").write_bytes(raw if algorithm == "RS256" else _der(raw))
    certificate = f"-----BEGIN CERTIFICATE-----\n{keys['keys'][0]['x5c'][0]}\n-----END CERTIFICATE-----\n"
    public = subprocess.run(
        ["openssl", "x509", "-noout", "-pubkey"], input=certificate.encode(), capture_output=True, check=True
    ).stdout
    (tmp_path / "key.pem").write_bytes(public)
    digest = "-sha384" if algorithm == "ES384" else "-sha256"
    command = ["openssl", "dgst", digest, "-verify", "key.pem", "-signature", "signature", "signed"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "Verified OK\n"


def _der(raw: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    half = len(raw) // 2
    return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))


def test_the_header_names_where_the_keys_are(issued: tuple[str, str, dict[str, Any]]) -> None:
    header = json.loads(unb64url(issued[1].split(".")[0], "header"))
    assert header["kid"] == issued[2]["keys"][0]["kid"]
