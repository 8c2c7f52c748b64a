"""Walks over the tokens of a policy; errors have the form of Azure Attestation's parser."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar

from kloister.trust.policy.maa.failure import MaaSyntaxError
from kloister.trust.policy.maa.tokens import Kind, Token

Item = TypeVar("Item")


class Reader:
    """A place in a list of tokens, the last of which is the end."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._next = 0

    @property
    def token(self) -> Token:
        """What stands next."""
        return self._tokens[self._next]

    @property
    def after(self) -> Token:
        """What stands after that; not to be asked for at the end."""
        return self._tokens[self._next + 1]

    def at(self, *symbols: str) -> bool:
        """Whether one of these symbols stands next."""
        token = self.token
        return token.kind is Kind.SYMBOL and token.text in symbols

    def take(self) -> Token:
        """What stands next, passed over; the end stays."""
        token = self.token
        if token.kind is not Kind.END:
            self._next += 1
        return token

    def need(self, symbol: str, *instead: str) -> Token:
        """The symbol that must stand next, passed over; an error names what could stand `instead`, too."""
        if not self.at(symbol):
            self.mismatched(symbol, *instead)
        return self.take()

    def word(self, *expected: str) -> Token:
        """A word, one of `expected` if any are given, passed over."""
        token = self.token
        if token.kind is not Kind.WORD or (expected and token.text not in expected):
            self.mismatched(*(expected or ("a name",)))
        return self.take()

    def mismatched(self, *expected: str, hint: str = "") -> NoReturn:
        """Fail at what stands next."""
        wanted = f"'{expected[0]}'" if len(expected) == 1 else "{" + ", ".join(f"'{one}'" for one in expected) + "}"
        self.fail(self.token, f"mismatched input '{self.token.shown}' expecting {wanted}", hint)

    @staticmethod
    def fail(token: Token, failure: str, hint: str = "") -> NoReturn:
        """Fail at a token. Raises `MaaSyntaxError`."""
        raise MaaSyntaxError(token.place, token.shown, failure, hint)

    def items(self, item: Callable[[], Item], separator: str) -> list[Item]:
        """One item or more."""
        items = [item()]
        while self.at(separator):
            self.take()
            items.append(item())
        return items
