"""Expressions in Python's syntax as trees of C: one meaning, two ways to write it.

``and``, ``or``, ``not`` are ``&&``, ``||``, ``!``; ``a if c else b`` is ``c ? a : b``; ``//`` is
``/`` of C; ``x < y < z`` is both comparisons; ``None`` is 0; ``p.member`` goes through a pointer.
"""

from __future__ import annotations

import ast

from pycparser import c_ast

__all__ = ["to_c"]

_BINARY: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "/", ast.Div: "/", ast.Mod: "%",
    ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>",
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.Is: "==", ast.IsNot: "!=",
}  # fmt: skip
_UNARY: dict[type[ast.AST], str] = {ast.Not: "!", ast.USub: "-", ast.Invert: "~", ast.UAdd: "+"}


class _Place:
    """As pycparser has them; columns count from 1."""

    def __init__(self, node: ast.AST) -> None:
        self.line = getattr(node, "lineno", 1)
        self.column = getattr(node, "col_offset", 0) + 1


def to_c(node: ast.expr) -> c_ast.Node:
    """The tree of C. Raises `ValueError` for what C has no word for."""
    at = _Place(node)
    match node:
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return c_ast.BinaryOp(_BINARY[type(op)], to_c(left), to_c(right), at)
        case ast.UnaryOp(op=op, operand=operand):
            return c_ast.UnaryOp(_UNARY[type(op)], to_c(operand), at)
        case ast.BoolOp(op=op, values=values):
            word = "&&" if isinstance(op, ast.And) else "||"
            tree = to_c(values[0])
            for value in values[1:]:
                tree = c_ast.BinaryOp(word, tree, to_c(value), at)
            return tree
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            return _chain(left, ops, comparators, at)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return c_ast.TernaryOp(to_c(test), to_c(body), to_c(orelse), at)
        case ast.Attribute(value=value, attr=name):
            return c_ast.StructRef(to_c(value), "any", c_ast.ID(name, at), at)
        case ast.Subscript(value=value, slice=index):
            return c_ast.ArrayRef(to_c(value), to_c(index), at)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            words = c_ast.ExprList([to_c(arg) for arg in args], at)
            return c_ast.FuncCall(c_ast.ID(name, at), words, at)
        case ast.Name(id=name):
            return c_ast.ID(name, at)
        case ast.Constant(value=value):
            return _constant(value, at)
    raise ValueError(type(node).__name__)


def _chain(
    left: ast.expr, ops: list[ast.cmpop], comparators: list[ast.expr], at: _Place
) -> c_ast.Node:
    tree: c_ast.Node | None = None
    first = left
    for op, second in zip(ops, comparators, strict=True):
        if type(op) not in _BINARY:
            raise ValueError(type(op).__name__)
        one = c_ast.BinaryOp(_BINARY[type(op)], to_c(first), to_c(second), at)
        tree = one if tree is None else c_ast.BinaryOp("&&", tree, one, at)
        first = second
    assert tree is not None
    return tree


def _constant(value: object, at: _Place) -> c_ast.Node:
    if value is None or isinstance(value, bool):
        return c_ast.Constant("int", str(int(bool(value))), at)
    if isinstance(value, int):
        return c_ast.Constant("int", str(value), at)
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return c_ast.Constant("string", f'"{escaped}"', at)
    raise ValueError(type(value).__name__)
