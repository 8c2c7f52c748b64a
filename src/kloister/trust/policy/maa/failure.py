"""How a policy fails: its text, which the service answers as PolicyParsingError, or its evaluation."""

from __future__ import annotations

from kloister.errors import Denied, Malformed
from kloister.trust.policy.maa.place import Place


class MaaSyntaxError(Malformed):
    """A text that is no policy: `maa-parsing`. Its sentence has the form of Azure Attestation's parser.

    Attributes:
        place: where the offending symbol begins.
        symbol: it, cut where it is long.
        failure: what was expected.
    """

    def __init__(self, place: Place, symbol: str, failure: str, hint: str = "") -> None:
        self.place = place
        self.symbol = symbol
        self.failure = failure
        super().__init__(
            "maa-parsing",
            f"Policy Parser Exception Thrown: Offending symbol: '{self.symbol}'  Line: '{place.line}', "
            f"Column: '{place.column}'  Failure message: '{failure}'",
            hint,
        )


class MaaPolicyError(Denied):
    """A policy that does not admit the evidence, or cannot be evaluated on it.

    Codes: `maa-denied`, `maa-not-permitted`, `maa-evaluation`, `maa-read-only`, `maa-limit`.

    Attributes:
        place: the rule that failed; None where no single rule did.
    """

    def __init__(self, code: str, text: str, hint: str = "", place: Place | None = None) -> None:
        super().__init__(code, text, hint)
        self.place = place


def wrong(text: str, hint: str = "") -> MaaPolicyError:
    """A function or a comparison that cannot be evaluated on what it was given."""
    return MaaPolicyError("maa-evaluation", text, hint)
