"""Fetches the keys of an issuer that the operator has named; a token alone makes nobody ask anybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kloister.errors import KloisterError, Malformed, Misconfigured, Unavailable, Unverified
from kloister.formats.tokens import JwkSet, Jws
from kloister.formats.tokens.jwk import MAX_SIZE
from kloister.formats.wire import load_json
from kloister.services.collateral.transport import Answer, Endpoint, Request, Transport

METADATA = "/.well-known/openid-configuration"  # OpenID Connect Discovery 1.0, section 4
_OK, _NOT_FOUND = 200, 404


def endpoint_of(issuer: str) -> Endpoint:
    """Who is asked. Raises `Misconfigured`: `issuer-url`."""
    try:
        endpoint = Endpoint.of(issuer)
    except Misconfigured:
        endpoint = None
    if endpoint is None or "?" in issuer:
        raise Misconfigured(
            "issuer-url",
            f"{issuer[:128]!a} is no issuer whose keys could be fetched.",
            "Give https://HOST[:PORT][/PATH]; of other issuers give the keys: --jwks FILE.",
        )
    return endpoint


def fetch_keys(issuer: str, token: bytes, transport: Transport, deadline: float) -> JwkSet:
    """The keys of `issuer`: where its OpenID metadata says, else where the token's `jku` says, at the same host.

    Args:
        issuer: as the operator named it.
        token: its `jku` counts only where the issuer has no metadata.
        transport: may ask the issuer's host.
        deadline: of the monotonic clock.

    Raises:
        Misconfigured: `issuer-url`. Unavailable: `issuer-unreachable`.
        Unverified: `issuer-metadata` (another issuer's), `issuer-keys-elsewhere`, `source-certificate`.
        Malformed: `issuer-metadata-json`, `issuer-metadata`, `jwks-*`.
    """
    home = endpoint_of(issuer)

    def get(url: str) -> Answer:
        return transport.get(Request(url, {"Accept": "application/json"}, MAX_SIZE), deadline)

    answer = _asked(get, issuer.rstrip("/") + METADATA, home)
    place = _named(answer.body, issuer) if answer.status == _OK else _jku(token)
    if place is None or not _at(home, place):
        raise Unverified(
            "issuer-keys-elsewhere",
            f"The keys of the issuer are not at its own host {home.name}.",
            "Fetch them from where you trust, and give them: --jwks FILE.",
        )
    keys = _asked(get, place, home)
    if keys.status != _OK:
        raise _unreachable(home, f"it answers with status {keys.status} where its keys should be")
    return JwkSet.parse(keys.body)


def _asked(get: Callable[[str], Answer], url: str, home: Endpoint) -> Answer:
    try:
        answer = get(url)
    except Unavailable as error:
        raise _unreachable(home, error.text) from None
    except KloisterError as error:
        if error.code != "source-certificate":
            raise
        raise Unverified(
            error.code, error.text, "For an issuer with a CA of its own give it: --source-ca FILE."
        ) from None
    if answer.status not in (_OK, _NOT_FOUND):
        raise _unreachable(home, f"it answers with status {answer.status}")
    return answer


def _named(body: bytes, issuer: str) -> str:
    """Where the metadata says that the keys are; it must be of this issuer."""
    document: Any = load_json(body, "issuer-metadata", MAX_SIZE)
    if not isinstance(document, dict) or not isinstance(document.get("jwks_uri"), str):
        raise Malformed("issuer-metadata", "The issuer's metadata does not say where its keys are.")
    if document.get("issuer") != issuer:
        raise Unverified("issuer-metadata", "The metadata there is that of another issuer.", "Name it as it does.")
    return str(document["jwks_uri"])


def _jku(token: bytes) -> str | None:
    jku = Jws.parse(token).header.get("jku")
    return jku if isinstance(jku, str) else None


def _at(home: Endpoint, url: str) -> bool:
    try:
        return Endpoint.of(url) == home
    except Misconfigured:
        return False


def _unreachable(home: Endpoint, why: str) -> Unavailable:
    return Unavailable(
        "issuer-unreachable",
        f"The keys of the issuer {home.name} cannot be fetched: {why.removesuffix('.')}.",
        "Check the network and the address, or give the keys: --jwks FILE.",
    )
