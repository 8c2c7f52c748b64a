"""Every reason code that the sources can raise, found by reading them: literals, and computed ones as patterns."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

SOURCES = ROOT / "src" / "kloister"
_FAMILIES = ("Malformed", "Unverified", "Denied", "Unavailable", "Misused", "Misconfigured", "KloisterError")
_CARRIERS = (
    *_FAMILIES,
    "Difference",
    "Condition",
    "Note",
    "MaaPolicyError",
    "Conflict",
)  # in a refusal, beside a result, or one
_FIELDS = ("HexField", "NumberField", "FlagField")  # of the appraisal policy: claim and code
_ANY = "*"
_TYPED = 3  # arguments of every reader of a member: message, name, what


Raisers = dict[tuple[Path | None, str], tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Code:
    """A code or pattern (`*` for what is computed), the family that carries it, and where."""

    code: str
    family: str
    where: str
    member: bool = False  # of a message between our own processes: a pattern of the table is enough


@functools.cache
def collect() -> tuple[list[Code], list[str]]:
    """All codes, and the places where a code is built in a way that this cannot read."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(SOURCES.rglob("*.py"))}
    raisers = _raisers(trees)
    found: list[Code] = []
    unread: list[str] = []
    for path, tree in trees.items():
        constants = _constants(tree)
        for node in ast.walk(tree):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            for family, value in _carried(node, path, raisers):
                codes = list(_texts(value, constants))
                found += [Code(code, family, where) for code in codes]
                if not codes and not _passed_on(value):
                    unread.append(f"{where}: {ast.unparse(value)}")
            found += [Code(code, "Malformed", where, member=True) for code in _members(node, constants)]
    return [one for one in found if one.code != "*-*"], unread  # the members of messages, read by `_members`


def _raisers(trees: dict[Path, ast.Module]) -> Raisers:
    """Functions that raise their parameter `code`, directly or through one another: its place in a call, its family.

    A private function is known in its own module only; a public one everywhere.
    """
    functions = [
        (path, node) for path, tree in trees.items() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
    ]
    known: Raisers = {}
    functions = [(path, node) for path, node in functions if "code" in [one.arg for one in node.args.args]]
    while True:
        before = len(known)
        for path, node in functions:
            names = [one.arg for one in node.args.args if one.arg not in ("self", "cls")]
            families = [one for inner in ast.walk(node) for one in _handed_on(inner, path, known)]
            if families:
                known[path if node.name.startswith("_") else None, node.name] = (names.index("code"), families[0])
        if len(known) == before:
            return known


def _handed_on(node: ast.AST, path: Path, raisers: Raisers) -> list[str]:
    """The families that carry a parameter `code` on from here."""
    carried = _carried(node, path, raisers)
    return [family for family, value in carried if isinstance(value, ast.Name) and value.id == "code"]


def _called(call: ast.Call) -> str:
    return str(getattr(call.func, "id", getattr(call.func, "attr", "")))


def _carried(node: ast.AST, path: Path, raisers: Raisers) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == "code" for one in node.targets):
        if isinstance(node.value, (ast.Constant, ast.JoinedStr)):
            yield "", node.value
    elif isinstance(node, ast.Dict) and node.keys and all(_reads_as_code(key) for key in node.keys):
        yield from (("Unverified", key) for key in node.keys if key is not None)
    if not isinstance(node, ast.Call):
        return
    name = _called(node)
    if name in _FIELDS and len(node.args) > 1:
        yield "Denied", node.args[1]
    keyword = next((one.value for one in node.keywords if one.arg == "code"), None)
    carries = (name in _CARRIERS and not _is_syntax(name, path)) or _is_finding(name, path)
    known = (0, name) if carries else raisers.get((path, name), raisers.get((None, name)))
    place, family = known if known is not None else (None, "")
    if keyword is not None and place is not None:
        yield family, keyword
    elif name == "__init__" and node.args and _names_a_code(node.args[0]):
        yield "", node.args[0]  # of `super()`: an error with a code of its own
    elif place is not None and len(node.args) > place:
        yield family, node.args[place]


def _is_finding(name: str, path: Path) -> bool:
    """Of a node's detection, which carries a code; the doctor's findings have names of their own."""
    return name == "Finding" and path.parent.name == "detection"


def _is_syntax(name: str, path: Path) -> bool:
    """A condition of a syntax tree, which carries no code."""
    return name == "Condition" and path.parent.name == "maa"


def _names_a_code(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, str) and "-" in value.value


def _reads_as_code(key: ast.expr | None) -> bool:
    """Keys of a table of checks by code, as `trust/verifier/qe.py` has one."""
    return isinstance(key, ast.Constant) and isinstance(key.value, str) and key.value.startswith("qe-")


def _members(node: ast.AST, constants: dict[str, str]) -> Iterator[str]:
    """The codes of `formats/protocol/typed.py`: `{message}-{member}`."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return
    if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "typed") or len(node.args) < _TYPED:
        return
    what = next(_texts(node.args[2], constants), None)
    name = next(_texts(node.args[1], constants), None)
    if what and node.func.attr == "only":
        yield f"{what}-member"
    elif what and name:
        yield f"{what}-{name.lower()}"


def _constants(tree: ast.Module) -> dict[str, str]:
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _texts(value: ast.expr, constants: dict[str, str]) -> Iterator[str]:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    elif isinstance(value, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else _ANY for part in value.values)
    elif isinstance(value, ast.IfExp):
        yield from _texts(value.body, constants)
        yield from _texts(value.orelse, constants)
    elif isinstance(value, ast.Name) and value.id in constants:
        yield constants[value.id]


def _passed_on(value: ast.expr) -> bool:
    """A code that came from elsewhere: a parameter or member named `code`, collected where it was made."""
    return (isinstance(value, ast.Name) and value.id == "code") or (
        isinstance(value, ast.Attribute) and value.attr == "code"
    )
