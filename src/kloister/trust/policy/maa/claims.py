"""Claims and sets of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from kloister.errors import Misused
from kloister.trust.policy.maa.comparing import value_type
from kloister.trust.policy.maa.failure import MaaPolicyError
from kloister.trust.policy.maa.words import Value

ATTESTATION_SERVICE = "AttestationService"  # issuer of what the evidence says
ATTESTATION_POLICY = "AttestationPolicy"  # of what rules make
CUSTOM_CLAIM = "CustomClaim"  # of what a client adds: believed least, so it is the default

MAX_CLAIMS = 5000  # in each set; evidence has some 30
READ_ONLY = frozenset({"pcrs"})  # evidence that must not be copied into a token (claim rule functions)

# Names that old policies use for claims of the evidence
ALIASES = {
    "$is-debuggable": "x-ms-sgx-is-debuggable",
    "$product-id": "x-ms-sgx-product-id",
    "$sgx-mrsigner": "x-ms-sgx-mrsigner",
    "$sgx-mrenclave": "x-ms-sgx-mrenclave",
    "$svn": "x-ms-sgx-svn",
    "$tee": "x-ms-attestation-type",
    "$maa-ehd": "x-ms-sgx-ehd",
    "$aas-ehd": "x-ms-sgx-ehd",
    "$maa-attestationcollateral": "x-ms-sgx-collateral",
}


Key = tuple[str, str, str, Value]


class Values(NamedTuple):
    """What an expression yields: any number of values, and whether they may not leave in a token."""

    items: tuple[Value, ...]
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement.

    Attributes:
        type: its name.
        value: text, a whole number or a truth value; never anything else.
        issuer: `AttestationService`, `AttestationPolicy` or `CustomClaim`.
        read_only: it, and what is computed from it, must not be issued.
    """

    type: str
    value: Value
    issuer: str = CUSTOM_CLAIM
    read_only: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.value, (str, int)):
            raise Misused("maa-claim-value", f"The claim {self.type} is neither text nor integer nor boolean.")

    @property
    def value_type(self) -> str:
        """`Boolean`, `Integer` or `String`."""
        return value_type(self.value)

    @property
    def key(self) -> Key:
        """Equal for claims of the same type, issuer and value; true is not 1."""
        return self.type, self.issuer, self.value_type, self.value

    def as_json(self) -> dict[str, Value]:
        """For people and programs."""
        return {"type": self.type, "value": self.value, "valueType": self.value_type, "issuer": self.issuer}


class ClaimSet:
    """Claims in the order in which they came, found by their type.

    Args:
        claims: at most 5000.
    """

    __slots__ = ("_by_type", "_claims", "_held")

    def __init__(self, claims: Iterable[Claim] = ()) -> None:
        self._claims = list(claims)
        self._by_type: dict[str, list[Claim]] = {}
        self._held: set[Key] | None = None
        for claim in self._claims:
            self._by_type.setdefault(claim.type, []).append(claim)
        self._check()

    def of_type(self, name: str) -> list[Claim]:
        """The claims of this type."""
        return self._by_type.get(name, [])

    def everything(self) -> list[Claim]:
        """All claims."""
        return self._claims

    def add(self, made: Iterable[Claim]) -> None:
        """Add what one rule made; what the set held before is not added again, but a rule may repeat itself."""
        by_type = self._by_type
        for claim in [one for one in made if one.type not in by_type or one.key not in self._keys()]:
            self._claims.append(claim)
            by_type.setdefault(claim.type, []).append(claim)
            if self._held is not None:
                self._held.add(claim.key)
        self._check()

    def _keys(self) -> set[Key]:
        if self._held is None:
            self._held = {claim.key for claim in self._claims}
        return self._held

    def _check(self) -> None:
        if len(self._claims) > MAX_CLAIMS:
            raise MaaPolicyError("maa-limit", f"There are more than {MAX_CLAIMS} claims.")
