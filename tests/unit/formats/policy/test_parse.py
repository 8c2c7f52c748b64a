from __future__ import annotations

import hashlib
import json
import textwrap
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloister.errors import Malformed
from kloister.formats.policy import Kind, Scope, SgxExpectation, Waiver, parse_policy
from kloister.services.yaml import load
from kloister.trust.policy.template import check
from tests.support.broker import DOCUMENT, document, policy
from tests.support.evidence import code_of
from tests.support.paths import ROOT


def refused(value: Any) -> Malformed:
    with pytest.raises(Malformed) as caught:
        parse_policy(value)
    return caught.value


def test_every_starred_field_becomes_a_typed_value() -> None:
    parsed = policy()
    assert (parsed.namespace, parsed.name) == ("clinic", "inference")
    assert parsed.attestation.any[0].sgx == SgxExpectation(bytes([0x11]) * 32)
    assert parsed.attestation.simulated
    assert parsed.attestation.tcb.accept == ("UpToDate",)
    assert [one.kind for one in parsed.secrets] == [
        Kind.PASSWORD,
        Kind.X509_CA,
        Kind.X509,
        Kind.SYMMETRIC_KEY,
        Kind.VALUE,
    ]
    server = parsed.secret("server")
    assert server is not None
    assert (server.issuer, server.dns, server.scope) == ("ca", ("localhost",), Scope.INSTANCE)
    service = parsed.service("app")
    assert service is not None
    assert service.files[0].mode == 0o400
    assert (service.files[0].owner, service.files[1].owner) == (1000, 0)
    other = parsed.service("other")
    assert other is not None
    assert other.arguments is None
    assert parsed.service("none") is None
    assert parsed.secret("none") is None


def test_the_hash_is_over_canonical_json_and_not_over_the_order_of_keys() -> None:
    shuffled = dict(reversed(DOCUMENT.items()))
    plain = json.dumps(DOCUMENT, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert parse_policy(shuffled).sha256 == policy().sha256 == "sha256:" + hashlib.sha256(plain).hexdigest()
    assert policy("secrets.0.length", 33).sha256 != policy().sha256


def test_a_signer_needs_product_and_version() -> None:
    signer = {"mrsigner": "22" * 32, "isvprodid": 7, "isvsvn": 3}
    assert policy("attestation.any.0.sgx", signer).attestation.any[0].sgx == SgxExpectation(
        None, bytes([0x22]) * 32, 7, 3
    )
    error = refused(document("attestation.any.0.sgx", {"mrsigner": "22" * 32, "isvprodid": 7}))
    assert "attestation.any[0].sgx.isvsvn is missing" in error.text


def test_tcb_waivers_and_retirement() -> None:
    waiver = {"advisory": "INTEL-SA-00615", "until": "2027-06-30", "reason": "planned"}
    parsed = policy("attestation.tcb", {"accept": ["UpToDate", "SWHardeningNeeded"], "waive": [waiver]})
    assert parsed.attestation.tcb.waive == (Waiver("INTEL-SA-00615", date(2027, 6, 30), "planned"),)
    alternative = {"sgx": {"mrenclave": "11" * 32}, "retire": "2027-01-31"}
    assert policy("attestation.any.0", alternative).attestation.any[0].retire == date(2027, 1, 31)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("predecessor", "sha256:00"),
        ("volumes", []),
        ("imports", []),
        ("exports", []),
        ("access", {}),
        ("approvals", {}),
        ("attestation.platforms", []),
        ("attestation.maxActivations", 3),
        ("attestation.tcb", {"minimumDate": "2025-01-01"}),
        ("attestation.any.0", {"tdx": {}}),
        ("attestation.any.0", {"snp": {}}),
        ("attestation.any.0.sgx.configid", "00"),
        ("services.0.tls", {}),
        ("services.0.output", "drop"),
        ("secrets.0", {"name": "key", "kind": "private-key"}),
        ("secrets.0", {"name": "key", "kind": "file"}),
    ],
)
def test_planned_fields_are_refused_by_name_and_not_ignored(path: str, value: Any) -> None:
    error = refused(document(path, value))
    assert error.code == "policy-not-supported-yet"
    assert (
        path.rpartition(".")[2] in error.text
        or "any[0]" in error.text
        or "secrets[0]" in error.text
        or "tcb" in error.text
    )


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("extra", "extra"),
        ("metadata.extra", "metadata.extra"),
        ("attestation.extra", "attestation.extra"),
        ("attestation.any.0.extra", "attestation.any[0].extra"),
        ("attestation.any.0.sgx.extra", "attestation.any[0].sgx.extra"),
        ("secrets.0.extra", "secrets[0].extra"),
        ("secrets.1.dns", "secrets[1].dns"),
        ("services.0.extra", "services[0].extra"),
        ("services.0.files.1.extra", "services[0].files[1].extra"),
    ],
)
def test_unknown_fields_are_named_by_path(path: str, where: str) -> None:
    error = refused(document(path, "x"))
    assert error.code == "policy-unknown-field"
    assert error.text.startswith(f"{where} is not")


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("apiVersion", "kloister.dev/v2", "apiVersion"),
        ("kind", "Secret", "kind"),
        ("metadata", None, "metadata"),
        ("metadata.name", "Not.Allowed", "metadata.name"),
        ("metadata.name", "-edge", "metadata.name"),
        ("metadata.namespace", 7, "metadata.namespace"),
        ("attestation", [], "attestation"),
        ("attestation.any", {}, "attestation.any"),
        ("attestation.any", [{"sgx": {}}] * 300, "attestation.any"),
        ("attestation.any.0.sgx", {"debug": True}, "attestation.any[0].sgx"),
        ("attestation.any.0", {}, "attestation.any[0].sgx"),
        ("attestation.any.0.sgx.mrenclave", "11", "attestation.any[0].sgx.mrenclave"),
        ("attestation.any.0.sgx.mrenclave", int("1" * 15), "attestation.any[0].sgx.mrenclave"),
        ("attestation.any.0.sgx.debug", "no", "attestation.any[0].sgx.debug"),
        ("attestation.any.0.retire", "2027-02-30", "attestation.any[0].retire"),
        ("attestation.tcb", {"accept": ["Revoked"]}, "attestation.tcb.accept[0]"),
        ("attestation.tcb", {"waive": [{"advisory": "*"}]}, "attestation.tcb.waive[0].advisory"),
        ("attestation.simulated", True, "attestation.simulated"),
        ("secrets.0.name", "ca", "secrets"),
        ("secrets.0.kind", "passwort", "secrets[0].kind"),
        ("secrets.0.length", 8, "secrets[0].length"),
        ("secrets.0.length", True, "secrets[0].length"),
        ("secrets.2.issuer", "db", "secrets[2].issuer"),
        ("secrets.2.dns", ["a b"], "secrets[2].dns[0]"),
        ("secrets.2.scope", "node", "secrets[2].scope"),
        ("secrets.2.commonName", "x" * 65, "secrets[2].commonName"),
        ("secrets.3.bits", 200, "secrets[3].bits"),
        ("secrets.3.bits", 256.0, "secrets[3].bits"),
        ("secrets.4.imported", False, "secrets[4].imported"),
        ("services", None, "services"),
        ("services.1.name", "app", "services"),
        ("services.0.arguments", "x", "services[0].arguments"),
        ("services.0.arguments", [1], "services[0].arguments[0]"),
        ("services.0.arguments", ["\ud800"], "services[0].arguments[0]"),
        ("services.0.arguments", ["x" * 70000], "services[0].arguments[0]"),
        ("services.0.environment", {"A=B": "x"}, "services[0].environment"),
        ("services.0.environment", {"A": None}, "services[0].environment.A"),
        ("services.0.environment", [], "services[0].environment"),
        ("services.0.slots", {"A": "("}, "services[0].slots.A"),
        ("services.0.slots", {"A": "x" * 5000}, "services[0].slots.A"),
        ("services.0.slots", {"DB_PASSWORD": ".*"}, "services[0].slots.DB_PASSWORD"),
        ("services.0.output", "loud", "services[0].output"),
        ("services.0.files.0.path", "relative", "services[0].files[0].path"),
        ("services.0.files.0.path", "/a/../b", "services[0].files[0].path"),
        ("services.0.files.0.path", "/", "services[0].files[0].path"),
        ("services.0.files.0.mode", 400, "services[0].files[0].mode"),
        ("services.0.files.0.owner", -1, "services[0].files[0].owner"),
        ("services.0.files.0.content", "a\0b", "services[0].files[0].content"),
        ("services.0.files.1.path", "/etc/tls/tls.key", "services[0].files"),
    ],
)
def test_a_wrong_value_is_named_by_path(path: str, value: Any, where: str) -> None:
    error = refused(document(path, value))
    assert error.code == "policy-invalid"
    assert error.text.startswith(where), error.text
    parse_policy(document())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PATHS = [
    "metadata.name",
    "attestation",
    "attestation.any.0.sgx.mrenclave",
    "secrets",
    "secrets.0.kind",
    "secrets.3.bits",
    "services.0.files.0",
    "services.0.environment",
    "services.0.slots",
]


@given(VALUES, st.sampled_from(PATHS))
def test_no_value_gives_another_error(value: Any, path: str) -> None:
    assert code_of(lambda: parse_policy(document(path, value))).startswith(("policy-", "accepted"))


@given(VALUES)
def test_no_document_gives_another_error(value: Any) -> None:
    assert refused(value).code.startswith("policy-")


def test_the_reference_pages_example_is_a_policy() -> None:
    page = (ROOT / "docs" / "reference" / "policy.md").read_text()
    example = page[page.index("    apiVersion") : page.index("## Secrets")].replace("11...11", "11" * 32)
    parsed = parse_policy(load(textwrap.dedent(example.replace("22...22", "22" * 32)).encode(), "page"))
    check(parsed)
    assert [one.name for one in parsed.services] == ["app"]
