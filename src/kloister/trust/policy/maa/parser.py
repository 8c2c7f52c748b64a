"""Reads the text of a policy by recursive descent; errors name line and column."""

from __future__ import annotations

import re

from kloister.trust.policy.maa.reader import Reader
from kloister.trust.policy.maa.tokens import Kind, Token, tokenize
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

MAX_RULES = 1000
MAX_INTEGER = 2**63 - 1
_MAX_DIGITS = 19  # of MAX_INTEGER: no longer digits are converted
_MAX_DEPTH = 16  # of calls in calls; published policies have two
_BOOLEANS = {"true": True, "false": False}
_CLAIM = "claim"
_NAMES = 8  # that a hint lists
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def parse_policy(text: str) -> Policy:
    """The syntax tree of a policy, version 1.0, 1.1 or 1.2.

    Args:
        text: at most 64 KiB of UTF-8 and 1000 rules.

    Raises:
        MaaSyntaxError: a `Malformed` with the code `maa-parsing`, naming line and column.
    """
    return _Parser(tokenize(text)).policy()


class _Parser(Reader):
    def __init__(self, tokens: list[Token]) -> None:
        super().__init__(tokens)
        self._version = Version.V1_0
        self._rules = 0
        self._depth = 0

    def policy(self) -> Policy:
        self.word("version")
        self.need("=")
        self._version = self._number()
        self.need(";")
        sections: dict[Section, tuple[Rule, ...]] = {}
        while self.token.kind is not Kind.END:
            section = self._section(sections)
            self.need("{")
            sections[section] = self._section_rules(section)
            self.take()
            self.need(";")
        if Section.AUTHORIZATION not in sections:
            self.mismatched(Section.AUTHORIZATION, hint="Without authorizationrules nothing is ever permitted.")
        return Policy(self._version, *(sections.get(each, ()) for each in Section))

    def _number(self) -> Version:
        token = self.token
        if token.kind is not Kind.DECIMAL or token.text not in set(Version):
            self.mismatched(*Version)
        return Version(self.take().text)

    def _section(self, seen: dict[Section, tuple[Rule, ...]]) -> Section:
        known = [one for one in Section if one is not Section.CONFIGURATION or self._version is not Version.V1_0]
        token = self.token
        if token.kind is not Kind.WORD or token.text.lower() not in known:
            later = token.text.lower() == Section.CONFIGURATION
            self.mismatched(*known, hint="configurationrules need version=1.1 or later." if later else "")
        section = Section(token.text.lower())
        if section in seen:
            self.fail(token, f"a second section {section}", "Put all of its rules into one section.")
        self.take()
        return section

    def _section_rules(self, section: Section) -> tuple[Rule, ...]:
        rules = []
        while not self.at("}"):
            self._rules += 1
            if self._rules > MAX_RULES:
                self.fail(self.token, f"more than {MAX_RULES} rules")
            rules.append(self._rule(section))
        return tuple(rules)

    def _rule(self, section: Section) -> Rule:
        place = self.token.place
        names: set[str] = set()
        conditions = [] if self.at("=>") else self.items(lambda: self._condition(names), "&&")
        self.need("=>", *(["&&"] if conditions else []))
        action = self._action(section, names)
        self.need(";")
        return Rule(tuple(conditions), action, place)

    def _condition(self, names: set[str]) -> Condition:
        first = self.token
        negated = self.at("!")
        if negated:
            if self._version is not Version.V1_2:
                self.mismatched("[", hint="Negated conditions need version=1.2.")
            self.take()
        name = None
        if self.token.kind is Kind.WORD:
            name = self._name(names)
            self.need(":")
        self.need("[")
        comparisons = self.items(lambda: self._comparison(names), ",")
        self.need("]", ",")
        if name and not negated:
            names.add(name)
        return Condition(tuple(comparisons), name, negated, first.place)

    def _name(self, names: set[str]) -> str:
        token = self.word()
        if token.text in _BOOLEANS:
            self.fail(token, f"mismatched input '{token.shown}' expecting 'a name'")
        if token.text in names:
            self.fail(token, f"the name '{token.shown}' is given twice in this rule")
        return token.text

    def _comparison(self, names: set[str]) -> Comparison:
        token = self.word(*Property)
        sign = self.token
        if not self.at("=", *Operator):
            self.mismatched(*Operator)
        self.take()
        loose = sign.text == "="
        operator = Operator.EQUAL if loose else Operator(sign.text)
        expression = self._expression(names)
        named = token.text != Property.VALUE
        literal = expression.value if isinstance(expression, Literal) else 0
        if operator.orders and (named or not isinstance(literal, int) or isinstance(literal, bool)):
            self.fail(sign, f"'{sign.text}' compares integers only", "Strings and booleans know == and !=.")
        return Comparison(Property(token.text), operator, expression, loose, token.place)

    def _action(self, section: Section, names: set[str]) -> Action:
        token = self.word(*VERBS[section])
        verb = Verb(token.text)
        self.need("(")
        arguments: dict[str, Expression] = {}
        if not self.at(")"):
            if verb in (Verb.PERMIT, Verb.DENY):
                self.need(")")
            self.items(lambda: self._argument(arguments, names), ",")
        end = self.need(")", ",")
        if verb not in (Verb.PERMIT, Verb.DENY):
            self._complete(end, arguments)
        claim = arguments.pop(_CLAIM, None)
        fields = {"value_type" if name == Property.VALUE_TYPE else name: one for name, one in arguments.items()}
        name = claim.name if isinstance(claim, Reference) else None
        return Action(verb, claim=name, place=token.place, **fields)

    def _complete(self, end: Token, arguments: dict[str, Expression]) -> None:
        if _CLAIM in arguments and len(arguments) > 1:
            self.fail(end, "claim= stands alone", "It copies the bound claims as they are.")
        if _CLAIM not in arguments:
            for name in (Property.TYPE, Property.VALUE):
                if name not in arguments:
                    self.fail(end, f"mismatched input '{end.shown}' expecting '{name}'")

    def _argument(self, arguments: dict[str, Expression], names: set[str]) -> None:
        token = self.word(*Property, _CLAIM)
        if token.text in arguments:
            self.fail(token, f"'{token.shown}' is given twice")
        self.need("=")
        if token.text == _CLAIM:
            arguments[_CLAIM] = self._reference(names)
            return
        place = self.token
        expression = self._expression(names)
        if token.text == Property.ISSUER and not _is_policy(expression):
            self.fail(
                place, 'the issuer of a new claim is "AttestationPolicy"', "Leave issuer= out: it is set by itself."
            )
        arguments[token.text] = expression

    def _expression(self, names: set[str]) -> Expression:
        token = self.token
        if token.kind is Kind.TEXT:
            return Literal(_unquoted(self.take().text), token.place)
        if token.kind is Kind.INTEGER:
            return self._integer()
        if token.kind is not Kind.WORD:
            self.mismatched("a value")
        if token.text in _BOOLEANS:
            return Literal(_BOOLEANS[self.take().text], token.place)
        if self.after.text == "(":
            return self._call(names)
        reference = self._reference(names)
        if not self.at("."):
            return reference
        self.take()
        return Reference(reference.name, Property(self.word(*Property).text), token.place)

    def _integer(self) -> Literal:
        token = self.take()
        digits = token.text.lstrip("0") or "0"
        if len(digits) > _MAX_DIGITS or int(digits) > MAX_INTEGER:
            self.fail(token, f"the integer is larger than {MAX_INTEGER}")
        return Literal(int(digits), token.place)

    def _reference(self, names: set[str]) -> Reference:
        token = self.word()
        if token.text not in names:
            known = f"Names given before: {', '.join(sorted(names)[:_NAMES])}." if names else ""
            hint = known or "A condition before it gives a name: c:[...]; a negated one binds nothing."
            self.fail(token, f"the name '{token.shown}' is not bound by a condition before", hint)
        return Reference(token.text, place=token.place)

    def _call(self, names: set[str]) -> Call:
        token = self.take()
        if token.text not in set(Function):
            near = [one for one in Function if one.lower() == token.text.lower()]
            self.fail(token, f"there is no function '{token.shown}'", f"Functions: {', '.join(near or Function)}.")
        if self._version is not Version.V1_2:
            self.fail(token, f"'{token.shown}' needs version 1.2", "Write version=1.2;")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self.fail(token, f"calls stand more than {_MAX_DEPTH} deep in one another")
        self.need("(")
        arguments = [] if self.at(")") else self.items(lambda: self._expression(names), ",")
        end = self.need(")", ",")
        self._depth -= 1
        function = Function(token.text)
        if len(arguments) != function.arity:
            self.fail(end, f"'{function}' takes {function.arity} arguments, not {len(arguments)}")
        return Call(function, tuple(arguments), token.place)


def _is_policy(expression: Expression) -> bool:
    return isinstance(expression, Literal) and expression.value == "AttestationPolicy"


def _unquoted(text: str) -> str:
    return _ESCAPED.sub(r"\1", text[1:-1])
