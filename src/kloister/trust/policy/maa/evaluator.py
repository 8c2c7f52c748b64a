"""Evaluates a policy on claims: may a token be issued, and which claims does the policy add to it."""

from __future__ import annotations

from collections.abc import Iterable

from kloister.trust.policy.maa import functions
from kloister.trust.policy.maa.claims import (
    ALIASES,
    ATTESTATION_POLICY,
    ATTESTATION_SERVICE,
    READ_ONLY,
    Claim,
    ClaimSet,
    Values,
)
from kloister.trust.policy.maa.comparing import READ, compare, value_type
from kloister.trust.policy.maa.failure import MaaPolicyError, wrong
from kloister.trust.policy.maa.meter import MAX_STEPS, Meter
from kloister.trust.policy.maa.tree import (
    Action,
    Comparison,
    Condition,
    Expression,
    Literal,
    Policy,
    Reference,
    Rule,
)
from kloister.trust.policy.maa.words import Property, Section, Verb

Bound = dict[str, list[Claim]]


def configure(policy: Policy, claims: Iterable[Claim] = (), *, steps: int = MAX_STEPS) -> tuple[Claim, ...]:
    """The properties of the configuration rules alone: some of them choose collateral, before there is evidence.

    Raises:
        MaaPolicyError: as `evaluate`.
    """
    run = Run(claims, Meter(steps))
    run.section(policy, Section.CONFIGURATION)
    return tuple(run.properties.everything())


class Run:
    """One evaluation under way.

    Attributes:
        incoming: what conditions see: the evidence's claims, and what rules have added.
        outgoing, properties: what rules have issued.
        permitted, denied: whether a rule has said so.
    """

    def __init__(self, claims: Iterable[Claim], meter: Meter) -> None:
        self.incoming = ClaimSet(claims)
        self.outgoing = ClaimSet()
        self.properties = ClaimSet()
        self.permitted = False
        self.denied = False
        self.meter = meter

    def section(self, policy: Policy, section: Section) -> None:
        """Apply the rules of a section one after the other."""
        rule: Rule | None = None
        try:
            for rule in policy.section(section):
                self.rule(rule)
        except MaaPolicyError as error:
            place = rule.place if rule else None
            where = f"In the rule at line {place.line}: " if place else ""
            raise MaaPolicyError(error.code, f"{where}{error.text}", error.hint, place) from None

    def rule(self, rule: Rule) -> None:
        """Apply one rule, if its conditions hold."""
        self.meter.spend(1)
        bound: Bound = {}
        for condition in rule.conditions:
            matches = self.matches(condition, bound)
            if bool(matches) is condition.negated:
                return
            if condition.name is not None:
                bound[condition.name] = matches
        self.act(rule.action, bound)

    def matches(self, condition: Condition, bound: Bound) -> list[Claim]:
        """The incoming claims that meet all comparisons of a condition."""
        claims = self.candidates(condition)
        for comparison in condition.rest:
            if not claims:
                break
            claims = self.met(claims, comparison, bound)
        return claims

    def candidates(self, condition: Condition) -> list[Claim]:
        """The incoming claims of the type that a condition names; all where it names none."""
        if condition.wanted is None:
            return self.incoming.everything()
        return self.incoming.of_type(ALIASES.get(condition.wanted, condition.wanted))

    def met(self, claims: list[Claim], comparison: Comparison, bound: Bound) -> list[Claim]:
        """Those of the claims that meet a comparison."""
        if comparison.test is not None:
            self.meter.spend(len(claims))
            return list(filter(comparison.test, claims))
        wanted = self.values(comparison.expression, bound).items
        self.meter.spend(len(claims) * len(wanted))
        read, sign = READ[comparison.property], comparison.operator
        return [claim for claim in claims if any(compare(read(claim), sign, one) for one in wanted)]

    def values(self, expression: Expression, bound: Bound) -> Values:
        """What an expression yields."""
        if isinstance(expression, Reference):
            claims = bound[expression.name]
            tainted = expression.property is Property.VALUE and any(map(_is_read_only, claims))
            return Values(tuple(map(READ[expression.property], claims)), tainted)
        if isinstance(expression, Literal):
            return Values((expression.value,))
        arguments = [self.values(one, bound) for one in expression.arguments]
        return functions.call(expression.function, arguments, self.meter)

    def act(self, action: Action, bound: Bound) -> None:
        """Do what a rule says."""
        if action.verb is Verb.PERMIT:
            self.permitted = True
        elif action.verb is Verb.DENY:
            self.denied = True
        else:
            made = self.made(action, bound)
            self.meter.spend(len(made))
            self.keep(action.verb, made)

    def keep(self, verb: Verb, made: list[Claim]) -> None:
        """Add the claims of an action to their sets."""
        if verb is Verb.ISSUE:
            secret = next((one for one in made if _is_read_only(one)), None)
            if secret is not None:
                raise MaaPolicyError(
                    "maa-read-only", f"The claim {secret.type[:64]!a} is read-only, or computed from one that is.",
                    "Issue what IsSubsetOf or ContainsOnlyValue says of it.",
                )  # fmt: skip
            self.outgoing.add(made)
        elif verb is Verb.ISSUE_PROPERTY:
            self.properties.add(made)
        self.incoming.add(made)

    def made(self, action: Action, bound: Bound) -> list[Claim]:
        """The claims of an action: those bound, as they are, or one for each value."""
        if action.claim is not None:
            return bound[action.claim]
        name, values = self._type(action, bound), self._value(action, bound)
        return [Claim(name, value, ATTESTATION_POLICY, values.read_only) for value in values.items]

    def _type(self, action: Action, bound: Bound) -> str:
        if isinstance(action.type, Literal) and isinstance(action.type.value, str) and action.type.value:
            return action.type.value
        names = set(self.values(action.type, bound).items) if action.type is not None else set()
        name = names.pop() if len(names) == 1 else None
        if not isinstance(name, str) or not name:
            raise wrong("The type of a new claim must be one text that is not empty.")
        return name

    def _value(self, action: Action, bound: Bound) -> Values:
        values = self.values(action.value, bound) if action.value is not None else Values(())
        if action.value_type is not None:
            wanted = self.values(action.value_type, bound).items
            if any(value_type(one) not in wanted for one in values.items):
                raise wrong("A new claim's value is not of its valueType: String, Integer or Boolean.")
        return values


def _is_read_only(claim: Claim) -> bool:
    return claim.read_only or (claim.type in READ_ONLY and claim.issuer == ATTESTATION_SERVICE)
