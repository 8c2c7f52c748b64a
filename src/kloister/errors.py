"""Every error of Kloister: six families, told apart by whose fault it is.

An error carries a stable code (kebab-case, safe to match on), a sentence a person understands, and what to do
about it. No secret ever stands in any of the three.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """What a code means, for `kloister explain CODE`; every wing keeps a table of its codes in `reasons.py`.

    Attributes:
        text: one sentence on what was found.
        allow: what to do about it; for a refusal by a policy, what would allow the request.
    """

    text: str
    allow: str = ""


BUG = "This is a fault of Kloister: please report it."


class KloisterError(Exception):
    """Base of all errors that Kloister raises on purpose.

    Args:
        code: stable identifier, kebab-case, for instance `qe-report-signature`.
        text: one sentence for a person.
        hint: what to do about it; empty where nothing can be done.
    """

    def __init__(self, code: str, text: str, hint: str = "") -> None:
        super().__init__(code, text, hint)
        self.code = code
        self.text = text
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.text} [{self.code}]" + (f" {self.hint}" if self.hint else "")

    def as_json(self) -> dict[str, str]:
        """The `{code, text, hint}` object that every machine-readable output uses."""
        return {"code": self.code, "text": self.text, "hint": self.hint}


class Malformed(KloisterError):
    """Their bytes do not follow the format."""


class Unverified(KloisterError):
    """Well-formed, but not genuine."""


class Denied(KloisterError):
    """Genuine, but not wanted."""


class Unavailable(KloisterError):
    """Something outside failed; trying again may help."""


class Misused(KloisterError):
    """A bug of ours: an interface was called against its rules."""


class Misconfigured(KloisterError):
    """The operator's settings, files or machine do not allow it."""
