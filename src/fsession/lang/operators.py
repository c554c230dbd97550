"""Operators, comparisons and conditions of Python."""

from __future__ import annotations

import ast
from dataclasses import replace

from fsession.lang import lookup, texts
from fsession.lang.access import Place, Trust, Typed
from fsession.lang.arith import S64, U64, is_u64
from fsession.lang.ctypes import BOOL, Pointer
from fsession.lang.ir import BinaryOp, Label, Test, Value
from fsession.lang.objects import Map
from fsession.lang.scope import Item, Many, Maybe, Static
from fsession.lang.values import Values, int_of, is_text, what

__all__ = ["Operators", "joined"]

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%", ast.BitAnd: "&",
    ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>",
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
_WORD_BITS = 64


class Operators(Values):
    """Computes and compares."""

    # -- operators -------------------------------------------------------------------------------

    def _BinOp(self, node: ast.BinOp) -> Item:
        op = _BINARY.get(type(node.op))
        if op is None:
            hint = "'//' divides integers" if isinstance(node.op, ast.Div) else ""
            raise self.fail(node, f"{what(node.op)} can't be used in a program", hint)
        left, right = self.item(node.left), self.item(node.right)
        return self.binary(op, left, right, node)

    def binary(self, op: str, left: Item, right: Item, node: ast.AST) -> Item:
        a, b = int_of(left), int_of(right)
        if a is not None and b is not None:
            return Static(self._folded(op, a, b, node))
        if b is not None:
            self._check_right(op, b, node)
        x, y = self.value(left, node), self.value(right, node)
        if isinstance(x.type, Pointer) or isinstance(y.type, Pointer):
            return self._pointer_math(op, x, y, node)
        result = self.arith.binary(op, x, y, (a, b))
        masks = [number for number in (a, b) if number is not None and number >= 0]
        return replace(result, most=min(masks)) if op == "&" and masks else result

    def _folded(self, op: str, a: int, b: int, node: ast.AST) -> int:
        self._check_right(op, b, node)
        match op:
            case "//":
                return a // b
            case "%":
                return a % b
            case "<<":
                return a << b
            case ">>":
                return a >> b
        simple = {"+": a + b, "-": a - b, "*": a * b, "&": a & b, "|": a | b, "^": a ^ b}
        return simple[op]

    def _check_right(self, op: str, b: int, node: ast.AST) -> None:
        if op in ("//", "%") and b == 0:
            raise self.fail(node, "division by 0")
        if op in ("<<", ">>") and not 0 <= b < _WORD_BITS:
            raise self.fail(node, f"a shift by {b}", "from 0 to 63")

    def _pointer_math(self, op: str, x: Typed, y: Typed, node: ast.AST) -> Item:
        """An address and a distance in bytes: what comes out is a plain number of an address."""
        if op not in ("+", "-", "&"):
            raise self.fail(node, f"'{op}' of a pointer")
        result = self.arith.binary(op, x, y)
        if isinstance(x.type, Pointer) and isinstance(y.type, Pointer):
            return result
        kept = x.type if isinstance(x.type, Pointer) else y.type
        size = kept.to.size if isinstance(kept, Pointer) else 1
        if size > 1 and op != "&":
            hint = "p[i] is the i-th element; fsession.cast('u64', p) + n counts bytes"
            raise self.fail(node, f"arithmetic on a pointer to {size} bytes", hint)
        return Typed(kept, result.value, Trust.NUMBER)

    def _UnaryOp(self, node: ast.UnaryOp) -> Item:
        if isinstance(node.op, ast.Not):
            return Typed(BOOL, self.build.compare(Test.EQ, self.truth(node.operand), self._zero()))
        item = self.item(node.operand)
        known = int_of(item)
        if known is not None:
            if isinstance(node.op, ast.USub):
                return Static(-known)
            return Static(known if isinstance(node.op, ast.UAdd) else ~known)
        value = self.value(item, node.operand)
        if isinstance(node.op, ast.USub):
            return self.arith.negative(value)
        return value if isinstance(node.op, ast.UAdd) else self.arith.inverted(value)

    def _zero(self) -> Value:
        return self.build.const(0)

    def _Compare(self, node: ast.Compare) -> Item:
        if len(node.ops) == 1:
            return self.compare(
                node.ops[0],
                self.item(node.left),
                self.item(node.comparators[0]),
                node.comparators[0],
            )
        build = self.build
        then, other, done = build.block(), build.block(), build.block()
        self._chain(node, then, other)
        for label, value in ((then, 1), (other, 0)):
            build.begin(label)
            build.jump(done, build.const(value))
        (result,) = build.begin(done, 1)
        return Typed(BOOL, result)

    def _chain(self, node: ast.Compare, then: Label, other: Label) -> None:
        """``a < b < c``: each operand is computed once, and only if all before it holds."""
        build = self.build
        always: dict[str, Item] | None = None
        left = self.kept(self.item(node.left), node.left)
        for at, (op, right_node) in enumerate(zip(node.ops, node.comparators, strict=True), 1):
            right = self.kept(self.item(right_node), right_node)
            holds = self.compare(op, left, right, right_node).value
            always = dict(self.names) if always is None else always
            more = then if at == len(node.ops) else build.block()
            build.branch(Test.NE, holds, self._zero(), more, other)
            if more is not then:
                build.begin(more)
            left = right
        self.names = always or self.names

    def _both(self, a: Typed, b: Typed) -> Typed:
        return Typed(BOOL, self.build.binary(BinaryOp.AND, a.value, b.value))

    def compare(self, op: ast.cmpop, left: Item, right: Item, node: ast.AST) -> Typed:
        if isinstance(op, ast.In | ast.NotIn):
            return self._inverted_if(isinstance(op, ast.NotIn), self._contains(left, right, node))
        if isinstance(op, ast.Is | ast.IsNot):
            if not (isinstance(right, Static) and right.value is None):
                raise self.fail(node, "'is' compares with None only", "use ==")
            return self._inverted_if(isinstance(op, ast.IsNot), self._is_none(left, node))
        word = _COMPARE[type(op)]
        text = left if is_text(left) else right if is_text(right) else None
        if text is not None:
            return self._compare_text(word, left, right, node)
        known = (int_of(left), int_of(right))
        a, b = self.value(left, node), self.value(right, node)
        return self.arith.compare(word, a, b, known)

    def _inverted_if(self, wanted: bool, item: Typed) -> Typed:
        if not wanted:
            return item
        return Typed(BOOL, self.build.compare(Test.EQ, item.value, self._zero()))

    def _is_none(self, item: Item, node: ast.AST) -> Typed:
        if isinstance(item, Maybe):
            return Typed(BOOL, self.build.compare(Test.EQ, item.present, self._zero()))
        value = self.value(item, node)
        if not isinstance(value.type, Pointer):
            raise self.fail(node, f"{value.type} is never None")
        return Typed(BOOL, self.build.compare(Test.EQ, value.value, self._zero()))

    def _contains(self, left: Item, right: Item, node: ast.AST) -> Typed:
        if isinstance(right, Static) and isinstance(right.value, Map):
            address = lookup.find_entry(self, right.value, left, node)
            return Typed(BOOL, self.build.compare(Test.NE, address, self._zero()))
        if isinstance(right, Many):
            hits = [self.compare(ast.Eq(), left, item, node) for item in right.items]
            if not hits:
                return Typed(BOOL, self._zero())
            value = hits[0].value
            for hit in hits[1:]:
                value = self.build.binary(BinaryOp.OR, value, hit.value)
            return Typed(BOOL, value)
        raise self.fail(node, "'in' looks into maps and tuples only")

    def _compare_text(self, op: str, left: Item, right: Item, node: ast.AST) -> Typed:
        if op not in ("==", "!="):
            raise self.fail(node, f"'{op}' of texts", "texts can be equal or not")
        text, other = (left, right) if is_text(left) else (right, left)
        assert isinstance(text, Static)
        equal = texts.equals(self, other, text.value, node)
        return self._inverted_if(op == "!=", equal)

    def _BoolOp(self, node: ast.BoolOp) -> Item:
        """The value of the operand that decides, as in Python."""
        build = self.build
        done = build.block()
        ends: list[Typed] = []
        is_and = isinstance(node.op, ast.And)
        kept = dict(self.names)
        for at, operand in enumerate(node.values):
            value = self.typed(operand)
            ends.append(value)
            if at + 1 == len(node.values):
                build.jump(done, value.value)
                break
            more, out = build.block(), build.block()
            then, other = (more, out) if is_and else (out, more)
            build.branch(Test.NE, value.value, self._zero(), then, other)
            build.begin(out)
            build.jump(done, value.value)
            build.begin(more)
        (result,) = build.begin(done, 1)
        self.names = kept
        return joined(ends, result)

    def _IfExp(self, node: ast.IfExp) -> Item:
        build = self.build
        known = self.static_truth(node.test)
        if known is not None:
            return self.item(node.body if known else node.orelse)
        then, other, done = build.block(), build.block(), build.block()
        self.condition(node.test, then, other)
        build.begin(then)
        a = self.typed(node.body)
        build.jump(done, a.value)
        build.begin(other)
        b = self.typed(node.orelse)
        build.jump(done, b.value)
        (result,) = build.begin(done, 1)
        return joined([a, b], result)

    # -- conditions ------------------------------------------------------------------------------

    def static_truth(self, node: ast.expr) -> bool | None:
        """Whether a condition always or never holds, where that shows at once."""
        if isinstance(node, ast.Constant):
            return bool(node.value)
        if isinstance(node, ast.Name) and node.id not in self.names:
            found = self._find(node.id)
            if isinstance(found, Static) and isinstance(found.value, int | str | None):
                return bool(found.value)
        return None

    def truth(self, node: ast.expr) -> Value:
        """0 where Python takes the value for false."""
        return self.truth_of(self.item(node), node)

    def truth_of(self, item: Item, node: ast.AST) -> Value:
        if isinstance(item, Maybe):
            present = self.build.compare(Test.NE, item.present, self._zero())
            if isinstance(item.item, Place) or isinstance(item.item.type, Pointer):
                return present
            other = self.build.compare(Test.NE, item.item.value, self._zero())
            return self._both(Typed(BOOL, present), Typed(BOOL, other)).value
        if isinstance(item, Static) and isinstance(item.value, str):
            return self.build.const(bool(item.value))
        return self.value(item, node).value

    def condition(self, node: ast.expr, then: Label, other: Label) -> None:
        """Go to `then` if it holds, else to `other`; what does not matter is not computed."""
        build = self.build
        match node:
            case ast.BoolOp(op=op, values=values):
                for part in values[:-1]:
                    more = build.block()
                    if isinstance(op, ast.And):
                        self.condition(part, more, other)
                    else:
                        self.condition(part, then, more)
                    build.begin(more)
                self.condition(values[-1], then, other)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self.condition(operand, other, then)
            case ast.Compare(ops=[_, _, *_]):
                self._chain(node, then, other)
            case _:
                value = self.truth(node)
                build.at = self.source.place(node)
                build.branch(Test.NE, value, self._zero(), then, other)


def joined(values: list[Typed], result: Value) -> Typed:
    """One of several values: pointers stay such where all are of one type."""
    first = values[0]
    if all(isinstance(value.type, Pointer) for value in values):
        trust = first.trust if all(v.trust is first.trust for v in values) else Trust.NUMBER
        return Typed(first.type, result, trust)
    if all(value.type == first.type for value in values):
        return Typed(first.type, result, first.trust)
    return Typed(U64 if any(is_u64(value) for value in values) else S64, result)
