"""The survivors that no test can tell from the original, and why: a table in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

DOCUMENT = Path("docs/reference/mutants.md")
_ROW = re.compile(r"\| `([^`]+)` \| `` (.+?) `` \| `` (.+?) `` \| (.+) \|")


def rows() -> list[tuple[str, str, str, str]]:
    """File below src/kloister, what it says, what the mutant says, why it makes no difference."""
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines() if DOCUMENT.exists() else []
    found = [_ROW.fullmatch(line) for line in lines]
    return [(row[1], row[2].replace("\\|", "|"), row[3].replace("\\|", "|"), row[4]) for row in found if row]


def explained(path: Path) -> set[tuple[str, str]]:
    """Both sides of every explained mutant of a file."""
    name = str(path).removeprefix("src/kloister/")
    return {(before, after) for file, before, after, _ in rows() if file == name}
