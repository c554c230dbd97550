"""Expressions of Python to IR."""

from __future__ import annotations

import ast
from dataclasses import replace
from enum import Enum as PyEnum
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fsession.btf.types import Func
from fsession.errors import BadInputError, CompileError
from fsession.lang import lookup, texts
from fsession.lang.access import Access, Place, Trust, Typed
from fsession.lang.arith import S64, U64, Arithmetic, is_u64
from fsession.lang.ctypes import BOOL, Array, Integer, Opaque, Pointer, Record
from fsession.lang.forms import call_form
from fsession.lang.intrinsics import Intrinsic
from fsession.lang.ir import BinaryOp, Label, Space, Test, Value
from fsession.lang.objects import Function, Global, Map
from fsession.lang.scope import Argument, Context, Item, Many, Maybe, Static

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.lang.build import Builder
    from fsession.lang.source import Source
    from fsession.lang.unit import Unit

__all__ = ["Expressions", "static"]

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%", ast.BitAnd: "&",
    ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>",
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
_WORD_BITS = 64


class Expressions:
    """Of one function: `names` are its variables, changed as statements run."""

    def __init__(
        self,
        unit: Unit,
        build: Builder,
        source: Source,
        find: Callable[[str], Item | None],
        local_function: Callable[[Function, ast.AST], str],
    ) -> None:
        self.unit = unit
        self.build = build
        self.source = source
        self.access = Access(build)
        self.arith = Arithmetic(build)
        self.names: dict[str, Item] = {}
        self.context: Context | None = None
        self.result: Argument | None = None
        self.on_missing: Callable[[], Label] | None = None
        self.local_function = local_function
        self._find = find

    def fail(self, node: ast.AST, message: str, hint: str = "") -> CompileError:
        return self.source.error(node, message, hint)

    def outer(self, name: str) -> Item | None:
        """What a name stands for outside of the function."""
        return self._find(name)

    def upgraded(self, value: Value, type: Pointer) -> Value:
        """A pointer that the verifier takes for one of another type, where the kernel can do it
        (``bpf_rdonly_cast``, Linux 6.2)."""
        if self.cast_trust(type) is not Trust.KERNEL or not isinstance(type.to, Record):
            return value
        return self.build.kfunc("bpf_rdonly_cast", value, self.build.const(type.to.id), pure=True)

    def cast_trust(self, type: Pointer) -> Trust:
        types = self.unit.catalog.types
        known = types.base is None and types.find("bpf_rdonly_cast", Func) is not None
        return Trust.KERNEL if known and isinstance(type.to, Record) else Trust.NUMBER

    # -- any expression --------------------------------------------------------------------------

    def item(self, node: ast.expr) -> Item:
        """What an expression stands for."""
        self.build.at = self.source.place(node)
        method: Callable[[Any], Item] | None = getattr(self, f"_{type(node).__name__}", None)
        if method is None:
            raise self.fail(node, f"{_what(node)} can't be used in a program")
        try:
            return method(node)
        except CompileError:
            raise
        except BadInputError as error:
            raise self.fail(node, error.what) from None

    def typed(self, node: ast.expr) -> Typed:
        """The value of an expression: a number or a pointer."""
        return self.value(self.item(node), node)

    def value(self, item: Item, node: ast.AST) -> Typed:
        """An item as a number or pointer."""
        match item:
            case Typed():
                return item
            case Static(value=bool() | int() as number):
                if not -(1 << 63) <= number < 1 << 64:
                    raise self.fail(node, f"{number} has more than 64 bits")
                return self.arith.number(int(number))
            case Static(value=None):
                return Typed(Pointer(Opaque("void")), self.build.const(0))
            case Static(value=Global() as variable):
                return self.access.load(self.global_place(variable, node))
            case Argument():
                return self.argument(item)
            case Place(type=Integer() | Pointer()):
                return self.access.load(item)
            case Place(type=type):
                hint = "compare it with a text, or take one element" * isinstance(type, Array)
                raise self.fail(
                    node, f"{type} is no number and no pointer", hint or "name a member"
                )
            case Maybe():
                hint = "test it first: 'if x is None: return', or give get() a default"
                raise self.fail(node, "this may be None", hint)
            case Context():
                return Typed(Pointer(Opaque("void")), item.value)
            case Static(value=str()):
                raise self.fail(node, "a text is no number", "texts can be compared, or emitted")
        raise self.fail(node, "this has no value inside a program")

    def static_int(self, node: ast.expr) -> int | None:
        """The number, where it is known while compiling."""
        return _int_of(self.item(node))

    def argument(self, item: Argument) -> Typed:
        """A parameter of the traced function, from the context."""
        if self.context is None:
            raise BadInputError(f"'{item.name}' is an argument of the program's main function")
        base, type = self.context.value, item.type
        if item.is_direct:
            word = self.build.load(base, 8 * item.slot, 8, Space.CTX)
        else:
            word = lookup.get_func_arg(self.build, base, item.slot)
        if isinstance(type, Integer) and type.size < 8:
            word = self.build.extend(word, 8 * type.size, signed=type.signed)
        known = item.is_direct and isinstance(type, Pointer) and isinstance(type.to, Record)
        user = isinstance(type, Pointer) and type.tag == "user"
        trust = Trust.USER if user else Trust.KERNEL if known else Trust.NUMBER
        return Typed(type, word, trust)

    # -- names and constants ---------------------------------------------------------------------

    def _Constant(self, node: ast.Constant) -> Item:
        if isinstance(node.value, float | complex | bytes) or node.value is Ellipsis:
            hint = "programs compute with integers" if isinstance(node.value, float) else ""
            raise self.fail(node, f"{node.value!r} can't be used in a program", hint)
        return Static(node.value)

    def _Name(self, node: ast.Name) -> Item:
        if node.id in self.names:
            return self.names[node.id]
        found = self._find(node.id)
        if found is not None:
            return found
        enumerator = self.unit.catalog.enumerator(node.id)
        if enumerator is not None:
            return Static(enumerator[0])
        raise self.fail(node, f"the name '{node.id}' is not known here")

    def _JoinedStr(self, node: ast.JoinedStr) -> Item:
        raise self.fail(node, "an f-string can't be used in a program", "use printk with %d, %s")

    def _Tuple(self, node: ast.Tuple) -> Item:
        return Many(tuple(map(self.item, node.elts)))

    # -- operators -------------------------------------------------------------------------------

    def _BinOp(self, node: ast.BinOp) -> Item:
        op = _BINARY.get(type(node.op))
        if op is None:
            hint = "'//' divides integers" if isinstance(node.op, ast.Div) else ""
            raise self.fail(node, f"{_what(node.op)} can't be used in a program", hint)
        left, right = self.item(node.left), self.item(node.right)
        return self.binary(op, left, right, node)

    def binary(self, op: str, left: Item, right: Item, node: ast.AST) -> Item:
        a, b = _int_of(left), _int_of(right)
        if a is not None and b is not None:
            return Static(self._folded(op, a, b, node))
        if b is not None:
            self._check_right(op, b, node)
        x, y = self.value(left, node), self.value(right, node)
        if isinstance(x.type, Pointer) or isinstance(y.type, Pointer):
            return self._pointer_math(op, x, y, node)
        return self.arith.binary(op, x, y, (a, b))

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
        known = _int_of(item)
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
        """A chain is tested one after the other, and each operand computed once."""
        left = self.item(node.left)
        result: Typed | None = None
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            right = self._contained(op, right_node)
            one = self.compare(op, left, right, right_node)
            result = one if result is None else self._both(result, one)
            left = right
        assert result is not None
        return result

    def _contained(self, op: ast.cmpop, node: ast.expr) -> Item:
        return self.item(node)

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
        text = left if _is_text(left) else right if _is_text(right) else None
        if text is not None:
            return self._compare_text(word, left, right, node)
        known = (_int_of(left), _int_of(right))
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
        text, other = (left, right) if _is_text(left) else (right, left)
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
        return _joined(ends, result)

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
        return _joined([a, b], result)

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
            case _:
                value = self.truth(node)
                build.at = self.source.place(node)
                build.branch(Test.NE, value, self._zero(), then, other)

    # -- members, elements, calls ----------------------------------------------------------------

    def _Attribute(self, node: ast.Attribute) -> Item:
        item = self.item(node.value)
        if isinstance(item, Static):
            return self._static_attribute(item, node)
        return self.member(item, node)

    def _static_attribute(self, item: Static, node: ast.Attribute) -> Item:
        owner = item.value
        if isinstance(owner, dict):  # an enum of BTF
            if node.attr not in owner:
                raise self.fail(node, f"the enum has no '{node.attr}'")
            return Static(owner[node.attr])
        if isinstance(owner, ModuleType | type) or hasattr(owner, node.attr):
            try:
                return static(getattr(owner, node.attr))
            except AttributeError:
                name = getattr(owner, "__name__", owner)
                raise self.fail(node, f"'{name}' has no '{node.attr}'") from None
        raise self.fail(node, f"{owner!r} has no members inside a program")

    def member(self, item: Item, node: ast.Attribute) -> Place:
        """``p.name``: through a pointer as through a struct."""
        place = self.place_of(item, node.value)
        if not isinstance(place.type, Record):
            raise self.fail(node, f"{place.type} has no members", "it is no struct and no union")
        field = self.unit.catalog.member(place.type, node.attr)
        if field is None:
            near = self.unit.catalog.near_members(place.type, node.attr)
            hint = f"did you mean {', '.join(near)}?" if near else ""
            raise self.fail(node, f"{place.type} has no member '{node.attr}'", hint)
        return self.access.member(place, field)

    def place_of(self, item: Item, node: ast.AST) -> Place:
        """The struct or what else a pointer points to, or the place itself."""
        if isinstance(item, Place) and not isinstance(item.type, Pointer):
            return item
        value = self.value(item, node)
        if not isinstance(value.type, Pointer):
            raise self.fail(node, f"{value.type} has no members")
        return self.access.target(value)

    def _Subscript(self, node: ast.Subscript) -> Item:
        item = self.item(node.value)
        if isinstance(node.slice, ast.Slice):
            raise self.fail(node, "a slice can't be used in a program")
        if isinstance(item, Static) and isinstance(item.value, Map):
            return lookup.read_entry(self, item.value, self.item(node.slice), node)
        if isinstance(item, Many):
            at = self.static_int(node.slice)
            if at is None or not -len(item.items) <= at < len(item.items):
                raise self.fail(node, "an element of a tuple is named by a number it has")
            return item.items[at]
        return self.element(item, node)

    def element(self, item: Item, node: ast.Subscript) -> Place:
        """``p[i]``, of a pointer or an array."""
        at = self.item(node.slice)
        index: Value | int | None = _int_of(at)
        if index is None:
            index = self.value(at, node.slice).value
        if isinstance(item, Place) and isinstance(item.type, Array):
            if isinstance(index, int) and item.type.count and not 0 <= index < item.type.count:
                raise self.fail(node, f"element {index} of {item.type}")
            return self.access.element(item, item.type.of, index)
        value = self.value(item, node.value)
        if not isinstance(value.type, Pointer) or not value.type.to.size:
            raise self.fail(node, f"{value.type} has no elements")
        return self.access.element(self.access.target(value), value.type.to, index)

    def _Call(self, node: ast.Call) -> Item:
        if isinstance(node.func, ast.Attribute):
            found = self._method(node, node.func)
            if found is not None:
                return found
        target = self.item(node.func)
        if isinstance(target, Static) and isinstance(target.value, Intrinsic):
            return call_form(self, target.value.name, node)
        if isinstance(target, Static) and isinstance(target.value, Function):
            return self._call_function(target.value, node)
        if isinstance(target, Static) and target.value in (min, max, abs, int, bool, len):
            return self._builtin(target.value, node)
        name = ast.unparse(node.func)
        hint = "decorate it with @fsession.function" * (
            isinstance(target, Static) and callable(target.value)
        )
        raise self.fail(node, f"'{name}' can't be called in a program", hint)

    def _method(self, node: ast.Call, target: ast.Attribute) -> Item | None:
        """``map.get(k)``, ``text.startswith("…")``; None if it is no such call."""
        if target.attr == "get":
            owner = self.item(target.value)
            if isinstance(owner, Static) and isinstance(owner.value, Map):
                return lookup.get_entry(self, owner.value, node)
        if target.attr == "startswith" and len(node.args) == 1:
            text = self.item(node.args[0])
            if not _is_text(text) or not isinstance(text, Static):
                raise self.fail(node.args[0], "startswith takes a constant text")
            return texts.equals(self, self.item(target.value), text.value, node, prefix=True)
        return None

    def _call_function(self, function: Function, node: ast.Call) -> Item:
        if node.keywords or len(node.args) > 5:
            raise self.fail(node, "functions take up to 5 arguments, by their places")
        name = self.local_function(function, node)
        args = [self.typed(arg).value for arg in node.args]
        return Typed(Integer(8, True, "s64"), self.build.local(name, *args))

    def _builtin(self, function: Any, node: ast.Call) -> Item:
        if function in (min, max) and len(node.args) >= 2:
            best = self.item(node.args[0])
            for arg in node.args[1:]:
                best = self._better(function, best, self.item(arg), node)
            return best
        if len(node.args) != 1 or function in (min, max):
            raise self.fail(node, f"{function.__name__}() is called with other arguments here")
        item = self.item(node.args[0])
        if function is len:
            if isinstance(item, Place) and isinstance(item.type, Array):
                return Static(item.type.count)
            raise self.fail(node, "len() is of arrays only")
        if function is bool:
            holds = self.build.compare(Test.NE, self.truth_of(item, node), self._zero())
            return Typed(BOOL, holds)
        known = _int_of(item)
        if known is not None:
            return Static(function(known))
        value = self.value(item, node)
        if function is abs:
            zero = Static(0)
            return self._better(max, value, self.binary("-", zero, value, node), node)
        return value

    def _better(self, function: Any, a: Item, b: Item, node: ast.AST) -> Item:
        """The first where both are equal, as Python does."""
        x, y = _int_of(a), _int_of(b)
        if x is not None and y is not None:
            return Static(function(x, y))
        build = self.build
        left, right = self.value(a, node), self.value(b, node)
        keep, take, done = build.block(), build.block(), build.block()
        other = self.arith.compare("<" if function is min else ">", right, left, (y, x))
        build.branch(Test.NE, other.value, self._zero(), take, keep)
        for label, value in ((take, right), (keep, left)):
            build.begin(label)
            build.jump(done, value.value)
        (result,) = build.begin(done, 1)
        return _joined([left, right], result)

    def _NamedExpr(self, node: ast.NamedExpr) -> Item:
        item = self.item(node.value)
        self.names[node.target.id] = self.kept(item, node)
        return self.names[node.target.id]

    def kept(self, item: Item, node: ast.AST) -> Item:
        """What a variable keeps: a value of its own, not a place that may change."""
        if isinstance(item, Place) and isinstance(item.type, Integer | Pointer):
            return self.access.load(item)
        if isinstance(item, Argument):
            return item
        if isinstance(item, Static) and isinstance(item.value, Global):
            return self.value(item, node)
        return item

    # -- global variables ------------------------------------------------------------------------

    def global_place(self, variable: Global, node: ast.AST) -> Place:
        name = variable.name
        if not name:
            raise self.fail(
                node, "this variable has no name", "give it one: name = fsession.Global()"
            )
        offset, type = self.unit.variable(variable, name)
        return Place(type, self.build.map_value(".data", offset), 0, Trust.MEMORY)


def static(value: Any) -> Item:
    """An object of the surroundings as an item."""
    if isinstance(value, PyEnum) and isinstance(value.value, int):
        return Static(int(value.value))
    return Static(value)


def _int_of(item: Item) -> int | None:
    return int(item.value) if isinstance(item, Static) and isinstance(item.value, int) else None


def _is_text(item: Item) -> bool:
    return isinstance(item, Static) and isinstance(item.value, str)


def _joined(values: list[Typed], result: Value) -> Typed:
    """One of several values: pointers stay such where all are of one type."""
    first = values[0]
    if all(isinstance(value.type, Pointer) for value in values):
        trust = first.trust if all(v.trust is first.trust for v in values) else Trust.NUMBER
        return Typed(first.type, result, trust)
    if all(value.type == first.type for value in values):
        return replace(first, value=result)
    return Typed(U64 if any(is_u64(value) for value in values) else S64, result)


def _what(node: ast.AST) -> str:
    """A piece of syntax in words."""
    words = {
        "Lambda": "a lambda", "ListComp": "a list comprehension", "List": "a list",
        "Dict": "a dict", "Set": "a set", "DictComp": "a dict comprehension",
        "GeneratorExp": "a generator", "Await": "await", "Yield": "yield", "Starred": "'*'",
        "Div": "'/'", "Pow": "'**'", "MatMult": "'@'",
    }  # fmt: skip
    return words.get(type(node).__name__, type(node).__name__)
