from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from kloister.formats.dcap import TcbStatus
from kloister.formats.policy import Waiver


class Comparison(StrEnum):
    """How a claim is compared with what is wanted."""

    ONE_OF = "one of"
    AT_LEAST = "at least"


@dataclass(frozen=True, slots=True)
class Wish:
    """One claim that the evidence must make.

    Attributes:
        path: where it stands in the document, for instance `sgx.mrenclave`.
        claim: its name among the claims of `Verified`.
        code: the reason code of a refusal.
        comparison: how `wanted` is meant.
        wanted: one value or several: hexadecimal of bytes, integers, or booleans.
    """

    path: str
    claim: str
    code: str
    comparison: Comparison
    wanted: tuple[str | int | bool, ...]

    def met(self, seen: str | int | bool) -> bool:  # noqa: FBT001 -- a claim's value, not a switch
        """Whether the claim is what is wanted."""
        if self.comparison is Comparison.AT_LEAST:
            least = self.wanted[0]
            return isinstance(seen, int) and isinstance(least, int) and seen >= least
        return seen in self.wanted

    @property
    def expected(self) -> str:
        """What is wanted, for people."""
        several = " or ".join(str(one).lower() if isinstance(one, bool) else str(one) for one in self.wanted)
        return f"{several} or more" if self.comparison is Comparison.AT_LEAST else several


@dataclass(frozen=True, slots=True)
class TeeRule:
    """What is asked of evidence of one kind of TEE."""

    tee: str  # "sgx", "tdx" or "snp"
    debug: bool = False  # whether debug evidence, whose memory anybody can read, is acceptable
    wishes: tuple[Wish, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AppraisalPolicy:
    """What is wanted; what is None is not asked for. The defaults admit up-to-date production hardware only.

    Where `tees` is not empty, evidence of a TEE that has no rule there is refused: who names an enclave does not want a
    virtual machine of the same platform.
    """

    accept: frozenset[TcbStatus] = frozenset({TcbStatus.UP_TO_DATE})
    waive: tuple[Waiver, ...] = ()
    minimum_date: date | None = None  # of the TCB level, UTC
    minimum_evaluation_number: int | None = None  # of the TCB info
    maximum_age: timedelta | None = None  # of the oldest document of the collateral
    simulated: bool = False  # whether a simulated platform, which proves nothing, is acceptable
    tees: tuple[TeeRule, ...] = ()
