"""Writes a syntax tree as text that parses to the same tree."""

from __future__ import annotations

from collections.abc import Iterator

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
from kloister.trust.policy.maa.words import Property, Section, Value


def print_policy(policy: Policy) -> str:
    """The policy, a rule to a line; sections without rules are left out, but for authorizationrules."""
    return "".join(_lines(policy))


def _lines(policy: Policy) -> Iterator[str]:
    yield f"version={policy.version};\n"
    for section in Section:
        rules = policy.section(section)
        if rules or section is Section.AUTHORIZATION:
            yield f"{section}\n{{\n"
            yield from (f"    {print_rule(rule)}\n" for rule in rules)
            yield "};\n"


def print_rule(rule: Rule) -> str:
    """One rule on one line, with its semicolon."""
    conditions = " && ".join(print_condition(one) for one in rule.conditions)
    return f"{conditions}{' ' if conditions else ''}=> {print_action(rule.action)};"


def print_condition(condition: Condition) -> str:
    """`![name:][...]`."""
    name = f"{condition.name}:" if condition.name else ""
    comparisons = ", ".join(print_comparison(one) for one in condition.comparisons)
    return f"{'!' if condition.negated else ''}{name}[{comparisons}]"


def print_comparison(one: Comparison) -> str:
    """`value>=1`."""
    return f"{one.property}{one.operator}{print_expression(one.expression)}"


def print_action(action: Action) -> str:
    """`issue(type="x", value=c.value)`."""
    fields = {
        Property.TYPE: action.type,
        Property.VALUE: action.value,
        Property.VALUE_TYPE: action.value_type,
        Property.ISSUER: action.issuer,
    }
    arguments = [f"{name}={print_expression(one)}" for name, one in fields.items() if one is not None]
    claim = [f"claim={action.claim}"] if action.claim else []
    return f"{action.verb}({', '.join(claim + arguments)})"


def print_expression(expression: Expression) -> str:
    """A literal, `c.value` or a call."""
    match expression:
        case Literal():
            return print_value(expression.value)
        case Reference():
            return f"{expression.name}.{expression.property}"
        case Call():
            return f"{expression.function}({', '.join(map(print_expression, expression.arguments))})"


def print_value(value: Value) -> str:
    """As a policy writes it: text quoted, booleans in lower case."""
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value).lower() if isinstance(value, bool) else str(value)
