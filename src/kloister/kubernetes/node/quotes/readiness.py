from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from kloister.errors import KloisterError


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a pod that asks now gets a quote; if not, why and what to do about it."""

    ready: bool
    code: str = ""
    text: str = ""
    hint: str = ""

    @classmethod
    def of(cls, error: KloisterError) -> Self:
        """Not ready for this reason."""
        return cls(ready=False, code=error.code, text=error.text, hint=error.hint)


NOT_TRIED = Readiness(
    ready=False, code="aesm-not-tried", text="No quote has been tried yet.", hint="Wait a few seconds."
)
