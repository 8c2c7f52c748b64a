"""Reads the text of a policy by recursive descent; errors name line and column."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn, TypeVar

from kloister.trust.policy.maa.failure import MaaSyntaxError
from kloister.trust.policy.maa.tokens import Kind, Token, tokenize
from kloister.trust.policy.maa.tree import (
    VERBS,
    Action,
    Call,
    Comparison,
    Condition,
    Expression,
    Function,
    Literal,
    Operator,
    Policy,
    Property,
    Reference,
    Rule,
    Section,
    Verb,
    Version,
)

MAX_RULES = 1000
MAX_INTEGER = 2**63 - 1
_MAX_DIGITS = 19  # of MAX_INTEGER: no longer digits are converted
_MAX_DEPTH = 16  # of calls in calls; published policies have two
_BOOLEANS = {"true": True, "false": False}
_CLAIM = "claim"
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
Item = TypeVar("Item")


def parse_policy(text: str) -> Policy:
    """The syntax tree of a policy, version 1.0, 1.1 or 1.2.

    Args:
        text: at most 64 KiB of UTF-8 and 1000 rules.

    Raises:
        MaaSyntaxError: a `Malformed` with the code `maa-parsing`, naming line and column.
    """
    return _Parser(tokenize(text)).policy()


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._version = Version.V1_0
        self._rules = 0
        self._depth = 0

    # what stands next

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _at(self, *symbols: str) -> bool:
        token = self._token
        return token.kind is Kind.SYMBOL and token.text in symbols

    def _take(self) -> Token:
        token = self._token
        if token.kind is not Kind.END:
            self._next += 1
        return token

    def _need(self, symbol: str) -> Token:
        if not self._at(symbol):
            self._mismatched(symbol)
        return self._take()

    def _word(self, *expected: str) -> Token:
        token = self._token
        if token.kind is not Kind.WORD or (expected and token.text not in expected):
            self._mismatched(*(expected or ("a name",)))
        return self._take()

    def _mismatched(self, *expected: str, hint: str = "") -> NoReturn:
        wanted = f"'{expected[0]}'" if len(expected) == 1 else "{" + ", ".join(f"'{one}'" for one in expected) + "}"
        self._fail(self._token, f"mismatched input '{self._token.text[:64]}' expecting {wanted}", hint)

    @staticmethod
    def _fail(token: Token, failure: str, hint: str = "") -> NoReturn:
        raise MaaSyntaxError(token.place, token.text, failure, hint)

    def _list(self, item: Callable[[], Item], separator: str) -> list[Item]:
        items = [item()]
        while self._at(separator):
            self._take()
            items.append(item())
        return items

    # the grammar, from the whole to its parts

    def policy(self) -> Policy:
        self._word("version")
        self._need("=")
        self._version = self._number()
        self._need(";")
        sections: dict[Section, tuple[Rule, ...]] = {}
        while self._token.kind is not Kind.END:
            section = self._section(sections)
            self._need("{")
            sections[section] = self._section_rules(section)
            self._take()
            self._need(";")
        if Section.AUTHORIZATION not in sections:
            self._mismatched(Section.AUTHORIZATION, hint="Without authorizationrules nothing is ever permitted.")
        return Policy(self._version, *(sections.get(each, ()) for each in Section))

    def _number(self) -> Version:
        token = self._token
        if token.kind is not Kind.DECIMAL or token.text not in set(Version):
            self._mismatched(*Version)
        return Version(self._take().text)

    def _section(self, seen: dict[Section, tuple[Rule, ...]]) -> Section:
        known = [one for one in Section if one is not Section.CONFIGURATION or self._version is not Version.V1_0]
        token = self._token
        if token.kind is not Kind.WORD or token.text.lower() not in known:
            later = token.text.lower() == Section.CONFIGURATION
            self._mismatched(*known, hint="configurationrules need version=1.1 or later." if later else "")
        section = Section(token.text.lower())
        if section in seen:
            self._fail(token, f"a second section {section}", "Put all of its rules into one section.")
        self._take()
        return section

    def _section_rules(self, section: Section) -> tuple[Rule, ...]:
        rules = []
        while not self._at("}"):
            self._rules += 1
            if self._rules > MAX_RULES:
                self._fail(self._token, f"more than {MAX_RULES} rules")
            rules.append(self._rule(section))
        return tuple(rules)

    def _rule(self, section: Section) -> Rule:
        place = self._token.place
        names: set[str] = set()
        conditions = [] if self._at("=>") else self._list(lambda: self._condition(names), "&&")
        if not self._at("=>"):
            self._mismatched("=>", *(["&&"] if conditions else []))
        self._take()
        action = self._action(section, names)
        self._need(";")
        return Rule(tuple(conditions), action, place)

    def _condition(self, names: set[str]) -> Condition:
        first = self._token
        negated = self._at("!")
        if negated:
            if self._version is not Version.V1_2:
                self._mismatched("[", hint="Negated conditions need version=1.2.")
            self._take()
        name = None
        if self._token.kind is Kind.WORD:
            name = self._name(names)
            self._need(":")
        if not self._at("["):
            self._mismatched("[")
        self._take()
        comparisons = self._list(lambda: self._comparison(names), ",")
        if not self._at("]"):
            self._mismatched(",", "]")
        self._take()
        if name and not negated:
            names.add(name)
        return Condition(tuple(comparisons), name, negated, first.place)

    def _name(self, names: set[str]) -> str:
        token = self._word()
        if token.text in _BOOLEANS:
            self._fail(token, f"mismatched input '{token.text}' expecting 'a name'")
        if token.text in names:
            self._fail(token, f"the name '{token.text}' is given twice in this rule")
        return token.text

    def _comparison(self, names: set[str]) -> Comparison:
        token = self._word(*Property)
        sign = self._token
        if not self._at("=", *Operator):
            self._mismatched(*Operator)
        self._take()
        loose = sign.text == "="
        operator = Operator.EQUAL if loose else Operator(sign.text)
        expression = self._expression(names)
        named = token.text != Property.VALUE
        literal = expression.value if isinstance(expression, Literal) else 0
        if operator.orders and (named or not isinstance(literal, int) or isinstance(literal, bool)):
            self._fail(sign, f"'{sign.text}' compares integers only", "Strings and booleans know == and !=.")
        return Comparison(Property(token.text), operator, expression, loose, token.place)

    def _action(self, section: Section, names: set[str]) -> Action:
        token = self._word(*VERBS[section])
        verb = Verb(token.text)
        self._need("(")
        arguments: dict[str, Expression] = {}
        if not self._at(")"):
            if verb in (Verb.PERMIT, Verb.DENY):
                self._mismatched(")")
            self._list(lambda: self._argument(arguments, names), ",")
        end = self._token
        if not self._at(")"):
            self._mismatched(",", ")")
        self._take()
        if verb not in (Verb.PERMIT, Verb.DENY):
            self._complete(end, arguments)
        claim = arguments.pop(_CLAIM, None)
        fields = {"value_type" if name == Property.VALUE_TYPE else name: one for name, one in arguments.items()}
        name = claim.name if isinstance(claim, Reference) else None
        return Action(verb, claim=name, place=token.place, **fields)

    def _complete(self, end: Token, arguments: dict[str, Expression]) -> None:
        if _CLAIM in arguments and len(arguments) > 1:
            self._fail(end, "claim= stands alone", "It copies the bound claims as they are.")
        if _CLAIM not in arguments:
            for name in (Property.TYPE, Property.VALUE):
                if name not in arguments:
                    self._fail(end, f"mismatched input '{end.text}' expecting '{name}'")

    def _argument(self, arguments: dict[str, Expression], names: set[str]) -> None:
        token = self._word(*Property, _CLAIM)
        if token.text in arguments:
            self._fail(token, f"'{token.text}' is given twice")
        self._need("=")
        if token.text == _CLAIM:
            arguments[_CLAIM] = self._reference(names)
            return
        place = self._token
        expression = self._expression(names)
        if token.text == Property.ISSUER and not _is_policy(expression):
            self._fail(
                place, 'the issuer of a new claim is "AttestationPolicy"', "Leave issuer= out: it is set by itself."
            )
        arguments[token.text] = expression

    def _expression(self, names: set[str]) -> Expression:
        token = self._token
        if token.kind is Kind.TEXT:
            return Literal(_unquoted(self._take().text), token.place)
        if token.kind is Kind.INTEGER:
            return self._integer()
        if token.kind is not Kind.WORD:
            self._mismatched("a value")
        if token.text in _BOOLEANS:
            return Literal(_BOOLEANS[self._take().text], token.place)
        if self._tokens[self._next + 1].text == "(":
            return self._call(names)
        reference = self._reference(names)
        if not self._at("."):
            return reference
        self._take()
        return Reference(reference.name, Property(self._word(*Property).text), token.place)

    def _integer(self) -> Literal:
        token = self._take()
        digits = token.text.lstrip("0") or "0"
        if len(digits) > _MAX_DIGITS or int(digits) > MAX_INTEGER:
            self._fail(token, f"the integer is larger than {MAX_INTEGER}")
        return Literal(int(digits), token.place)

    def _reference(self, names: set[str]) -> Reference:
        token = self._word()
        if token.text not in names:
            known = f"Names given before: {', '.join(sorted(names))}." if names else ""
            hint = known or "A condition before it gives a name: c:[...]; a negated one binds nothing."
            self._fail(token, f"the name '{token.text[:64]}' is not bound by a condition before", hint)
        return Reference(token.text, place=token.place)

    def _call(self, names: set[str]) -> Call:
        token = self._take()
        if token.text not in set(Function):
            near = [one for one in Function if one.lower() == token.text.lower()]
            self._fail(token, f"there is no function '{token.text[:64]}'", f"Functions: {', '.join(near or Function)}.")
        if self._version is not Version.V1_2:
            self._fail(token, f"'{token.text}' needs version 1.2", "Write version=1.2;")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self._fail(token, f"calls stand more than {_MAX_DEPTH} deep in one another")
        self._need("(")
        arguments = [] if self._at(")") else self._list(lambda: self._expression(names), ",")
        end = self._need(")")
        self._depth -= 1
        function = Function(token.text)
        if len(arguments) != function.arity:
            self._fail(end, f"'{function}' takes {function.arity} arguments, not {len(arguments)}")
        return Call(function, tuple(arguments), token.place)


def _is_policy(expression: Expression) -> bool:
    return isinstance(expression, Literal) and expression.value == "AttestationPolicy"


def _unquoted(text: str) -> str:
    return _ESCAPED.sub(r"\1", text[1:-1])
