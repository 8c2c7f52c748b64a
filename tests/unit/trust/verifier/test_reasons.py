"""The table of reasons is the one that people look codes up in (tests/docs hold that page against what is raised)."""

from __future__ import annotations

import re
from pathlib import Path

from kloister.trust.verifier.reasons import REASONS

_PAGE = Path(__file__).parents[4] / "docs" / "reference" / "reasons.md"


def test_the_page_has_the_verifiers_codes_and_no_others() -> None:
    (section,) = re.findall(r"^## The verifier$(.*?)^## ", _PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    rows = re.findall(r"^\| `([^`]+)` \| .* \| (.*) \| (.*) \|$", section, re.MULTILINE)
    assert rows == [(code, reason.text, reason.allow) for code, reason in REASONS.items()]
