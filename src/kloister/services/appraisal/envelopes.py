"""What a token claims before it is verified."""

from __future__ import annotations

from typing import Any

from kloister.errors import Malformed
from kloister.formats.tokens import Jws
from kloister.formats.tokens.reading import Form, form_of


def token_form(token: bytes) -> Form:
    """Whose token it is by its claims, unverified."""
    return form_of(token_claims(token))


def token_claims(token: bytes) -> dict[str, Any]:
    """What a token claims, unverified; nothing where it cannot be read."""
    try:
        return Jws.parse(token).claims
    except Malformed:
        return {}
