"""The words that the language knows."""

from __future__ import annotations

from enum import StrEnum

Value = str | int | bool


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
