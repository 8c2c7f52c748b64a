from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from kloister.errors import Denied, KloisterError, Malformed
from kloister.services.broker.settings import Settings
from tests.support.broker import DOCUMENT, Rig, document, policy


def code(action: Any) -> str:
    with pytest.raises(KloisterError) as caught:
        action()
    return caught.value.code


def listed(rig: Rig) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in rig.admin.secrets("clinic", "inference")}


def test_applying_generates_what_is_stored_and_says_what_is_missing(rig: Rig) -> None:
    result = rig.apply(document())
    assert result["changed"] is True
    assert result["generated"] == ["db", "ca", "layer"]
    assert result["missing"] == ["licence"]
    assert result["sha256"] == policy().sha256
    states = {name: one["state"] for name, one in listed(rig).items()}
    assert states == {
        "db": "generated",
        "ca": "generated",
        "server": "per instance",
        "layer": "generated",
        "licence": "missing",
    }


def test_applying_again_changes_nothing(rig: Rig) -> None:
    rig.apply(document())
    result = rig.apply(document())
    assert (result["changed"], result["generated"], result["version"]) == (False, [], 1)
    assert rig.admin.status()["auditEntries"] == 4


def test_another_recipe_makes_another_value_and_other_changes_do_not(rig: Rig) -> None:
    first = rig.prepared().guest().ask()
    result = rig.apply(document("services.1.name", "third"))
    assert (result["version"], result["generated"]) == (2, [])
    assert rig.guest().ask().environment == first.environment
    assert rig.apply(document("secrets.0.length", 40))["generated"] == ["db"]
    assert len(rig.guest().ask().environment["DB_PASSWORD"]) == 40
    assert rig.guest().ask().keys == first.keys


def test_the_certificate_is_of_the_policys_authority(rig: Rig) -> None:
    files = rig.prepared().guest().ask().files
    leaf, issuer = x509.load_pem_x509_certificates(files[1].content)
    leaf.verify_directly_issued_by(issuer)
    assert listed(rig)["ca"]["public"].encode() in files[1].content
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(days=90)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert issuer.subject.rfc4514_string() == "CN=Clinic CA"
    again = rig.guest().ask().files
    assert again[0].content != files[0].content


def test_a_shared_certificate_is_kept_and_renewed_in_time(rig: Rig) -> None:
    server = {"name": "server", "kind": "x509", "issuer": "ca", "dns": ["localhost"], "scope": "policy"}
    first = rig.prepared(path="secrets.2", change=server).guest().ask().files
    assert rig.guest().ask().files == first
    rig.now += timedelta(days=61)
    rig.source.now = rig.now
    renewed = rig.guest().ask().files
    assert renewed[0].content != first[0].content
    assert listed(rig)["server"]["version"] == 2


def test_another_authority_means_other_certificates(rig: Rig) -> None:
    server = {"name": "server", "kind": "x509", "issuer": "ca", "scope": "policy"}
    rig.prepared(path="secrets.2", change=server)
    value = document("secrets.2", server)
    value["secrets"][1]["commonName"] = "New CA"
    assert rig.apply(value)["generated"] == ["ca", "server"]


def test_uploads(rig: Rig) -> None:
    rig.prepared(b"one")
    assert rig.guest().ask().arguments == ("serve", "--licence=one")
    assert rig.admin.set_secret("clinic", "inference", "licence", b"two", "uid:0")["version"] == 2
    assert rig.guest().ask().arguments == ("serve", "--licence=two")
    rig.admin.set_secret("clinic", "inference", "layer", bytes(32), "uid:0")
    assert rig.guest().ask().keys == {"layer": bytes(32)}
    assert rig.apply(document("services.1.name", "third"))["generated"] == []
    assert rig.guest().ask().keys == {"layer": bytes(32)}


def test_uploads_that_cannot_be(rig: Rig) -> None:
    rig.apply(document())

    def upload(name: str, value: bytes, policy_name: str = "inference") -> Any:
        return lambda: rig.admin.set_secret("clinic", policy_name, name, value, "uid:0")

    assert code(upload("db", b"x" * 32)) == "secret-generated"
    assert code(upload("nobody", b"x")) == "secret-unknown"
    assert code(upload("licence", b"x", "training")) == "policy-unknown"
    assert code(upload("layer", b"x")) == "secret-size"
    assert code(upload("licence", b"")) == "secret-size"
    upload("licence", b"x")()


def test_an_imported_key_is_not_generated(rig: Rig) -> None:
    layer = {"name": "layer", "kind": "symmetric-key", "imported": True}
    result = rig.apply(document("secrets.3", layer))
    assert "layer" not in result["generated"]
    assert result["missing"] == ["layer", "licence"]


def test_a_policy_that_cannot_be_kept_is_not_stored(rig: Rig) -> None:
    assert code(lambda: rig.apply(document("volumes", []))) == "policy-not-supported-yet"
    assert code(lambda: rig.apply(document("services.0.environment", {"A": "{{ secrets.x.value }}"}))) == (
        "template-undefined"
    )
    assert code(lambda: rig.admin.apply(b"a: yes", "x")) == "yaml-ambiguous"
    assert rig.admin.policies() == []
    rig.apply(document())
    assert [one["name"] for one in rig.admin.policies()] == ["inference"]


def test_simulated_platforms_need_a_broker_that_says_it_is_simulated(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Settings(simulated=False))
    with pytest.raises(Denied) as caught:
        rig.apply(document())
    assert caught.value.code == "simulated-not-declared"
    rig.apply(document("attestation.simulated", "deny"))
    assert rig.admin.status()["simulated"] is False
    rig.close()


def test_lookups(rig: Rig) -> None:
    rig.apply(document())
    assert rig.admin.policy("clinic", "inference")["document"] == DOCUMENT
    assert code(lambda: rig.admin.policy("clinic", "training")) == "policy-unknown"
    assert code(lambda: rig.admin.secrets("clinic", "training")) == "policy-unknown"
    assert code(lambda: rig.admin.refusal("none")) == "refusal-unknown"
    entries = [json.loads(one["body"]) for one in rig.admin.audit(0)["entries"]]
    assert [one["event"] for one in entries] == ["policy-applied"] + ["secret-generated"] * 3
    assert entries[0]["actor"] == "test"


def test_yaml_and_json_give_one_document(rig: Rig) -> None:
    text = b"""
apiVersion: kloister.dev/v1
kind: Policy
metadata: {namespace: clinic, name: small}
attestation: {any: []}
services: [{name: app}]
"""
    first = rig.admin.apply(text, "x")
    value = {"services": [{"name": "app"}], "attestation": {"any": []}, "kind": "Policy"}
    value |= {"apiVersion": "kloister.dev/v1", "metadata": {"namespace": "clinic", "name": "small"}}
    assert rig.apply(value)["sha256"] == first["sha256"]
    with pytest.raises(Malformed):
        rig.admin.apply(b"", "x")
