"""What is doubtful in a policy that parses: rules that never apply, names that nobody issues, repetitions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from kloister.trust.policy.maa import known
from kloister.trust.policy.maa.claims import ALIASES, ATTESTATION_POLICY, ATTESTATION_SERVICE, CUSTOM_CLAIM
from kloister.trust.policy.maa.comparing import same, value_type
from kloister.trust.policy.maa.place import Place
from kloister.trust.policy.maa.printer import print_comparison, print_rule, print_value
from kloister.trust.policy.maa.tree import Comparison, Condition, Literal, Policy, Rule
from kloister.trust.policy.maa.words import Operator, Property, Section, Value, Verb

_CURLY = frozenset("\u201c\u201d\u201e\u00ab\u00bb\u2018\u2019")
_ISSUERS = (ATTESTATION_SERVICE, ATTESTATION_POLICY, CUSTOM_CLAIM)
_COMPARED = 64  # characters of a name, when a similar one is looked for
_VALUE_TYPES = ("String", "Integer", "Boolean")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something doubtful, and where."""

    place: Place
    text: str

    def as_json(self) -> dict[str, str | int]:
        """For programs."""
        return {"line": self.place.line, "column": self.place.column, "text": self.text}


def lint(policy: Policy) -> tuple[Finding, ...]:
    """What is doubtful, in the order of the text; nothing of it keeps the policy from being used."""
    found = [*_decisions(policy), *_Names(policy).findings()]
    for section in Section:
        rules = policy.section(section)
        found += [*_repeated(rules), *(one for rule in rules for one in _rule(rule))]
    return tuple(sorted(found, key=lambda one: (one.place.line, one.place.column, one.text)))


def _decisions(policy: Policy) -> Iterator[Finding]:
    """On permit and deny together."""
    rules = policy.authorization
    permits = [rule for rule in rules if rule.action.verb is Verb.PERMIT]
    if not permits:
        place = rules[0].place if rules else Place()
        yield Finding(place, "No rule permits: nothing is ever attested. Add => permit();")
    always = next((rule for rule in permits if not rule.conditions), None)
    for rule in permits:
        if always is not None and rule.conditions:
            yield Finding(rule.place, f"This rule decides nothing: line {always.place.line} permits everything.")
    for index, rule in enumerate(rules):
        if rule.action.verb is not Verb.DENY:
            continue
        if not rule.conditions:
            yield Finding(rule.place, "This rule denies everything, whatever the others permit.")
        elif any(one.action.verb is Verb.PERMIT for one in rules[:index]):
            yield Finding(rule.place, "A deny rule wins over every permit rule, also over those that stand before it.")


def _repeated(rules: tuple[Rule, ...]) -> Iterator[Finding]:
    first: dict[str, Rule] = {}
    for rule in rules:
        text = print_rule(rule)
        if text in first:
            yield Finding(rule.place, f"The same rule stands in line {first[text].place.line}.")
        first.setdefault(text, rule)


def _rule(rule: Rule) -> Iterator[Finding]:
    for condition in rule.conditions:
        yield from _condition(condition)
    action = rule.action
    name = action.type.value if isinstance(action.type, Literal) else None
    if not isinstance(name, str):
        return
    if action.verb is Verb.ISSUE and known.is_reserved(name):
        text = f"A token has {print_value(name)} of its own: this claim will be seen in x-ms-policy only."
        yield Finding(action.place, text)
    if action.verb is Verb.ISSUE_PROPERTY:
        yield from _property(action.place, name, action.value.value if isinstance(action.value, Literal) else None)
    for each in (action.type, action.value):
        yield from _curly(each)


def _property(place: Place, name: str, value: Value | None) -> Iterator[Finding]:
    if name not in known.PROPERTIES:
        near = _near(name, known.PROPERTIES)
        yield Finding(place, f"The service knows no property {print_value(name)}{near or '.'}")
    elif value is not None and value_type(value) != known.PROPERTIES[name]:
        yield Finding(place, f"The property {name} is {_a(known.PROPERTIES[name])}, not {_a(value_type(value))}.")


def _condition(condition: Condition) -> Iterator[Finding]:
    seen: dict[Property, Value] = {}
    for one in condition.comparisons:
        if one.loose:
            yield Finding(one.place, "= is read as ==; write == to compare.")
        yield from _curly(one.expression)
        if not isinstance(one.expression, Literal):
            continue
        yield from _comparison(condition, one, one.expression.value)
        if one.operator is Operator.EQUAL:
            if one.property in seen and not same(seen[one.property], one.expression.value):
                yield Finding(one.place, f"No claim meets this: its {one.property} cannot be two things at once.")
            seen[one.property] = one.expression.value


def _comparison(condition: Condition, one: Comparison, value: Value) -> Iterator[Finding]:
    known_values = {Property.ISSUER: _ISSUERS, Property.VALUE_TYPE: _VALUE_TYPES}.get(one.property)
    if known_values is not None and value not in known_values:
        yield Finding(one.place, f"No claim has {print_comparison(one)}; there are {', '.join(known_values)}.")
    if one.property is Property.TYPE and not isinstance(value, str):
        yield Finding(one.place, f"{print_comparison(one)} never holds: types are text.")
    name = ALIASES.get(condition.wanted or "", condition.wanted or "")
    kind = known.INCOMING.get(name)
    if one.property is Property.VALUE and kind is not None and kind != value_type(value):
        always = "always" if one.operator is Operator.UNEQUAL else "never"
        text = f"{print_comparison(one)} {always} holds: {name} is {_a(kind)}, and this {_a(value_type(value))}."
        yield Finding(one.place, text)


def _curly(expression: object) -> Iterator[Finding]:
    if isinstance(expression, Literal) and isinstance(expression.value, str) and _CURLY & set(expression.value):
        yield Finding(expression.place, "There are typographic quotes in this string; were straight ones meant?")


class _Names:
    """Follows which claims there can be, rule by rule in the order of evaluation."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._made: set[str] = set()
        self._everything = False  # a rule makes a claim whose type is computed
        self._later = {name for section in Section for rule in policy.section(section) for name in _made(rule)}

    def findings(self) -> Iterator[Finding]:
        for section in Section:
            for rule in self._policy.section(section):
                for condition in rule.conditions:
                    yield from self._unknown(condition)
                self._made.update(_made(rule))
                self._everything |= rule.action.type is not None and not isinstance(rule.action.type, Literal)

    def _unknown(self, condition: Condition) -> Iterator[Finding]:
        name = condition.wanted
        if name is None or self._everything or name in self._made or name in known.INCOMING or name in ALIASES:
            return
        if any(_asks(one, CUSTOM_CLAIM) for one in condition.comparisons):
            return
        shown = print_value(name)
        if name in self._later:
            yield Finding(condition.place, f"The claim {shown} is made by a later rule only; rules apply in order.")
        else:
            near = _near(name, {*known.INCOMING, *ALIASES, *self._made})
            yield Finding(condition.place, f"Neither evidence nor a rule makes a claim {shown}{near or '.'}")


def _made(rule: Rule) -> Iterator[str]:
    if isinstance(rule.action.type, Literal) and isinstance(rule.action.type.value, str):
        yield rule.action.type.value


def _asks(one: Comparison, issuer: str) -> bool:
    literal = one.expression.value if isinstance(one.expression, Literal) else None
    return one.property is Property.ISSUER and one.operator is Operator.EQUAL and literal == issuer


def _a(kind: str) -> str:
    return f"{'an' if kind == 'Integer' else 'a'} {kind}"


def _near(name: str, names: Iterable[str]) -> str:
    near = get_close_matches(name[:_COMPARED], sorted(names), 1)
    return f"; is {near[0]} meant?" if near else ""
