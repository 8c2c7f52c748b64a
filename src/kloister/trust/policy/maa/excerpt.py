"""The line of a policy that an error is about, with a mark below it."""

from __future__ import annotations

from kloister.trust.policy.maa.place import Place

_WIDTH = 100  # characters; policies of one long line are common


def excerpt(text: str, place: Place) -> str:
    """Two lines: the part of the text's line around the place, and a caret below it. Nothing in it moves a terminal."""
    lines = text.split("\n")
    line = lines[place.line - 1].rstrip("\r") if place.line <= len(lines) else ""
    at = place.column - 1
    start = max(0, min(at - _WIDTH // 2, len(line) - _WIDTH))
    shown = "".join(one if one.isprintable() or one == "\t" else "?" for one in line[start : start + _WIDTH])
    ahead = "".join("\t" if one == "\t" else " " for one in shown[: at - start])
    return f"{shown.rstrip()}\n{ahead}^"
