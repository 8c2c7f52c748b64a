"""What was found out about evidence, for people and machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kloister.errors import KloisterError
from kloister.trust import identifiers
from kloister.trust.evidence import TcbBasis, UnsupportedBasis
from kloister.trust.policy.decision import Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """What was found out about evidence; None is what is not known.

    Of evidence that is not genuine nothing is repeated but the kind of TEE that it claims.
    """

    genuine: bool
    accepted: bool
    kind: str | None = None  # in what form it came: `recognise.Kind`
    tee: str | None = None
    tcb_status: str | None = None
    advisories: tuple[str, ...] = ()
    tcb_date: datetime | None = None
    fmspc: str | None = None
    claims: Mapping[str, str | int | bool] | None = field(default=None, repr=False)
    simulated: bool | None = None
    reason: KloisterError | None = None
    conditions: tuple[Condition, ...] = ()  # of the policy, that are not met; `reason` is the first
    basis: TcbBasis | UnsupportedBasis | None = field(default=None, repr=False)  # for explanations
    expires: datetime | None = None  # when the first part of the collateral ends, or the token
    issuer: str | None = None  # of a token
    said: Mapping[str, Any] | None = field(default=None, repr=False)  # all claims of a genuine token
    unverified: Mapping[str, Any] | None = field(default=None, repr=False)  # what a token claims that is not genuine

    @property
    def identifiers(self) -> dict[str, str]:
        """What names this one machine, in hexadecimal: to be shown only to who asks for it."""
        found = {name: str(self.claims[name]) for name in identifiers.NAMES if self.claims and name in self.claims}
        if self.basis is not None:
            platform = self.basis.platform
            found["ppid"] = platform.ppid.hex()
            if platform.platform_instance_id is not None:
                found["platform_instance_id"] = platform.platform_instance_id.hex()
        return found

    def as_json(self, *, show_identifiers: bool = False) -> dict[str, Any]:
        """The object that `kloister verify --json` prints.

        Args:
            show_identifiers: say which machine it is; otherwise a hash stands for what names it.
        """
        claims = self.said if self.said is not None else self.claims
        return {
            "kind": self.kind,
            "genuine": self.genuine,
            "verdict": "accept" if self.accepted else "reject",
            "tee": self.tee,
            "tcb_status": self.tcb_status,
            "advisories": list(self.advisories),
            "tcb_date": _instant(self.tcb_date),
            "fmspc": self.fmspc,
            "claims": None if claims is None else dict(claims) if show_identifiers else identifiers.hide(claims),
            "simulated": self.simulated,
            **({"issuer": self.issuer, "expires": _instant(self.expires)} if self.issuer is not None else {}),
            **({"identifiers": self.identifiers} if show_identifiers else {}),
            **({"reason": self.reason.as_json()} if self.reason else {}),
            **({"conditions": [each.as_json() for each in self.conditions]} if self.conditions else {}),
        }


def _instant(at: datetime | None) -> str | None:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ") if at else None
