from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from kloister.errors import Denied, KloisterError, Misconfigured, Unavailable
from kloister.formats.tokens import JwkSet, sign, unsecured
from kloister.formats.tokens.jwk import Jwk
from kloister.formats.tokens.policy import policy_token
from kloister.services.attestation.auth import FixedBearers, NoBearers, OidcBearers, bearer
from kloister.services.attestation.rights import Caller, Grants, Right
from kloister.simulator.pcs import PcsAnswer
from tests.support.attestation import PERMIT, ask, running, settings
from tests.support.pcs import serving, status

ISSUER, AUDIENCE, NOW = "https://login.test/tenant", "api://kloister", 1_800_000_000
KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


class Issuer:
    """What an OpenID issuer publishes; counts how often it is asked."""

    def __init__(self) -> None:
        self.keys = {"one": KEY}
        self.asked = 0
        self.name = ISSUER

    def fetch(self, url: str) -> bytes:
        self.asked += 1
        if url.endswith("/.well-known/openid-configuration"):
            return json.dumps({"issuer": self.name, "jwks_uri": "https://login.test/keys"}).encode()
        assert url == "https://login.test/keys"
        found = tuple(Jwk(kid=kid, key=key.public_key()) for kid, key in self.keys.items())
        return json.dumps(JwkSet(found).as_json()).encode()


def token(key: ec.EllipticCurvePrivateKey = KEY, kid: str = "one", **claims: Any) -> str:
    given = {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 600, "nbf": NOW, "sub": "someone", **claims}
    payload = json.dumps({name: value for name, value in given.items() if value is not None}).encode()
    return sign({"kid": kid, "typ": "JWT"}, payload, key)


def desk_of(issuer: Issuer, **grants: Any) -> OidcBearers:
    return OidcBearers(ISSUER, AUDIENCE, issuer.fetch, Grants(**grants))


def refused(text: str, issuer: Issuer | None = None, now: int = NOW) -> str:
    try:
        desk_of(issuer or Issuer()).check(text, now)
    except KloisterError as error:
        return error.code
    return ""


def test_a_token_of_the_issuer() -> None:
    issuer = Issuer()
    desk = desk_of(issuer)
    assert desk.check(token(), NOW).name == "oidc:someone"
    assert desk.check(token(aud=["other", AUDIENCE], sub=None, oid="object"), NOW + 1).name == "oidc:object"
    assert issuer.asked == 2


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        token(iss="https://evil"),
        token(aud="other"),
        token(aud=None),
        token(exp=None),
        token(exp=NOW - 61),
        token(exp="soon"),
        token(nbf=NOW + 61),
        token(OTHER),
        token(kid="two"),
        unsecured({"kid": "one"}, b"{}"),
        sign({"kid": "one"}, b"[]", KEY),
    ],
)
def test_any_other_token_is_refused(text: str) -> None:
    assert refused(token()) == ""
    assert refused(text) == "bearer-refused"


def test_a_new_key_is_asked_for_but_not_all_the_time() -> None:
    issuer = Issuer()
    desk = desk_of(issuer)
    desk.check(token(), NOW)
    issuer.keys["two"] = OTHER
    assert refused(token(OTHER, "two"), issuer) == ""
    for _ in range(3):
        with pytest.raises(KloisterError):
            desk.check(token(OTHER, "two"), NOW + 5)
    assert desk.check(token(OTHER, "two"), NOW + 11).name == "oidc:someone"


def test_only_the_subjects_that_are_named_administer() -> None:
    desk = desk_of(Issuer(), writers=("someone", "object"), readers=("reader",))
    assert desk.check(token(), NOW) == Caller("oidc:someone", Right.WRITE)
    assert desk.check(token(sub="pairwise", oid="object"), NOW) == Caller("oidc:pairwise", Right.WRITE)
    assert desk.check(token(sub="\ud800", oid="object"), NOW) == Caller("oidc:\\ud800", Right.WRITE)
    assert desk.check(token(sub="reader"), NOW).right is Right.READ
    for other in ("somebody else", ["someone"], {"a": 1}, None):
        assert desk.check(token(sub=other), NOW).right is Right.NONE


def test_where_nobody_is_named_the_issuer_decides_by_token_or_by_role() -> None:
    desk = desk_of(Issuer(), everybody=True)
    assert desk.check(token(), NOW).right is Right.WRITE
    assert desk.check(token(roles=["Attestation Reader"]), NOW).right is Right.READ
    assert desk.check(token(roles=[]), NOW).right is Right.NONE


@pytest.mark.parametrize(
    ("roles", "right"),
    [
        (["Attestation Contributor"], Right.WRITE),
        (["Attestation Reader"], Right.READ),
        ("Attestation.Reader", Right.READ),
        (["Other", "Attestation.Reader", "attestation-contributor"], Right.WRITE),
        (["Owner", "Contributor", "AttestationContributors"], Right.NONE),
        ([["Attestation Contributor"], None, 2, {}], Right.NONE),
        ({"Attestation Contributor": True}, Right.NONE),
        (None, Right.NONE),
    ],
)
def test_roles_as_azure_names_them(roles: Any, right: Right) -> None:
    assert desk_of(Issuer()).check(token(roles=roles), NOW).right is right


@pytest.mark.parametrize(("right", "refused"), [(Right.NONE, "may not read"), (Right.READ, "may not write")])
def test_a_right_that_is_missing_is_said(right: Right, refused: str) -> None:
    Caller("a", Right.WRITE).require(Right(right + 1))
    with pytest.raises(Denied, match=refused) as caught:
        Caller("a", right).require(Right(right + 1))
    assert caught.value.code == "bearer-right"


def test_an_issuer_that_is_away_is_not_asked_by_every_request_and_its_keys_grow_old() -> None:
    asked = []

    def away(url: str) -> bytes:
        asked.append(url)
        raise Unavailable("source-timeout", "No answer.")

    desk = OidcBearers(ISSUER, AUDIENCE, away, Grants())
    for _ in range(5):
        with pytest.raises(Unavailable):
            desk.check(token(), NOW)
    assert len(asked) == 1
    desk._fetch = Issuer().fetch
    assert desk.check(token(), NOW + 2).name == "oidc:someone"
    desk._fetch = away
    day = 86400
    assert codes(desk, NOW + 602 + 1) == ["source-timeout", ""]
    assert codes(desk, NOW + 2 + day) == ["source-timeout", ""]
    assert codes(desk, NOW + 2 + day + 1) == ["oidc-status", "oidc-status"]


def codes(desk: OidcBearers, at: int) -> list[str]:
    """What two requests of one moment are told."""
    found = []
    for _ in range(2):
        try:
            desk.check(token(nbf=at, exp=at + 60), at)
            found.append("")
        except KloisterError as error:
            found.append(error.code)
    return found


def test_metadata_of_another_issuer_are_not_believed() -> None:
    issuer = Issuer()
    issuer.name = "https://evil"
    assert refused(token(), issuer) == "bearer-refused"


def test_an_issuer_that_is_away_is_no_refusal() -> None:
    def away(_: str) -> bytes:
        raise Unavailable("source-timeout", "No answer.")

    with pytest.raises(Unavailable):
        OidcBearers(ISSUER, AUDIENCE, away, Grants()).check(token(), NOW)


def test_fixed_tokens_and_none() -> None:
    desk = FixedBearers(["first", "second"])
    caller = desk.check("second", NOW)
    assert caller.name.startswith("bearer:")
    assert "second" not in caller.name
    assert caller.right is Right.WRITE
    for one in (desk, NoBearers()):
        with pytest.raises(KloisterError) as caught:
            one.check("third", NOW)
        assert caught.value.code == "bearer-refused"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "bearer-missing"), ("", "bearer-missing"), ("Bearer ", "bearer-missing"), ("Basic x", "bearer-missing"),
        ("Bearer " + "x" * 20000, "bearer-refused"), ("Bearer \xe9", "bearer-refused"),
    ],
)  # fmt: skip
def test_the_header(header: str | None, reason: str) -> None:
    assert bearer("bearer abc") == "abc"
    with pytest.raises(KloisterError) as caught:
        bearer(header)
    assert caught.value.code == reason


def test_a_ca_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"nothing")
    for name in ("ca.pem", "missing.pem"):
        auth = {"oidc_issuer": "https://a", "oidc_audience": AUDIENCE, "oidc_ca": name}
        with pytest.raises(Misconfigured) as caught, running(settings(tmp_path, auth=auth)):
            pass
        assert caught.value.code == "source-ca"


def test_bearers_of_an_issuer_over_http(tmp_path: Path) -> None:
    issuer = Issuer()

    def answers(path: str, _: Mapping[str, str]) -> PcsAnswer:
        if path == "/keys":
            return PcsAnswer(200, "application/json", issuer.fetch("https://login.test/keys"))
        found = {"issuer": server.url, "jwks_uri": f"{server.url}/keys"}
        return PcsAnswer(200 if path == "/.well-known/openid-configuration" else 404, "", json.dumps(found).encode())

    with serving(answers) as server:
        auth = {"oidc_issuer": server.url, "oidc_audience": AUDIENCE}
        with running(settings(tmp_path, auth=auth)) as process:
            now = int(time.time())
            good = token(iss=server.url, nbf=now, exp=now + 60, roles=["Attestation Reader"])
            server.always(status(500))
            assert ask(process, "GET", "/policies/SgxEnclave", bearer=good).status == 503
            server.fail()
            time.sleep(1)  # so long it is not asked again
            assert ask(process, "GET", "/policies/SgxEnclave", bearer=good).status == 200
            bad = token(OTHER, iss=server.url, nbf=now, exp=now + 60)
            assert ask(process, "GET", "/policies/SgxEnclave", bearer=bad).status == 401
            assert ask(process, "GET", "/v1/audit", bearer=good).status == 200
            changed = ask(process, "PUT", "/policies/SgxEnclave", policy_token(PERMIT), bearer=good)
            assert (changed.status, changed.code, changed.reason) == (403, "Forbidden", "bearer-right")
            nobody = token(iss=server.url, nbf=now, exp=now + 60, roles=[])
            assert ask(process, "GET", "/policies/SgxEnclave", bearer=nobody).reason == "bearer-right"
            writer = token(iss=server.url, nbf=now, exp=now + 60, roles=["Attestation Contributor"])
            assert ask(process, "PUT", "/policies/SgxEnclave", policy_token(PERMIT), bearer=writer).status == 200
            plain = token(iss=server.url, nbf=now, exp=now + 60)
            assert ask(process, "PUT", "/policies/SgxEnclave", policy_token(PERMIT), bearer=plain).status == 200
