"""An evaluation that records what became of every rule and condition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kloister.trust.policy.maa.claims import Claim
from kloister.trust.policy.maa.evaluator import Bound, Run
from kloister.trust.policy.maa.meter import Meter
from kloister.trust.policy.maa.place import Place
from kloister.trust.policy.maa.printer import print_comparison, print_condition, print_rule
from kloister.trust.policy.maa.tree import Condition, Policy, Rule
from kloister.trust.policy.maa.words import Section

_MISSES = 8  # claims of a condition that failed; beyond these only their number is told


class Verdict(StrEnum):
    """On a condition."""

    HELD = "held"
    FAILED = "failed"
    NOT_JUDGED = "not judged"  # one before it failed


@dataclass(frozen=True, slots=True)
class Miss:
    """A claim that does not meet a condition, and the first comparison that it fails."""

    claim: Claim
    comparison: str


@dataclass(frozen=True, slots=True)
class ConditionTrace:
    """What became of a condition.

    Attributes:
        text: as a policy has it.
        matched: the claims that meet it; a negated one fails where there are any.
        misses: some of those of its type that do not, if none does.
        missed: how many these are.
    """

    text: str
    verdict: Verdict
    matched: tuple[Claim, ...] = ()
    misses: tuple[Miss, ...] = ()
    missed: int = 0

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "condition": self.text,
            "verdict": str(self.verdict),
            "matched": [one.as_json() for one in self.matched],
            "missed": self.missed,
            "misses": [{"claim": one.claim.as_json(), "comparison": one.comparison} for one in self.misses],
        }


@dataclass(frozen=True, slots=True)
class RuleTrace:
    """What became of a rule: fired if all its conditions held; `made` is then what it added or issued."""

    section: Section
    place: Place
    text: str
    fired: bool
    conditions: tuple[ConditionTrace, ...]
    made: tuple[Claim, ...]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "section": str(self.section),
            "line": self.place.line,
            "rule": self.text,
            "fired": self.fired,
            "conditions": [one.as_json() for one in self.conditions],
            "made": [one.as_json() for one in self.made],
        }


class TracedRun(Run):
    """As `Run`; `rules` has every rule that was tried."""

    def __init__(self, claims: Iterable[Claim], meter: Meter) -> None:
        super().__init__(claims, meter)
        self.rules: list[RuleTrace] = []
        self._section = Section.CONFIGURATION
        self._made: tuple[Claim, ...] = ()

    def section(self, policy: Policy, section: Section) -> None:
        """Apply the rules of a section."""
        self._section = section
        super().section(policy, section)

    def rule(self, rule: Rule) -> None:
        """Apply one rule and record it."""
        self.meter.spend(1)
        self._made = ()
        bound: Bound = {}
        seen: list[ConditionTrace] = []
        for condition in rule.conditions:
            seen.append(self._judged(condition, bound))
            if seen[-1].verdict is Verdict.FAILED:
                break
        fired = not seen or seen[-1].verdict is Verdict.HELD
        rest = rule.conditions[len(seen) :]
        seen += [ConditionTrace(print_condition(one), Verdict.NOT_JUDGED) for one in rest]
        if fired:
            self.act(rule.action, bound)
        self.rules.append(RuleTrace(self._section, rule.place, print_rule(rule), fired, tuple(seen), self._made))

    def keep(self, verb: Any, made: list[Claim]) -> None:
        """Add claims to their sets."""
        super().keep(verb, made)
        self._made = tuple(made)

    def _judged(self, condition: Condition, bound: Bound) -> ConditionTrace:
        matches = self.matches(condition, bound)
        text = print_condition(condition)
        if bool(matches) is condition.negated:
            misses = () if matches else tuple(self._misses(condition, bound))
            return ConditionTrace(text, Verdict.FAILED, tuple(matches), misses[:_MISSES], len(misses))
        if condition.name is not None:
            bound[condition.name] = matches
        return ConditionTrace(text, Verdict.HELD, tuple(matches))

    def _misses(self, condition: Condition, bound: Bound) -> Iterator[Miss]:
        for claim in self.candidates(condition):
            for comparison in condition.rest:
                if not self.met([claim], comparison, bound):
                    yield Miss(claim, print_comparison(comparison))
                    break
