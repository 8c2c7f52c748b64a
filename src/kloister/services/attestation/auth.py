"""Who may administer: bearers of tokens of an OpenID issuer, or of fixed tokens (dangerous); without either, nobody."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeGuard

from kloister.errors import Denied, KloisterError, Malformed, Unavailable
from kloister.formats.tokens import JwkSet, Jws
from kloister.formats.wire import load_json
from kloister.services.attestation.rights import Caller, Grants, Right

MAX_TOKEN = 16 * 1024  # characters of a bearer token
MAX_CONFIGURATION = 64 * 1024  # bytes of openid-configuration
_FRESH = 600  # seconds that an issuer's keys are used without asking again
_PATIENCE = 10  # seconds between two questions to the issuer, whatever comes
_RETRY = 1  # seconds after which an issuer that has never answered is asked again
_STALE = 86400  # seconds after which keys of an issuer that is away are used no more: one of them may be revoked
_SKEW = 60  # seconds that the issuer's clock may differ from ours
_MAX_ACTOR = 128  # characters of a subject that the audit notes
Fetch = Callable[[str], bytes]  # the body at a URL; raises Unavailable and others


class Authenticator(Protocol):
    """Tells who sends a token, and what they may do."""

    def check(self, token: str, now: int) -> Caller:
        """Who it is; perhaps without any right.

        Raises:
            Denied: `bearer-refused`. Unavailable: the issuer's keys cannot be had.
        """


class NoBearers:
    """No token is accepted: administration is switched off."""

    def check(self, _token: str, _now: int) -> Caller:
        """Refuse."""
        raise _refused("This service accepts no tokens: it has no [auth].")


class FixedBearers:
    """Tokens that stand in the settings: whoever reads these or the wire once is an administrator for ever."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._digests = [hashlib.sha256(token.encode()).digest() for token in tokens]

    def check(self, token: str, _now: int) -> Caller:
        """Compare with all of them, in constant time."""
        digest = hashlib.sha256(token.encode()).digest()
        if not sum(hmac.compare_digest(digest, one) for one in self._digests):
            raise _refused("The bearer token is not one of the accepted ones.")
        return Caller(f"bearer:{digest.hex()[:16]}", Right.WRITE)


class OidcBearers:
    """Tokens of one OpenID issuer for one audience; its keys are fetched from where its metadata say.

    Args:
        issuer: `iss` of its tokens, and where its metadata stand.
        audience: one of `aud`.
        fetch: gets a document.
        grants: who of them may do what.
    """

    def __init__(self, issuer: str, audience: str, fetch: Fetch, grants: Grants) -> None:
        self._issuer = issuer
        self._audience = audience
        self._fetch = fetch
        self._grants = grants
        self._lock = threading.Lock()
        self._keys: JwkSet | None = None
        self._asked = self._got = -_STALE

    def check(self, token: str, now: int) -> Caller:
        """Verify signature, issuer, audience and times."""
        try:
            jws = Jws.parse(token)
            self._check_signature(jws, now)
            claims = jws.claims
        except Unavailable:
            raise
        except KloisterError as error:
            raise _refused(f"The bearer token is not genuine: {error.code}.") from None
        self._check_claims(claims, now)
        subject = str(claims.get("sub") or claims.get("oid") or "unnamed")[:_MAX_ACTOR]
        name = subject.encode("utf-8", "backslashreplace").decode("utf-8")
        return Caller(f"oidc:{name}", self._grants.right_of(claims))

    def _check_signature(self, jws: Jws, now: int) -> None:
        candidates = self._set(now, renew=False).named(jws.kid) or self._set(now, renew=True).named(jws.kid)
        if not candidates:
            raise _refused("The bearer token's key is not among the issuer's.")
        jws.check_signed_by(candidates[0].key)

    def _check_claims(self, claims: dict[str, Any], now: int) -> None:
        audience = claims.get("aud")
        expires, begins = claims.get("exp"), claims.get("nbf", 0)
        if claims.get("iss") != self._issuer:
            raise _refused("The bearer token is of another issuer.")
        if self._audience not in (audience if isinstance(audience, list) else [audience]):
            raise _refused("The bearer token is for another audience.")
        if not _is_time(expires) or not _is_time(begins) or not begins - _SKEW <= now <= expires + _SKEW:
            raise _refused("The bearer token is not valid now.")

    def _set(self, now: int, *, renew: bool) -> JwkSet:
        with self._lock:
            age = now - self._asked
            if age > _FRESH or (renew and age > _PATIENCE) or (self._keys is None and age >= _RETRY):
                self._asked = now
                self._keys, self._got = self._load(), now
            if self._keys is None or now - self._got > _STALE:
                raise Unavailable("oidc-status", "The issuer of tokens does not show its keys.", "Try again.")
            return self._keys

    def _load(self) -> JwkSet:
        document = load_json(
            self._fetch(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"), "oidc", MAX_CONFIGURATION
        )
        where = document.get("jwks_uri") if isinstance(document, dict) else None
        if not isinstance(where, str) or not isinstance(document, dict) or document.get("issuer") != self._issuer:
            raise Malformed("oidc-metadata", "The issuer's metadata do not name it, or no jwks_uri.")
        return JwkSet.parse(self._fetch(where))


def bearer(header: str | None) -> str:
    """The token in a header Authorization. Raises `Denied`: `bearer-missing`, `bearer-refused`."""
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Denied("bearer-missing", "This request needs a bearer token.", "Send Authorization: Bearer TOKEN.")
    if len(token) > MAX_TOKEN or not token.isascii():
        raise _refused("The bearer token is too long, or no text of ASCII.")
    return token.strip()


def _is_time(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _refused(why: str) -> Denied:
    return Denied("bearer-refused", why, "Get a token of the service's issuer, for its audience.")
