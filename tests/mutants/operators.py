"""What a mutant changes: one small thing that a person might have got wrong."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARE: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
}  # fmt: skip
_BINARY: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "ge": "gt"}
_ERRORS = {"Malformed", "Unverified", "Denied", "Misused", "Unavailable", "Misconfigured"}
_CODE = re.compile(r"-?[a-z0-9]+(-[a-z0-9]+)+|-[a-z]+")
_PROSE = {"text", "hint", "what"}  # keywords that hold sentences
# How dataclasses look, and guards against bugs of ours (`zip`): not what is judged.
_SHAPE = {"repr", "slots", "frozen", "kw_only", "compare", "init", "strict"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: where it is, how both sides read, and the tree with it in place."""

    line: int
    before: str
    after: str
    tree: ast.Module

    def __str__(self) -> str:
        return f"{self.line}: {self.before}  ->  {self.after}"


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its text."""
    tree = ast.parse(source)
    found = [(node, other) for node in _judged(tree) for other in _variants(node)]
    for node, other in sorted(found, key=lambda pair: (pair[0].lineno, pair[0].col_offset)):
        mutated = copy.deepcopy(tree)
        target = _same(tree, mutated, node)
        _Replace(target, ast.copy_location(other, node)).visit(mutated)
        yield Mutant(node.lineno, _read(node), _read(other), ast.fix_missing_locations(mutated))


def _judged(node: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """All statements and expressions but annotations, decorators, docstrings, exports and sentences for people."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params") or _is_export(node):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or _is_said(node, child):
                continue
            if isinstance(child, (ast.expr, ast.stmt)):
                yield child
            yield from _judged(child)


def _is_export(node: ast.AST) -> bool:
    names = [target.id for target in getattr(node, "targets", ()) if isinstance(target, ast.Name)]
    return isinstance(node, ast.Assign) and names == ["__all__"]


def _is_said(parent: ast.AST, child: ast.AST) -> bool:
    """Docstrings, the sentences of errors, and how dataclasses look."""
    if isinstance(parent, ast.Expr) and isinstance(child, ast.Constant):
        return True
    if isinstance(child, ast.keyword):
        return child.arg in _PROSE | _SHAPE
    if isinstance(parent, ast.Call) and isinstance(parent.func, ast.Name) and parent.func.id in _ERRORS:
        return child in parent.args[1:]
    return False


def _variants(node: ast.expr | ast.stmt) -> Iterator[ast.expr | ast.stmt]:
    yield from _of_statement(node) if isinstance(node, ast.stmt) else _of_expression(node)


def _of_statement(node: ast.stmt) -> Iterator[ast.stmt]:
    match node:
        case ast.If() | ast.While() if not isinstance(node.test, (ast.Compare, ast.Constant)):
            yield _with_test(node, ast.UnaryOp(ast.Not(), node.test))
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.Continue() | ast.Break():
            yield ast.Pass()


def _of_expression(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Compare():
            yield from _comparisons(node)
        case ast.BoolOp():
            for index in range(len(node.values)):
                rest = [*node.values[:index], *node.values[index + 1 :]]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        case ast.UnaryOp(op=ast.Not() | ast.Invert()):
            yield node.operand
        case ast.BinOp() if type(node.op) in _BINARY:
            yield ast.BinOp(node.left, _BINARY[type(node.op)](), node.right)
        case ast.Constant():
            yield from _constants(node)
        case ast.Name() if node.id in _NAMES:
            yield ast.Name(_NAMES[node.id], node.ctx)
        case ast.IfExp():
            yield node.body
            yield node.orelse


def _comparisons(node: ast.Compare) -> Iterator[ast.Compare]:
    for index, operator in enumerate(node.ops):
        for other in _COMPARE[type(operator)]:
            yield ast.Compare(node.left, [*node.ops[:index], other(), *node.ops[index + 1 :]], node.comparators)


def _with_test(node: ast.If | ast.While, test: ast.expr) -> ast.stmt:
    if isinstance(node, ast.If):
        return ast.If(test, node.body, node.orelse)
    return ast.While(test, node.body, node.orelse)


def _constants(node: ast.Constant) -> Iterator[ast.Constant]:
    match node.value:
        case bool():
            yield ast.Constant(not node.value)
        case int():
            yield ast.Constant(node.value + 1)
        case str() if _CODE.fullmatch(node.value):
            yield ast.Constant(node.value + "-mutated")


class _Replace(ast.NodeTransformer):
    def __init__(self, target: ast.AST, other: ast.AST) -> None:
        self._target, self._other = target, other

    def visit(self, node: ast.AST) -> ast.AST:
        return self._other if node is self._target else super().generic_visit(node)


def _same(tree: ast.AST, other: ast.AST, node: ast.AST) -> ast.AST:
    """The node of `other`, a copy of `tree`, that stands where `node` stands."""
    return next(twin for one, twin in zip(ast.walk(tree), ast.walk(other), strict=True) if one is node)


def _read(node: ast.AST) -> str:
    text = ast.unparse(ast.fix_missing_locations(copy.deepcopy(node)))
    first = text.splitlines()[0]
    return first if len(first) < 110 else first[:107] + "..."
