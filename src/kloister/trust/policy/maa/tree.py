"""The syntax tree of a policy. Places in the text stand beside, and do not count in comparisons."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

Value = str | int | bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in the text; both count from 1, columns in characters."""

    line: int = 1
    column: int = 1


class Version(StrEnum):
    """Of the language; each holds what the former has."""

    V1_0 = "1.0"
    V1_1 = "1.1"  # configurationrules
    V1_2 = "1.2"  # functions, negated conditions, JSON evidence


class Section(StrEnum):
    """Lists of rules, in the order in which they are evaluated; the names are matched without regard to case."""

    CONFIGURATION = "configurationrules"
    AUTHORIZATION = "authorizationrules"
    ISSUANCE = "issuancerules"


class Property(StrEnum):
    """What a claim consists of."""

    TYPE = "type"
    VALUE = "value"
    VALUE_TYPE = "valueType"
    ISSUER = "issuer"


class Operator(StrEnum):
    """Comparisons; the last four are for integers only."""

    EQUAL = "=="
    UNEQUAL = "!="
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="

    @property
    def orders(self) -> bool:
        """Whether it asks for more or less, not only for equality."""
        return self not in (Operator.EQUAL, Operator.UNEQUAL)


class Verb(StrEnum):
    """What a rule does."""

    PERMIT = "permit"
    DENY = "deny"
    ADD = "add"
    ISSUE = "issue"
    ISSUE_PROPERTY = "issueproperty"


VERBS = {
    Section.CONFIGURATION: (Verb.ISSUE_PROPERTY,),
    Section.AUTHORIZATION: (Verb.PERMIT, Verb.DENY, Verb.ADD),
    Section.ISSUANCE: (Verb.ADD, Verb.ISSUE, Verb.ISSUE_PROPERTY),
}


class Function(StrEnum):
    """The functions of version 1.2."""

    JMES_PATH = "JmesPath"
    JSON_TO_CLAIM_VALUE = "JsonToClaimValue"
    IS_SUBSET_OF = "IsSubsetOf"
    CONTAINS_ONLY_VALUE = "ContainsOnlyValue"
    APPEND_STRING = "AppendString"
    NEGATE_BOOL = "NegateBool"

    @property
    def arity(self) -> int:
        """How many arguments it takes."""
        return 1 if self in (Function.JSON_TO_CLAIM_VALUE, Function.NEGATE_BOOL) else 2


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
    """`property operator expression`; `loose` where the text has `=` for `==`."""

    property: Property
    operator: Operator
    expression: Expression
    loose: bool = field(default=False, compare=False, repr=False)
    place: Place = field(default=Place(), compare=False, repr=False)


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
