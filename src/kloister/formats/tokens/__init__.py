"""Signed tokens and key sets as JOSE has them; whom to believe is decided in `trust/verifier/token.py`."""

from kloister.formats.tokens.jose import Algorithm, Jws, PrivateKey, PublicKey, sign, unsecured
from kloister.formats.tokens.jwk import Jwk, JwkSet, jwk_of

__all__ = ["Algorithm", "Jwk", "JwkSet", "Jws", "PrivateKey", "PublicKey", "jwk_of", "sign", "unsecured"]
