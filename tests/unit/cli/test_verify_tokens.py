"""`kloister verify TOKEN`: keys given, keys fetched from the issuer that was named, and what is said without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kloister import clock
from kloister.services.appraisal.issuer import METADATA
from kloister.simulator.pcs import PcsAnswer
from tests.support import pcs
from tests.support.cli import Done, kloister
from tests.unit.services.appraisal.test_tokens import MAA, SET, token

NOW = int(clock.now().timestamp())
TIMES = {"iat": NOW, "nbf": NOW - 5, "exp": NOW + 86400}


class Desk:
    """A folder with a token and its issuer's keys, and the issuer, over TLS with a CA of its own."""

    def __init__(self, folder: Path, server: pcs.Server, ca: Path) -> None:
        self.folder, self.server, self.ca = folder, server, str(ca)
        self.issuer = server.url
        self.jwks = self.write("keys.json", json.dumps(SET.as_json()).encode())
        self.claims: dict[str, Any] = {**MAA, **TIMES, "iss": self.issuer, "chip-id": "ab" * 64}
        self.token = self.write("token.jwt", token(self.claims) + b"\n")
        documents = {METADATA: {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/certs"}, "/certs": SET.as_json()}
        answers = {
            path: PcsAnswer(200, "application/json", json.dumps(each).encode()) for path, each in documents.items()
        }
        server.answers = lambda path, _: answers.get(path, PcsAnswer(404))

    def write(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return str(self.folder / name)

    def run(self, *options: str, thing: str = "") -> Done:
        return kloister("verify", thing or self.token, *options)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "tls").mkdir()
    ca, context = pcs.certified(tmp_path / "tls")
    with pcs.serving(lambda _path, _query: PcsAnswer(404), context) as server:
        yield Desk(tmp_path, server, ca)


def test_with_its_issuers_keys_a_token_is_judged(desk: Desk) -> None:
    done = desk.run("--jwks", desk.jwks, "--json")
    assert (done.code, done.json["verdict"], done.json["kind"]) == (0, "accept", "maa-token")
    assert (done.json["issuer"], done.json["tee"], done.json["simulated"]) == (desk.issuer, "sgx", False)
    assert done.json["claims"]["x-ms-sgx-mrenclave"] == "11" * 32
    said = desk.run("--jwks", desk.jwks).out
    assert f"issuer       {desk.issuer}" in said
    assert "mrenclave    " + "11" * 32 in said
    assert desk.server.asked == []
    assert desk.run("--jwks", desk.jwks, "--issuer", "https://another.example", "--json").json["reason"]["code"] == (
        "token-issuer"
    )


def test_the_keys_of_the_issuer_that_is_named_are_fetched(desk: Desk) -> None:
    named = ["--issuer", desk.issuer, "--json"]
    done = desk.run(*named, "--source-ca", desk.ca)
    assert (done.code, done.json["verdict"]) == (0, "accept")
    assert desk.server.asked == [METADATA, "/certs"]
    assert desk.run(*named).error["code"] == "source-certificate"
    assert desk.run(*named, "--source-ca", desk.ca, "--offline").json["reason"]["code"] == "token-keys-missing"
    assert desk.run("--issuer", "Somebody", "--json").error["code"] == "issuer-url"
    assert desk.server.asked == [METADATA, "/certs"]


def test_without_keys_nobody_is_asked_and_the_claims_are_called_unverified(desk: Desk) -> None:
    done = desk.run("--json")
    assert (done.code, done.json["kind"], done.json["claims"]) == (1, "maa-token", None)
    assert done.json["reason"]["code"] == "token-keys-missing"
    assert desk.issuer in done.json["reason"]["text"]
    assert "unverified_claims" not in done.json
    explained = desk.run("--json", "--explain")
    assert explained.json["unverified_claims"]["x-ms-sgx-svn"] == 3
    text = desk.run("--explain")
    assert "UNVERIFIED" in text.out
    assert '"x-ms-sgx-svn": 3' in text.out
    assert desk.server.asked == []


def test_what_names_a_machine_is_hidden(desk: Desk) -> None:
    for options in (["--jwks", desk.jwks, "--json"], ["--jwks", desk.jwks], ["--explain"], ["--explain", "--json"]):
        assert "ab" * 64 not in desk.run(*options).out
        assert "chip" not in desk.run(*options).err
    assert "ab" * 64 in desk.run("--jwks", desk.jwks, "--json", "--show-identifiers").out


def test_policies_times_and_bundles_are_for_tokens_too(desk: Desk) -> None:
    policy = desk.write("wanted.yaml", b"sgx: {isvsvn: 4}\n")
    refused = desk.run("--jwks", desk.jwks, "--policy", policy, "--json")
    assert (refused.code, refused.json["genuine"], refused.json["reason"]["code"]) == (1, True, "signer-svn")
    assert desk.run("--jwks", desk.jwks, "--policy", policy, "--proof-only").code == 2
    later = (clock.now() + timedelta(days=3)).strftime("%Y-%m-%d")
    rows = desk.run("--jwks", desk.jwks, "--what-if-at", later, "--json").json["what_if"]
    assert [row["reason"] for row in rows] == [None, "token-expired"]
    assert desk.run("--jwks", desk.jwks, "--what-if-update", "early").code == 2
    bundle = str(desk.folder / "bundle")
    assert desk.run("--jwks", desk.jwks, "--bundle-out", bundle).code == 0
    again = desk.run("--json", thing=bundle)
    assert (again.code, again.json["issuer"]) == (0, desk.issuer)
    assert desk.run("--bundle-out", bundle, "--json").error["code"] == "evidence-bundle-incomplete"


def test_many_tokens_are_judged_by_the_same_keys(desk: Desk) -> None:
    (desk.folder / "many").mkdir()
    desk.write("many/one.jwt", token(desk.claims))
    desk.write("many/two.jwt", token(desk.claims | {"exp": 1}))
    lines = json.dumps({"quote": token(desk.claims, "ES256").decode()}) + "\n"
    desk.write("many/three.ndjson", lines.encode())
    options = ["--batch", "--jwks", desk.jwks, "--jobs", "1", "--json"]
    done = desk.run(*options, thing=str(desk.folder / "many"))
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row.get("reason", {}).get("code") for row in rows] == [None, None, "token-expired"]
    assert {row["kind"] for row in rows} == {"maa-token"}
    alone = desk.run("--batch", "--jobs", "1", "--json", "--offline", thing=str(desk.folder / "many"))
    assert {json.loads(line)["reason"]["code"] for line in alone.out.splitlines()} == {"token-keys-missing"}


@pytest.mark.parametrize("content", [b"", b"{}", b"x", b'{"keys": [], "keys": []}'])
def test_keys_that_are_none(desk: Desk, content: bytes) -> None:
    error = desk.run("--jwks", desk.write("bad.json", content), "--json").error
    assert error["code"] in ("jwks-json", "jwks-field")
    assert "bad.json" in error["text"]
