"""The pages of docs/reference that are written from the code: `python -m tests.docs.reference` writes them anew."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import typer.main

from kloister.cli.main import EPILOG, build
from kloister.serve.reasons import TABLES
from tests.docs.codes import collect
from tests.support.paths import ROOT

REFERENCE = ROOT / "docs" / "reference"
_HOW = "Written by `python -m tests.docs.reference`; a test compares it with the code."
_FAMILIES = {
    "Malformed": "their bytes do not follow the format",
    "Unverified": "well-formed, but not genuine",
    "Denied": "genuine, but not wanted",
    "Unavailable": "something outside failed; trying again may help",
    "Misconfigured": "the operator's settings, files or machine do not allow it",
    "Misused": "a fault of Kloister itself",
}
_CARRIED_BY = {  # what is listed in a refusal, or is one
    **dict.fromkeys(("Difference", "Condition", "MaaPolicyError"), "Denied"),
    "Finding": "Misconfigured",
}


def pages() -> dict[Path, str]:
    """Path and text of every generated page."""
    return {REFERENCE / "commands.md": commands_page(), REFERENCE / "reasons.md": reasons_page()}


def reasons_page() -> str:
    """Every reason code by wing."""
    families = ", ".join(f"{name} ({meaning})" for name, meaning in _FAMILIES.items())
    lines = [
        "# Reason codes",
        "",
        "Every refusal and failure carries a code. `kloister explain CODE` prints the row below; `kloister explain ID`",
        "prints what a broker kept of one refusal. In a code, `*` stands for what is computed, mostly the name of what",
        "was read: `quote-truncated`, `tcb-info-json`. A code's family says whose fault it is:",
        f"{families}.",
        "",
        _HOW,
    ]
    for title, table in TABLES.items():
        lines += ["", f"## {title}", "", "| code | family | what it means | what to do |", "|---|---|---|---|"]
        for code, reason in table.items():
            cells = (f"`{code}`", _family(code), reason.text, reason.allow or "-")
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _family(code: str) -> str:
    """The families that carry a code, or anything that the pattern `code` stands for."""
    carried = {
        _CARRIED_BY.get(one.family, one.family)
        for one in collect()[0]
        if one.code == code
        or (fnmatchcase(code, one.code) if "*" in one.code else one.member and fnmatchcase(one.code, code))
    }
    return ", ".join(sorted(carried & set(_FAMILIES))) or "-"


def commands_page() -> str:
    """Every verb with its arguments and options."""
    lines = ["# Commands", "", EPILOG, "", _HOW]
    for words, command in _verbs(typer.main.get_command(build(None)), ("kloister",)):
        lines += ["", f"## {' '.join(words)}", "", *_described(command)]
    return "\n".join(lines) + "\n"


def _verbs(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield words, command
        return
    for name, child in children.items():
        yield from _verbs(child, (*words, name))


def _described(command: Any) -> Iterator[str]:
    context = command.make_context("kloister", [], resilient_parsing=True)
    help_text = (command.help or "").replace("\b", "").strip()
    yield from (line.strip() for line in help_text.splitlines())
    rows = [row for row in map(_row, _parameters(command, context)) if row]
    if rows:
        yield from ("", "| argument or option | what |", "|---|---|", *rows)


def _parameters(command: Any, context: Any) -> list[Any]:
    return [one for one in command.get_params(context) if "--help" not in one.opts]


def _row(parameter: Any) -> str:
    name = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if parameter.param_type_name == "argument":
        name = f"`{parameter.metavar or parameter.name.upper()}`"
    notes = [parameter.help or ""]
    variable = getattr(parameter, "envvar", None)
    if variable:
        notes.append(f"Variable: `{variable}`.")
    default = parameter.default
    if isinstance(default, (str, int)) and not isinstance(default, bool) and default != "":
        notes.append(f"Default: `{default}`.")
    return f"| {name} | {' '.join(note for note in notes if note)} |".replace("DIR|TAR", "DIR\\|TAR")


def write() -> None:
    """Write every page."""
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    write()
