"""Expressions of C, and the same ones written as Python, to IR: filters, values, keys.

Read by pycparser. An expression in Python's syntax (``skb.len > 64 and ret < 0``) is turned into
the same tree first, so both have C's types, promotions and conversions; there ``.`` goes through
pointers, too.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from pycparser import c_ast, c_parser

from fsession.btf.types import Typedef
from fsession.errors import BadInputError, CompileError
from fsession.frozen import frozen
from fsession.lang import texts
from fsession.lang.access import Access, Place, Trust, Typed
from fsession.lang.carith import CArithmetic, common
from fsession.lang.cconst import character, integer, text
from fsession.lang.ctypes import INT, LONG, VOID, Array, CType, Integer, Opaque, Pointer, Record
from fsession.lang.ir import Test, Value
from fsession.lang.pysyntax import to_c

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from fsession.lang.build import Builder
    from fsession.lang.ctypes import Catalog
    from fsession.lang.ir import Label
    from fsession.lang.scope import Item

__all__ = ["SHOWN_AS", "CExpression", "Shown"]

SHOWN_AS = ("str", "buf", "ip4", "ip6", "mac", "sym")
_SWAPS = {"ntohs": 16, "htons": 16, "ntohl": 32, "htonl": 32}
_WORD = re.compile(r"[A-Za-z_]\w*")
_SIZE = Integer(8, False, "unsigned long")
_MAX_LENGTH = 4096
_SHOWN_MEMBERS = 12


@frozen
class Shown:
    """A value with the way it is to be shown: ``ip4(x)``; `size` is that of ``buf(p, n)``."""

    form: str
    item: Typed | Place
    size: int = 0


class CExpression:
    """Compiles expressions into the block that `build` is at.

    `variables` are the names there are: each gives its value when it is used. What can't be read
    goes on at `on_fault`; without it, it is 0.
    """

    def __init__(
        self,
        catalog: Catalog,
        build: Builder,
        variables: Mapping[str, Callable[[], Typed | Place | Shown]],
        on_fault: Label | None = None,
    ) -> None:
        self.catalog = catalog
        self.build = build
        self.access = Access(build, on_fault)
        self.arith = CArithmetic(build)
        self._variables = variables
        self._text = ""
        self._before = 0

    # -- whole expressions -----------------------------------------------------------------------

    def compile(self, source: str) -> Typed | Place | Shown:
        """The value of an expression in C, or in Python's syntax. Raises `CompileError`."""
        self._text = source
        if len(source) > _MAX_LENGTH:
            raise CompileError(f"an expression of {len(source)} characters", "expression")
        tree = self._parse(source)
        try:
            return self._any(tree)
        except RecursionError:
            raise CompileError("the expression is nested too deeply", "expression") from None

    def names(self, source: str) -> frozenset[str]:
        """Names of variables and enumerators in an expression."""
        self._text = source
        return frozenset(_names(self._parse(source)))

    def condition(self, source: str) -> Value:
        """0 where the expression is false."""
        found = self.compile(source)
        if isinstance(found, Shown):
            raise CompileError(f"{found.form}() shows a value, it is no condition", "expression")
        return self._scalar(found, None).value

    def _parse(self, source: str) -> c_ast.Node:
        named = sorted(set(_WORD.findall(source)) - set(self._variables))
        types = [name for name in named if self.catalog.types.find(name, Typedef) is not None]
        head = "".join(f"typedef int {name};\n" for name in types)
        self._before = len(types)
        try:
            unit = c_parser.CParser().parse(f"{head}int x =\n{source}\n;")
            declaration = unit.ext[-1]
            if len(unit.ext) != len(types) + 1 or not isinstance(declaration, c_ast.Decl):
                raise CompileError("this is more than one expression", "expression")
            tree = declaration.init
            if tree is None or isinstance(tree, c_ast.InitList):
                raise CompileError("this is no expression", "expression")
            return tree
        except (c_parser.ParseError, AssertionError, AttributeError, RecursionError) as error:
            try:
                return to_c(ast.parse(source.strip(), mode="eval").body)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                raise self._syntax_error(error) from None

    def _syntax_error(self, error: BaseException) -> CompileError:
        """pycparser says ``:LINE:COLUMN: before: TOKEN``."""
        found = re.match(r":(\d+):(\d+): (.*)", str(error))
        if found is None:
            return self._error("this is no expression of C", 0)
        return self._error(f"no expression of C: {found[3]}", int(found[2]))

    def _error(self, message: str, column: int, hint: str = "") -> CompileError:
        error = CompileError(message, "expression", 1 if column else 0, column)
        error.add_note(f"  {self._text}")
        if column:
            error.add_note(f"  {' ' * (column - 1)}^")
        if hint:
            error.hint(hint)
        return error

    def fail(self, node: object, message: str, hint: str = "") -> CompileError:
        coord = getattr(node, "coord", None)
        return self._error(message, getattr(coord, "column", 0) or 0, hint)

    # -- nodes -----------------------------------------------------------------------------------

    def _any(self, node: c_ast.Node) -> Typed | Place | Shown:
        method: Callable[[c_ast.Node], Typed | Place | Shown] | None = getattr(
            self, f"_{type(node).__name__}", None
        )
        if method is None:
            raise self.fail(node, f"{type(node).__name__} can't be used in an expression")
        try:
            return method(node)
        except CompileError:
            raise
        except BadInputError as error:
            raise self.fail(node, error.what) from None

    def _plain(self, node: c_ast.Node) -> Typed | Place:
        found = self._any(node)
        if isinstance(found, Shown):
            raise self.fail(node, f"{found.form}() shows a value and can't be computed with")
        return found

    def value(self, item: Item, node: object) -> Typed:
        """For `texts`: an item as a number or pointer."""
        if isinstance(item, Typed | Place):
            return self._scalar(item, node)
        raise self.fail(node, "this has no value here")

    def _scalar(self, item: Typed | Place, node: object) -> Typed:
        """A number or pointer; arrays become pointers to their first element."""
        if isinstance(item, Typed):
            return item
        if isinstance(item.type, Array):
            at = self.access.address(item)
            return Typed(Pointer(item.type.of), at.value, at.trust)
        if isinstance(item.type, Record | Opaque):
            raise self.fail(node, f"{item.type} is no number and no pointer", "name a member")
        return self.access.load(item)

    def _typed(self, node: c_ast.Node) -> Typed:
        return self._scalar(self._plain(node), node)

    def _ID(self, node: c_ast.ID) -> Typed | Place | Shown:
        variable = self._variables.get(node.name)
        if variable is not None:
            return variable()
        found = self.catalog.enumerator(node.name)
        if found is not None:
            type = INT if -(1 << 31) <= found[0] < 1 << 31 else found[1]
            return Typed(type, self.build.const(found[0]))
        names = ", ".join(sorted(name for name in self._variables if name[:2] != "__"))
        raise self.fail(node, f"the name '{node.name}' is not known", f"there are: {names}")

    def _Constant(self, node: c_ast.Constant) -> Typed:
        if node.type == "string":
            raise self.fail(node, "a text can only be compared with == and !=")
        if node.type == "char":
            return Typed(INT, self.build.const(character(node.value)))
        if "float" in node.type or "double" in node.type:
            raise self.fail(node, "expressions have no floating point")
        value, type = integer(node.value)
        return Typed(type, self.build.const(value))

    def _BinaryOp(self, node: c_ast.BinaryOp) -> Typed:
        if node.op in ("&&", "||"):
            return self._logical(node)
        if node.op in ("==", "!=") and (_is_text(node.left) or _is_text(node.right)):
            return self._compare_text(node)
        a, b = self._typed(node.left), self._typed(node.right)
        if node.op in ("==", "!=", "<", "<=", ">", ">="):
            return self.arith.compare(node.op, a, b)
        if isinstance(a.type, Pointer) or isinstance(b.type, Pointer):
            return self._pointer_math(node, a, b)
        return self.arith.binary(node.op, a, b)

    def _compare_text(self, node: c_ast.BinaryOp) -> Typed:
        left, right = (node.left, node.right) if _is_text(node.right) else (node.right, node.left)
        if _is_text(left):
            raise self.fail(node, "both sides are constants")
        item = self._any(left)
        plain = item.item if isinstance(item, Shown) and item.form == "str" else item
        if isinstance(plain, Shown):
            raise self.fail(left, f"{plain.form}() can't be compared with a text")
        found = texts.equals(self, plain, text(right.value), node)
        return self.arith.denied(found) if node.op == "!=" else Typed(INT, found.value)

    def _logical(self, node: c_ast.BinaryOp) -> Typed:
        """The second operand is computed only where it matters."""
        build = self.build
        more, done, decided = build.block(), build.block(), build.block()
        first = self._typed(node.left).value
        then, other = (more, decided) if node.op == "&&" else (decided, more)
        build.branch(Test.NE, first, build.const(0), then, other)
        build.begin(decided)
        build.jump(done, build.const(node.op == "||"))
        build.begin(more)
        second = self.arith.truth(self._typed(node.right))
        build.jump(done, second.value)
        (result,) = build.begin(done, 1)
        return Typed(INT, result)

    def _pointer_math(self, node: c_ast.BinaryOp, a: Typed, b: Typed) -> Typed:
        if node.op == "-" and isinstance(a.type, Pointer) and isinstance(b.type, Pointer):
            distance = self.arith.binary("-", Typed(LONG, a.value), Typed(LONG, b.value))
            size = max(1, a.type.to.size)
            return self.arith.binary("/", distance, Typed(LONG, self.build.const(size)))
        if node.op not in ("+", "-") or (node.op == "-" and isinstance(b.type, Pointer)):
            raise self.fail(node, f"'{node.op}' of a pointer")
        pointer, number = (a, b) if isinstance(a.type, Pointer) else (b, a)
        assert isinstance(pointer.type, Pointer)
        if isinstance(number.type, Pointer):
            raise self.fail(node, "the sum of two pointers")
        size = max(1, pointer.type.to.size)
        step = self.arith.convert(number, LONG)
        bytes_ = self.arith.binary("*", step, Typed(LONG, self.build.const(size)))
        base = Typed(LONG, pointer.value)
        return Typed(pointer.type, self.arith.binary(node.op, base, bytes_).value)

    def _UnaryOp(self, node: c_ast.UnaryOp) -> Typed | Place:
        if node.op == "sizeof":
            return Typed(_SIZE, self.build.const(self._sizeof(node.expr)))
        if node.op == "&":
            place = self._plain(node.expr)
            if not isinstance(place, Place):
                raise self.fail(node, "this has no address")
            return self.access.address(place)
        if node.op == "*":
            return self._target(self._typed(node.expr), node)
        operand = self._typed(node.expr)
        if node.op == "!":
            return self.arith.denied(operand)
        if isinstance(operand.type, Pointer):
            raise self.fail(node, f"'{node.op}' of a pointer")
        if node.op == "-":
            return self.arith.negative(operand)
        if node.op == "~":
            return self.arith.inverted(operand)
        if node.op == "+":
            return self.arith.promote(operand)
        raise self.fail(node, f"'{node.op}' changes something", "expressions only look")

    def _sizeof(self, node: c_ast.Node) -> int:
        """Of a type or an expression, which is not computed."""
        if isinstance(node, c_ast.Typename):
            type = self._type(node)
        else:
            kept = self.build.snapshot()
            type = self._plain(node).type
            self.build.restore(kept)
        if not type.size:
            raise self.fail(node, f"{type} has no size")
        return type.size

    def _target(self, pointer: Typed, node: object) -> Place:
        if not isinstance(pointer.type, Pointer):
            raise self.fail(node, f"{pointer.type} is no pointer")
        return self.access.target(pointer)

    def _StructRef(self, node: c_ast.StructRef) -> Place:
        """A dot goes through pointers too, as in Python's syntax: ``a.b`` can be either."""
        owner = self._plain(node.name)
        is_pointer = isinstance(owner.type, Pointer | Array)
        if node.type == "->" and not is_pointer:
            raise self.fail(node, f"{owner.type} is no pointer", "write . instead of ->")
        place = self._target(self._scalar(owner, node), node) if is_pointer else owner
        record, name = place.type, node.field.name
        if not isinstance(place, Place) or not isinstance(record, Record):
            raise self.fail(node, f"{record} has no members")
        field = self.catalog.member(record, name)
        if field is None:
            raise self.fail(
                node.field, f"{record} has no member '{name}'", self._members(record, name)
            )
        return self.access.member(place, field)

    def _members(self, record: Record, name: str) -> str:
        """Those like `name` with their types, or what there is."""
        near = self.catalog.near_members(record, name)
        if not near:
            names = [name for name in self.catalog.member_names(record) if name]
            more = ", …" if len(names) > _SHOWN_MEMBERS else ""
            return f"it has: {', '.join(names[:_SHOWN_MEMBERS])}{more}"
        fields = [(self.catalog.member(record, word), word) for word in near]
        shown = [f"{word} ({field.type})" for field, word in fields if field is not None]
        return f"did you mean {', '.join(shown)}?"

    def _ArrayRef(self, node: c_ast.ArrayRef) -> Place:
        owner = self._plain(node.name)
        index = self._typed(node.subscript)
        if isinstance(owner, Place) and isinstance(owner.type, Array):
            place, of = owner, owner.type.of
        else:
            pointer = self._scalar(owner, node)
            if not isinstance(pointer.type, Pointer) or not pointer.type.to.size:
                raise self.fail(node, f"{pointer.type} has no elements")
            place, of = self.access.target(pointer), pointer.type.to
        if isinstance(node.subscript, c_ast.Constant) and node.subscript.type != "char":
            return self.access.fixed_element(place, of, integer(node.subscript.value)[0])
        return self.access.element(place, of, self.arith.convert(index, LONG).value)

    def _TernaryOp(self, node: c_ast.TernaryOp) -> Typed:
        build = self.build
        then, other, done = build.block(), build.block(), build.block()
        build.branch(Test.NE, self._typed(node.cond).value, build.const(0), then, other)
        ways = []
        for label, branch in ((then, node.iftrue), (other, node.iffalse)):
            build.begin(label)
            ways.append((self._typed(branch), build.label))
        (a, _), (b, _) = ways
        type = self._common(a, b, node)
        for item, label in ways:
            build.resume(label)
            build.jump(done, self.arith.convert(item, type).value)
        (result,) = build.begin(done, 1)
        same = a.trust if a.trust is b.trust and a.type == b.type else Trust.NUMBER
        return Typed(type, result, same)

    def _common(self, a: Typed, b: Typed, node: object) -> CType:
        if isinstance(a.type, Integer) and isinstance(b.type, Integer):
            return common(a.type, b.type)
        if isinstance(a.type, Pointer):
            return a.type
        if isinstance(b.type, Pointer):
            return b.type
        raise self.fail(node, f"either {a.type} or {b.type}")

    def _Cast(self, node: c_ast.Cast) -> Typed:
        type, item = self._type(node.to_type), self._typed(node.expr)
        if isinstance(type, Integer):
            return self.arith.convert(item, type)
        if not isinstance(type, Pointer):
            raise self.fail(node, f"a cast to {type}")
        same = isinstance(item.type, Pointer) and item.type.to == type.to
        trust = item.trust if same or item.trust is Trust.USER else Trust.NUMBER
        return Typed(type, item.value, trust)

    def _type(self, node: c_ast.Node) -> CType:
        """What a cast or sizeof names."""
        match node:
            case c_ast.Typename(type=inner) | c_ast.TypeDecl(type=inner):
                return self._type(inner)
            case c_ast.PtrDecl(type=inner):
                return Pointer(self._pointee(inner))
            case c_ast.ArrayDecl(type=inner, dim=c_ast.Constant(value=count)):
                return Array(self._type(inner), integer(count)[0])
            case c_ast.IdentifierType(names=names):
                word = " ".join(names)
            case c_ast.Struct(name=name) | c_ast.Union(name=name) | c_ast.Enum(name=name):
                word = f"{type(node).__name__.lower()} {name}"
            case _:
                raise self.fail(node, "this is no type that is known here")
        found = self.catalog.find(word)
        if found is None:
            near = self.catalog.near(word)
            hint = f"did you mean {', '.join(near)}?" if near else ""
            raise self.fail(node, f"the kernel has no type '{word}'", hint)
        return found

    def _pointee(self, node: c_ast.Node) -> CType:
        if isinstance(node, c_ast.FuncDecl):
            return VOID
        return self._type(node)

    def _FuncCall(self, node: c_ast.FuncCall) -> Typed | Shown:
        if not isinstance(node.name, c_ast.ID):
            raise self.fail(node, "only functions of the language can be called")
        name, args = node.name.name, node.args.exprs if node.args else []
        if name in _SWAPS:
            (arg,) = self._args(node, args, 1)
            bits = _SWAPS[name]
            value = self.build.swap(self._typed(arg).value, bits)
            return Typed(Integer(bits // 8, False, f"u{bits}"), value)
        if name in SHOWN_AS:
            return self._shown(node, name, args)
        known = ", ".join([*_SWAPS, *SHOWN_AS])
        raise self.fail(node, f"'{name}' is no function of expressions", f"there are: {known}")

    def _args(self, node: object, args: list[c_ast.Node], count: int) -> list[c_ast.Node]:
        if len(args) != count:
            raise self.fail(node, f"it takes {count} arguments, not {len(args)}")
        return args

    def _shown(self, node: object, name: str, args: list[c_ast.Node]) -> Shown:
        self._args(node, args, 2 if name == "buf" else 1)
        item = self._plain(args[0])
        if name == "buf":
            size = args[1]
            if not isinstance(size, c_ast.Constant):
                raise self.fail(size, "the length of buf() is a constant")
            return Shown(name, item, integer(size.value)[0])
        return Shown(name, item)

    def _ExprList(self, node: c_ast.ExprList) -> Typed:
        raise self.fail(node, "a comma separates expressions", "there can be one only")

    def _Assignment(self, node: c_ast.Assignment) -> Typed:
        raise self.fail(node, "an expression can't assign", "== compares")


def _names(node: c_ast.Node) -> Iterator[str]:
    """But for those of members and functions."""
    if isinstance(node, c_ast.ID):
        yield node.name
    skipped = {c_ast.StructRef: "field", c_ast.FuncCall: "name"}.get(type(node))
    for role, child in node.children():
        if role != skipped:
            yield from _names(child)


def _is_text(node: c_ast.Node) -> bool:
    return isinstance(node, c_ast.Constant) and node.type == "string"
