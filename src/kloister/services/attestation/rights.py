"""What callers may do: read policies, or change them. Whoever was given neither has no right, however genuine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from kloister.errors import Denied


class Right(IntEnum):
    """Each holds those before it."""

    NONE = 0
    READ = 1  # policies, certificates, the audit log; the reasons of appraisals
    WRITE = 2


# Azure's roles, without what separates their words: issuers write "Attestation Reader" or "Attestation.Reader"
ROLES: Mapping[str, Right] = {"attestationreader": Right.READ, "attestationcontributor": Right.WRITE}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request: the name that the audit notes, and the right."""

    name: str
    right: Right

    def require(self, right: Right) -> None:
        """Return if the caller has it. Raises `Denied`: `bearer-right`."""
        if self.right < right:
            role = "Attestation Contributor" if right is Right.WRITE else "Attestation Reader"
            raise Denied(
                "bearer-right",
                f"The bearer token is genuine, but its subject may not {right.name.lower()} here.",
                f"Ask the operator for a place in auth.oidc_subjects, or the issuer for the role {role}.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """Who of an issuer's subjects has which right.

    Attributes:
        writers, readers: by `sub` or `oid`.
        everybody: whether a token for the audience without `roles` gives the right to write: the issuer
            decides who gets one.
    """

    writers: tuple[str, ...] = ()  # no sets: a claim may be anything
    readers: tuple[str, ...] = ()
    everybody: bool = False

    def right_of(self, claims: Mapping[str, Any]) -> Right:
        """The highest that a genuine token's claims give: by name, or by a role in `roles`."""
        names = [claims.get("sub"), claims.get("oid")]
        if self.everybody and "roles" not in claims:
            return Right.WRITE
        if any(name in self.writers for name in names):
            return Right.WRITE
        named = Right.READ if any(name in self.readers for name in names) else Right.NONE
        return max([named, *_roles(claims.get("roles"))])


def _roles(value: Any) -> list[Right]:
    given = value if isinstance(value, list) else [value]
    plain = ["".join(filter(str.isalnum, role)).lower() for role in given if isinstance(role, str)]
    return [ROLES[role] for role in plain if role in ROLES]
