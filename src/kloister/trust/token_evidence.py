"""What an attestation service says of evidence that it has judged, as a type; see `trust/evidence.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kloister.formats.tokens.reading import Reading
from kloister.trust.evidence import Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedToken(Sealed):
    """A token that its issuer signed and that is in date: hearsay, as good as the issuer whose keys were given.

    Attributes:
        issuer: `iss`; empty where the token names none.
        key: the name of the key that signed it.
        expires: when it ends.
        claims: everything that it says.
        reading: as much of this as is understood.
    """

    issuer: str
    key: str
    expires: datetime
    claims: Mapping[str, Any] = field(repr=False)
    reading: Reading
