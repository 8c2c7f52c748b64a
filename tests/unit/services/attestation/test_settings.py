from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kloister.cli.attestation import OPTIONS, attestation
from kloister.errors import Misconfigured
from kloister.formats.dcap import TcbStatus
from kloister.formats.tokens import Algorithm
from kloister.services.attestation.settings import KEYS, PREFIX, Settings, TrustModel
from tests.support.paths import ROOT

WHOLE = """
listen = "127.0.0.1:9443"
database = "sqlite:///data/a.db"
[tls]
certificate = "tls.pem"
key = "/etc/tls.key"
[auth]
oidc_issuer = "https://login.test"
oidc_audience = "api://kloister"
[collateral]
directory = "bundles"
[appraisal]
accept = ["UpToDate", "SWHardeningNeeded"]
extra_roots = ["root.der"]
dangerous_at = 2022-04-28T00:00:00Z
[tokens]
algorithm = "ES256"
validity = 60
[[instances]]
base_url = "https://One.test:9443"
trust_model = "isolated"
policy_certificates = ["owner.pem"]
simulated = true
[[instances]]
base_url = "https://two.test"
"""
ONE = {"instances": [{"base_url": "https://one.test"}]}


def read(text: str, tmp_path: Path, environment: dict[str, str] | None = None, **options: Any) -> Settings:
    path = tmp_path / "attestation.toml"
    path.write_text(text)
    return Settings.load(path, environment or {}, options)


def test_a_whole_file(tmp_path: Path) -> None:
    found = read(WHOLE, tmp_path)
    assert found.listen == "127.0.0.1:9443"
    assert found.database == f"sqlite:///{tmp_path}/data/a.db"
    assert (found.tls_certificate, found.tls_key) == (tmp_path / "tls.pem", Path("/etc/tls.key"))
    assert found.collateral_directory == tmp_path / "bundles"
    assert found.appraisal_accept == {TcbStatus.UP_TO_DATE, TcbStatus.SW_HARDENING_NEEDED}
    assert found.appraisal_extra_roots == (tmp_path / "root.der",)
    assert found.appraisal_dangerous_at == datetime(2022, 4, 28, tzinfo=UTC)
    assert found.tokens_algorithm is Algorithm.ES256
    one, two = found.instances
    assert (one.authority, one.trust_model, one.simulated) == ("one.test:9443", TrustModel.ISOLATED, True)
    assert one.policy_certificates == (tmp_path / "owner.pem",)
    assert (two.trust_model, two.simulated) == (TrustModel.AAD, False)


def test_the_defaults_are_careful(tmp_path: Path) -> None:
    found = Settings.read(ONE, tmp_path, {}, {})
    assert found.appraisal_accept == {TcbStatus.UP_TO_DATE}
    assert found.appraisal_dangerous_at is None
    assert found.auth_dangerous_bearer_tokens == ()
    assert found.tokens_algorithm is Algorithm.RS256
    assert found.tokens_validity == 28800
    assert found.listen.startswith("127.0.0.1:")


def test_the_environment_wins_over_the_file_and_options_over_both(tmp_path: Path) -> None:
    environment = {
        f"{PREFIX}LISTEN": "127.0.0.1:1",
        f"{PREFIX}APPRAISAL_ACCEPT": "OutOfDate UpToDate",
        f"{PREFIX}TOKENS_VALIDITY": "120",
        f"{PREFIX}AUDIT_ATTESTATIONS": "true",
        f"{PREFIX}INSTANCES": '[{base_url = "https://three.test", trust_model = "shared"}]',
    }
    found = read(WHOLE, tmp_path, environment, listen="127.0.0.1:2")
    assert found.listen == "127.0.0.1:2"
    assert found.appraisal_accept == {TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE}
    assert (found.tokens_validity, found.audit_attestations) == (120, True)
    assert [each.base_url for each in found.instances] == ["https://three.test"]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"instances": []},
        {"instances": "x"},
        {"instances": [{"base_url": "http://one.test"}]},
        {"instances": [{"base_url": "https://one.test/"}]},
        {"instances": [{"base_url": "https://user@one.test"}]},
        {"instances": [{"base_url": "https://one.test:99999"}]},
        {"instances": [{"base_url": "https://one.test:0"}]},
        {"instances": [{"base_url": "https://one test"}]},
        {"instances": [{"base_url": "https://one,test"}]},
        {"instances": [{"base_url": "https://one.test"}, {"base_url": "https://ONE.test"}]},
        {"instances": [{"base_url": "https://one.test", "unknown": 1}]},
        {"instances": [{"base_url": "https://one.test", "trust_model": "other"}]},
        {"instances": [{"base_url": "https://one.test", "trust_model": ["aad"]}]},
        {"instances": [{"base_url": "https://one.test", "trust_model": "isolated"}]},
        {"instances": [{"base_url": "https://one.test", "simulated": "yes"}]},
        {**ONE, "unknown": 1},
        {**ONE, "tls": {"certificate": "a.pem"}},
        {**ONE, "auth": {"oidc_issuer": "https://login.test"}},
        {**ONE, "auth": {"dangerous_bearer_tokens": [1]}},
        {**ONE, "collateral": {"directory": "a", "pcs_url": "https://b"}},
        {**ONE, "appraisal": {"accept": ["Fine"]}},
        {**ONE, "appraisal": {"dangerous_at": "yesterday"}},
        {**ONE, "tokens": {"algorithm": "none"}},
        {**ONE, "tokens": {"validity": 0}},
        {**ONE, "limits": {"body": -1}},
        {**ONE, "limits": {"body": True}},
        {**ONE, "audit": {"attestations": 1}},
        {**ONE, "listen": 1},
        {**ONE, "listen": "a\0b"},
        {**ONE, "tls": {"certificate": "\0", "key": "b"}},
        {**ONE, "appraisal": {"extra_roots": ["a", "\0"]}},
    ],
)
def test_what_is_not_meant_so_is_refused(document: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as caught:
        Settings.read(document, tmp_path, {}, {})
    assert caught.value.code == "attestation-setting"


@pytest.mark.parametrize("key", [*KEYS, "instances.base_url", "instances.policy_certificates", "instances.simulated"])
def test_a_value_of_any_kind_is_read_or_refused(key: str, tmp_path: Path) -> None:
    section, _, name = key.rpartition(".")
    values: tuple[Any, ...] = (None, True, 1.5, -1, 10**30, "", "x", "\0", [], [[]], [1], {}, {"a": 1})
    for value in values:
        given = {name: value}
        one = {"instances": [{"base_url": "https://one.test", **given}]} if section == "instances" else ONE
        document = {**one, **({section: given} if section not in ("", "instances") else given if not section else {})}
        with contextlib.suppress(Misconfigured):
            Settings.read(document, tmp_path, {}, {})


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for text in ("a = ", "\0"):
        with pytest.raises(Misconfigured) as caught:
            read(text, tmp_path)
        assert caught.value.code == "attestation-settings"
    with pytest.raises(Misconfigured):
        Settings.load(tmp_path / "missing.toml", {}, {})


def test_no_secret_is_shown(tmp_path: Path) -> None:
    found = Settings.read({**ONE, "auth": {"dangerous_bearer_tokens": ["hidden"]}}, tmp_path, {}, {})
    assert "hidden" not in repr(found)


def test_every_key_is_an_option_of_the_command() -> None:
    import typer

    app = typer.Typer()
    app.command()(attestation)
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    missing = [key for key in [*KEYS, "instances"] if f"--{key.replace('.', '-').replace('_', '-')} " not in text]
    assert not missing


def test_every_key_is_an_option_and_explained() -> None:
    assert set(OPTIONS) == {key.replace(".", "_") for key in (*KEYS, "instances")}
    guide = (ROOT / "docs" / "how-to" / "attestation.md").read_text()
    assert [key for key in KEYS if f"`{key}`" not in guide] == []
