"""Azure's own Python SDK (azure-security-attestation 1.0.0) against our server over TLS on the loopback."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.security.attestation import (  # type: ignore[import-untyped]  # the SDK has no types
    AttestationAdministrationClient,
    AttestationClient,
    AttestationTokenValidationException,
    AttestationType,
    CertificateModification,
    PolicyModification,
)
from cryptography import x509

from tests.support.attestation import BEARER, PERMIT, Signer, open_enclave, served, settings, sgx_quote
from tests.support.evidence import ENCLAVE
from tests.support.ports import free_port

RUNTIME = b'{"jwk": {"crv": "P-256", "kty": "EC"}}'
NAMES = ("aad", "isolated", "shared")


class Credential:
    """A fixed token."""

    def __init__(self, token: str = BEARER) -> None:
        self._token = token

    def get_token(self, *_scopes: str, **_others: Any) -> AccessToken:
        """It, for ever."""
        return AccessToken(self._token, 1 << 32)


@dataclass(frozen=True)
class Service:
    """A running server, its instances by name, and who owns the isolated one."""

    port: int
    ca: Path
    owner: Signer
    opened: ExitStack

    def base(self, name: str) -> str:
        """The instance's URL."""
        return f"https://{name}.attest.test:{self.port}"

    def client(self, name: str = "aad", **others: Any) -> AttestationClient:
        """Azure's client of evidence."""
        client = AttestationClient(self.base(name), Credential(), connection_verify=str(self.ca), **others)
        return self.opened.enter_context(client)

    def administration(self, name: str = "aad", token: str = BEARER, **others: Any) -> AttestationAdministrationClient:
        """Azure's client of policies."""
        client = AttestationAdministrationClient(
            self.base(name), Credential(token), connection_verify=str(self.ca), retry_total=0, **others
        )
        return self.opened.enter_context(client)

    def as_owner(self) -> AttestationAdministrationClient:
        """That of the isolated instance's owner."""
        return self.administration(
            "isolated", signing_key=self.owner.key_pem, signing_certificate=self.owner.pem
        )  # fmt: skip


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("service")
    owner = Signer.make("owner")
    (directory / "owner.pem").write_text(owner.pem)
    port = free_port()  # the base URLs name it
    instances: list[dict[str, Any]] = [
        {"base_url": f"https://{name}.attest.test:{port}", "trust_model": name, "simulated": True} for name in NAMES
    ]
    instances[1]["policy_certificates"] = ["owner.pem"]
    given = settings(directory, instances, listen=f"127.0.0.1:{port}")
    with served(given), ExitStack() as opened:
        yield Service(port, directory / "ca.pem", owner, opened)


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The instances' names are on this machine."""
    real = socket.getaddrinfo

    def resolve(host: str, *others: Any, **named: Any) -> Any:
        return real("127.0.0.1" if host.endswith(".attest.test") else host, *others, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize("name", NAMES)
def test_metadata_and_signing_certificates(service: Service, name: str) -> None:
    client = service.client(name)
    document = client.get_open_id_metadata()
    assert document["response_types_supported"] == ["token", "none"]
    assert document["jwks_uri"] == f"{service.base(name)}/certs"
    assert document["issuer"] == service.base(name)
    for signer in client.get_signing_certificates():
        x509.load_pem_x509_certificate(signer.certificates[0].encode())


@pytest.mark.parametrize("enclave", ["sgx", "open"])
@pytest.mark.parametrize("name", NAMES)
def test_evidence(service: Service, name: str, enclave: str) -> None:
    client = service.client(name, validate_issuer=True, issuer=service.base(name))
    quote = sgx_quote(RUNTIME)
    evidence = quote if enclave == "sgx" else open_enclave(quote)
    attest = client.attest_sgx_enclave if enclave == "sgx" else client.attest_open_enclave
    result, token = attest(evidence, runtime_data=RUNTIME)
    assert result.enclave_held_data == RUNTIME
    assert (result.mr_enclave, result.mr_signer) == (ENCLAVE.mrenclave.hex(), ENCLAVE.mrsigner.hex())
    assert (result.product_id, result.svn, result.is_debuggable) == (7, 3, False)
    assert result.sgx_collateral["quotehash"] == hashlib.sha256(evidence).hexdigest()
    assert result.issuer == service.base(name)
    assert (token.algorithm, token.issuer) == ("RS256", service.base(name))

    result, _ = attest(evidence, runtime_json=RUNTIME)
    assert result.enclave_held_data is None
    assert result.runtime_claims == json.loads(RUNTIME)

    result, token = attest(evidence, runtime_data=RUNTIME, draft_policy=PERMIT)
    assert token.algorithm == "none"
    assert result.policy_hash == jwt.utils.base64url_decode("z0FRjKS0ssQTNur1V6BV8WIrh9M3fzgTo0EfHRvapWU")
    attest(evidence, inittime_json=RUNTIME)  # the SDK sends no data then


def test_what_binds_other_data_is_refused(service: Service) -> None:
    with pytest.raises(HttpResponseError) as caught:
        service.client().attest_sgx_enclave(sgx_quote(RUNTIME), runtime_data=RUNTIME + b" ")
    assert caught.value.status_code == 400
    assert caught.value.error is not None
    assert caught.value.error.code == "InvalidParameter"
    assert "client-data-binding" in caught.value.message


def test_the_validation_callback_is_asked_and_another_issuer_refused(service: Service) -> None:
    asked: list[Any] = []
    client = service.client()
    client.attest_sgx_enclave(sgx_quote(), validation_callback=lambda token, signer: asked.append((token, signer)))
    assert asked[0][1].key_id == asked[0][0].key_id
    with pytest.raises(AttestationTokenValidationException):
        client.attest_sgx_enclave(sgx_quote(), validate_issuer=True, issuer="https://other")


@pytest.mark.parametrize("kind", list(AttestationType))
@pytest.mark.parametrize("name", NAMES)
def test_policies_that_were_never_set(service: Service, name: str, kind: AttestationType) -> None:
    policy, _ = service.administration(name).get_policy(kind)
    assert policy.startswith("version") or (kind is AttestationType.TPM and not policy)


@pytest.mark.parametrize("form", ["unsigned", "signed"])
def test_policies_of_an_aad_instance(service: Service, form: str) -> None:
    client = service.administration()
    keys = {"signing_key": service.owner.key_pem, "signing_certificate": service.owner.pem} if form == "signed" else {}
    before, _ = client.get_policy(AttestationType.OPEN_ENCLAVE)
    result, _ = client.set_policy(AttestationType.OPEN_ENCLAVE, PERMIT, **keys)
    assert result.policy_resolution == PolicyModification.UPDATED
    text, token = client.get_policy(AttestationType.OPEN_ENCLAVE)
    assert text == PERMIT
    stored = json.loads(token.body_bytes)["x-ms-policy"]
    assert result.policy_token_hash == hashlib.sha256(stored.encode()).digest()
    if form == "signed":
        assert result.policy_signer.certificates[0].strip() == service.owner.pem.strip()
    result, _ = client.reset_policy(AttestationType.OPEN_ENCLAVE, **keys)
    assert (result.policy_resolution, result.policy_token_hash) == (PolicyModification.REMOVED, None)
    assert client.get_policy(AttestationType.OPEN_ENCLAVE)[0] == before


def test_policies_of_an_isolated_instance(service: Service) -> None:
    client = service.as_owner()
    result, _ = client.set_policy(AttestationType.SGX_ENCLAVE, PERMIT)
    assert result.policy_resolution == PolicyModification.UPDATED
    assert client.get_policy(AttestationType.SGX_ENCLAVE)[0] == PERMIT
    _, token = service.client("isolated").attest_sgx_enclave(sgx_quote())
    assert json.loads(token.body_bytes)["x-ms-policy-signer"]["x5c"] == [service.owner.x5c]
    result, _ = client.reset_policy(AttestationType.SGX_ENCLAVE)
    assert result.policy_resolution == PolicyModification.REMOVED
    with pytest.raises(HttpResponseError) as caught:
        service.administration("isolated").set_policy(AttestationType.SGX_ENCLAVE, PERMIT)
    assert caught.value.error is not None
    assert caught.value.error.code == "InvalidOperation"


def test_a_policy_that_does_not_parse(service: Service) -> None:
    with pytest.raises(HttpResponseError) as caught:
        service.administration().set_policy(AttestationType.SGX_ENCLAVE, "version=1.0\nauthorizationrules{};")
    assert caught.value.error is not None
    assert caught.value.error.code == "PolicyParsingError"
    assert "Line: '2', Column: '1'" in caught.value.message


def test_policy_management_certificates(service: Service) -> None:
    client, other = service.as_owner(), Signer.make("other")
    for name in ("aad", "shared"):
        assert service.administration(name).get_policy_management_certificates()[0] == []
    listed, _ = client.get_policy_management_certificates()
    assert [each[0].strip() for each in listed] == [service.owner.pem.strip()]
    for _ in range(2):
        result, _ = client.add_policy_management_certificate(other.pem)
        assert result.certificate_resolution == CertificateModification.IS_PRESENT
        digest = hashlib.sha1(other.der, usedforsecurity=False).hexdigest().upper()
        assert result.certificate_thumbprint == digest
    assert len(client.get_policy_management_certificates()[0]) == 2
    for _ in range(2):
        result, _ = client.remove_policy_management_certificate(other.pem)
        assert result.certificate_resolution == CertificateModification.IS_ABSENT
    assert len(client.get_policy_management_certificates()[0]) == 1


def test_the_first_round_of_a_tpm(service: Service) -> None:
    service.administration().set_policy(AttestationType.TPM, PERMIT)
    answer = service.client().attest_tpm(json.dumps({"payload": {"type": "aikcert"}}))
    assert set(json.loads(answer)["payload"]) == {"challenge", "service_context"}
    service.administration().reset_policy(AttestationType.TPM)


def test_a_bearer_that_is_not_ours(service: Service) -> None:
    with pytest.raises(ClientAuthenticationError):
        service.administration(token="other").get_policy(AttestationType.SGX_ENCLAVE)
