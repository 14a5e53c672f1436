"""The mutants of a module: its source with one small fault each, as a tired person makes them.

Messages (text with a space), type annotations, decorators and imports are not mutated.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

_Fault = tuple[ast.AST, str]  # what replaces a node, and the fault in words
_OTHER: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.And: ast.Or, ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add,
    ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}  # fmt: skip
_NEGATED_BY_OPERATOR = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)
_SKIPPED_FIELDS = ("annotation", "returns", "decorator_list", "type_params", "bases")
_SKIPPED = (ast.Import, ast.ImportFrom)


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A module with one fault.

    Args:
        line: The line of the fault.
        name: The function, and the fault in words; it stays the same if lines move.
        source: The source of the module with the fault.
    """

    line: int
    name: str
    source: str


def mutants(source: str) -> list[Mutant]:
    """Return all mutants of a module."""
    tree = ast.parse(source)
    return list(_mutants_below(tree, tree, "module"))


def _mutants_below(tree: ast.Module, node: ast.AST, function: str) -> Iterator[Mutant]:
    """Yield the mutants of all nodes below a node of the tree, which is the same afterwards."""
    for field, value in ast.iter_fields(node):
        if field in _SKIPPED_FIELDS:
            continue
        children = value if isinstance(value, list) else [value]
        for index, child in enumerate(children):
            if not isinstance(child, ast.AST) or _is_skipped(node, child):
                continue
            for fault, words in _faults(child):
                _put(node, field, index, fault)
                line = getattr(child, "lineno", None) or getattr(node, "lineno", 0)
                yield Mutant(line=line, name=f"{function}: {words}", source=ast.unparse(tree))
                _put(node, field, index, child)
            named = isinstance(child, ast.FunctionDef | ast.ClassDef)
            yield from _mutants_below(tree, child, child.name if named else function)


def _put(node: ast.AST, field: str, index: int, child: ast.AST) -> None:
    """Replace a child of a node."""
    value = getattr(node, field)
    if isinstance(value, list):
        value[index] = child
    else:
        setattr(node, field, child)


def _is_skipped(node: ast.AST, child: ast.AST) -> bool:
    """Return whether a child is no code, or text for people."""
    is_text = isinstance(child, ast.Constant) and isinstance(child.value, str)
    is_docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
    return (
        isinstance(child, _SKIPPED) or is_docstring or (is_text and isinstance(node, ast.JoinedStr))
    )


def _faults(node: ast.AST) -> Iterator[_Fault]:
    """Yield what may replace a node, and the fault in words."""
    match node:
        case ast.Compare():
            for index, op in enumerate(node.ops):
                if other := _OTHER.get(type(op)):
                    ops = [*node.ops[:index], other(), *node.ops[index + 1 :]]
                    yield _changed(node, ops=ops)
        case ast.BoolOp():
            yield _changed(node, op=_OTHER[type(node.op)]())
            for index in range(len(node.values)):
                rest = [*node.values[:index], *node.values[index + 1 :]]
                new = rest[0] if len(rest) == 1 else _changed(node, values=rest)[0]
                yield new, _arrow(node, new)
        case ast.BinOp() | ast.AugAssign() if other := _OTHER.get(type(node.op)):
            yield _changed(node, op=other())
            if isinstance(node, ast.AugAssign):
                yield _removed(node)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand, _arrow(node, node.operand)
        case ast.Constant():
            yield from _constant_faults(node)
        case ast.If() | ast.IfExp() | ast.While():
            yield from _negated(node)
        case ast.comprehension():
            for index, test in enumerate(node.ifs):
                rest = [*node.ifs[:index], *node.ifs[index + 1 :]]
                yield _changed(node, ifs=rest)[0], f"removed: for if {ast.unparse(test)}"
        case ast.Return(value=ast.expr()) if not _is_none(node.value):
            yield _changed(node, value=ast.Constant(None))
        case ast.Expr() | ast.Raise() | ast.Continue():
            yield _removed(node)
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield _removed(node)
        case ast.Call():
            yield from _swapped_arguments(node)


def _changed(node: ast.AST, **fields: object) -> _Fault:
    """Return a copy of a node with these fields, and the fault in words."""
    new = copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new, _arrow(node, new)


def _arrow(old: ast.AST, new: ast.AST) -> str:
    """Return a fault in words: what was there, and what is."""
    return (
        f"{ast.unparse(old)} -> {ast.unparse(new)}"
        if not isinstance(old, ast.stmt)
        else (f"{ast.unparse(old).splitlines()[0]} -> {ast.unparse(new).splitlines()[0]}")
    )


def _removed(node: ast.AST) -> _Fault:
    """Return the removal of a statement."""
    return ast.Pass(), f"removed: {ast.unparse(node).splitlines()[0]}"


def _is_none(node: ast.AST | None) -> bool:
    """Return whether an expression is None."""
    return isinstance(node, ast.Constant) and node.value is None


def _constant_faults(node: ast.Constant) -> Iterator[_Fault]:
    """Yield other constants; text with a space is a message."""
    value = node.value
    if isinstance(value, bool):
        yield _changed(node, value=not value)
    elif isinstance(value, int):
        yield _changed(node, value=value + 1)
    elif isinstance(value, str) and " " not in value.strip():
        yield _changed(node, value="" if value == "mutated" else "mutated")


def _negated(node: ast.If | ast.IfExp | ast.While) -> Iterator[_Fault]:
    """Yield a condition's opposite, unless the fault of an operator in it is the same."""
    test = node.test
    by_operator = isinstance(test, ast.Compare) and isinstance(test.ops[0], _NEGATED_BY_OPERATOR)
    if not by_operator and not (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)):
        opposite = ast.UnaryOp(ast.Not(), test)
        yield _changed(node, test=opposite)[0], f"if {ast.unparse(test)} -> {ast.unparse(opposite)}"


def _swapped_arguments(node: ast.Call) -> Iterator[_Fault]:
    """Yield a call with two neighbouring arguments of the same shape swapped."""
    for index, (first, second) in enumerate(zip(node.args, node.args[1:], strict=False)):
        if _are_alike(first, second):
            args = [*node.args[:index], second, first, *node.args[index + 2 :]]
            yield _changed(node, args=args)
    pairs = zip(node.keywords, node.keywords[1:], strict=False)
    for index, (first, second) in enumerate(pairs):
        if _are_alike(first.value, second.value):
            swapped = [ast.keyword(first.arg, second.value), ast.keyword(second.arg, first.value)]
            keywords = [*node.keywords[:index], *swapped, *node.keywords[index + 2 :]]
            yield _changed(node, keywords=keywords)


def _are_alike(first: ast.expr, second: ast.expr) -> bool:
    """Return whether two arguments have the same shape, but are not the same."""
    same = type(first) is type(second) and not isinstance(first, ast.Starred)
    return same and ast.dump(first) != ast.dump(second)
