"""Any well-formed syntax tree, for Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from kloister.trust.policy.maa.parser import MAX_INTEGER
from kloister.trust.policy.maa.tree import (
    Action,
    Call,
    Comparison,
    Condition,
    Expression,
    Literal,
    Policy,
    Reference,
    Rule,
)
from kloister.trust.policy.maa.words import VERBS, Function, Operator, Property, Section, Verb, Version

NAMES = ("c", "c1", "F_2", "type", "permit", "version")  # words of the language are names as well
STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(['\\"', "//", "x-ms-ver"])
INTEGERS = st.integers(0, 9) | st.just(MAX_INTEGER)
LITERALS = st.builds(Literal, STRINGS | INTEGERS | st.booleans())


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    version = draw(st.sampled_from(list(Version)))
    sections = {section: draw(st.lists(_rules(section, version), max_size=3)) for section in Section}
    if version is Version.V1_0:
        sections[Section.CONFIGURATION] = []
    return Policy(version, *(tuple(sections[each]) for each in Section))


@st.composite
def _rules(draw: st.DrawFn, section: Section, version: Version) -> Rule:
    bound: list[str] = []
    conditions = tuple(draw(_conditions(version, bound)) for _ in range(draw(st.integers(0, 3))))
    return Rule(conditions, draw(_actions(section, version, bound)))


@st.composite
def _conditions(draw: st.DrawFn, version: Version, bound: list[str]) -> Condition:
    comparisons = draw(st.lists(_comparisons(version, list(bound)), min_size=1, max_size=3))
    name = draw(st.none() | st.sampled_from([one for one in NAMES if one not in bound]))
    negated = version is Version.V1_2 and draw(st.booleans())
    if name and not negated:
        bound.append(name)
    return Condition(tuple(comparisons), name, negated)


@st.composite
def _comparisons(draw: st.DrawFn, version: Version, bound: list[str]) -> Comparison:
    name = draw(st.sampled_from(list(Property)))
    expression = draw(_expressions(version, bound))
    integer = not isinstance(expression, Literal) or type(expression.value) is int
    ordered = name is Property.VALUE and integer
    signs = list(Operator) if ordered else [Operator.EQUAL, Operator.UNEQUAL]
    return Comparison(name, draw(st.sampled_from(signs)), expression)


@st.composite
def _actions(draw: st.DrawFn, section: Section, version: Version, bound: list[str]) -> Action:
    verb = draw(st.sampled_from(VERBS[section]))
    if verb in (Verb.PERMIT, Verb.DENY):
        return Action(verb)
    claim = draw(st.sampled_from([None, *bound]))
    if claim is not None:
        return Action(verb, claim=claim)
    expressions = _expressions(version, bound)
    kind = draw(st.none() | expressions)
    issuer = draw(st.none() | st.just(Literal("AttestationPolicy")))
    return Action(verb, draw(expressions), draw(expressions), kind, issuer)


def _expressions(version: Version, bound: list[str]) -> st.SearchStrategy[Expression]:
    simple: st.SearchStrategy[Expression] = LITERALS
    if bound:
        simple |= st.builds(Reference, st.sampled_from(bound), st.sampled_from(list(Property)))
    if version is not Version.V1_2:
        return simple
    return st.recursive(simple, _calls, max_leaves=4)


def _calls(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Call]:
    return st.sampled_from(list(Function)).flatmap(
        lambda function: st.builds(Call, st.just(function), st.tuples(*[inner] * function.arity))
    )
