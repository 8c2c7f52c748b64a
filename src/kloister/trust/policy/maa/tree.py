"""The syntax tree of a policy. Places in the text stand beside, and do not count in comparisons."""

from __future__ import annotations

from dataclasses import dataclass, field

from kloister.trust.policy.maa.comparing import Test, prepared
from kloister.trust.policy.maa.place import Place
from kloister.trust.policy.maa.words import Function, Operator, Property, Section, Value, Verb, Version


@dataclass(frozen=True, slots=True)
class Literal:
    """A string, integer or boolean of the text."""

    value: Value
    place: Place = field(default=Place(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Reference:
    """`c.value`: a property of the claims that a condition of the same rule has bound to a name."""

    name: str
    property: Property = Property.VALUE
    place: Place = field(default=Place(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of its arguments."""

    function: Function
    arguments: tuple[Expression, ...]
    place: Place = field(default=Place(), compare=False, repr=False)


Expression = Literal | Reference | Call


@dataclass(frozen=True, slots=True)
class Comparison:
    """`property operator expression`.

    Attributes:
        loose: the text has `=` for `==`.
        test: whether a claim meets it; None where that depends on other claims.
    """

    property: Property
    operator: Operator
    expression: Expression
    loose: bool = field(default=False, compare=False, repr=False)
    place: Place = field(default=Place(), compare=False, repr=False)
    test: Test | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        literal = self.expression if isinstance(self.expression, Literal) else None
        test = prepared(self.property, self.operator, literal.value) if literal else None
        object.__setattr__(self, "test", test)


@dataclass(frozen=True, slots=True)
class Condition:
    """`[...]`: holds if a claim meets all comparisons, and binds those that do to `name`; negated, if none does.

    Attributes:
        wanted: the type, where a comparison names it as text: claims are looked up by it.
        rest: the comparisons beside that one.
    """

    comparisons: tuple[Comparison, ...]
    name: str | None = None
    negated: bool = False
    place: Place = field(default=Place(), compare=False, repr=False)
    wanted: str | None = field(init=False, compare=False, repr=False)
    rest: tuple[Comparison, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        named = next((one for one in self.comparisons if _names_type(one)), None)
        value = named.expression.value if named and isinstance(named.expression, Literal) else None
        object.__setattr__(self, "wanted", value)
        object.__setattr__(self, "rest", tuple(one for one in self.comparisons if one is not named))


def _names_type(one: Comparison) -> bool:
    literal = isinstance(one.expression, Literal) and isinstance(one.expression.value, str)
    return literal and one.property is Property.TYPE and one.operator is Operator.EQUAL


@dataclass(frozen=True, slots=True)
class Action:
    """What a rule does; for claims either `claim`, the name of bound ones, or `type` and `value`."""

    verb: Verb
    type: Expression | None = None
    value: Expression | None = None
    value_type: Expression | None = None
    issuer: Expression | None = None
    claim: str | None = None
    place: Place = field(default=Place(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Rule:
    """`conditions => action;`."""

    conditions: tuple[Condition, ...]
    action: Action
    place: Place = field(default=Place(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy; a section that is not there has no rules."""

    version: Version
    configuration: tuple[Rule, ...] = ()
    authorization: tuple[Rule, ...] = ()
    issuance: tuple[Rule, ...] = ()

    def section(self, section: Section) -> tuple[Rule, ...]:
        """Its rules."""
        return {
            Section.CONFIGURATION: self.configuration,
            Section.AUTHORIZATION: self.authorization,
            Section.ISSUANCE: self.issuance,
        }[section]
