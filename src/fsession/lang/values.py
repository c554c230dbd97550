"""Items of Python expressions and their values: the base of the front end's visitor.

`Values` knows names, constants and places, `operators.Operators` computes and compares,
`expressions.Expressions` has members, elements and calls.
"""

from __future__ import annotations

from enum import Enum as PyEnum
from typing import TYPE_CHECKING, Any

from fsession.btf.types import Func
from fsession.errors import BadInputError, CompileError
from fsession.lang import lookup
from fsession.lang.access import Access, Place, Trust, Typed
from fsession.lang.arith import Arithmetic
from fsession.lang.ctypes import WORD_BYTES, Array, Integer, Opaque, Pointer, Record
from fsession.lang.ir import Label, Space, Value
from fsession.lang.objects import Function, Global
from fsession.lang.scope import Argument, Context, Item, Many, Maybe, Static

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable

    from fsession.lang.build import Builder
    from fsession.lang.ctypes import Catalog
    from fsession.lang.source import Source
    from fsession.lang.unit import Unit

__all__ = ["Values", "int_of", "is_text", "static", "what"]


class Values:
    """Of one function: `names` are its variables, changed as statements run."""

    def __init__(
        self,
        unit: Unit,
        build: Builder,
        source: Source,
        find: Callable[[str], Item | None],
        local_function: Callable[[Function, ast.AST], str],
        catalog: Catalog | None = None,
    ) -> None:
        self.unit = unit
        self.catalog = catalog or unit.catalog
        self.build = build
        self.source = source
        self.access = Access(build)
        self.arith = Arithmetic(build)
        self.names: dict[str, Item] = {}
        self.context: Context | None = None
        self.result: Argument | None = None
        self.sleepable = False
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
        types = self.catalog.types
        known = types.base is None and types.find("bpf_rdonly_cast", Func) is not None
        return Trust.KERNEL if known and isinstance(type.to, Record) else Trust.NUMBER

    # -- any expression --------------------------------------------------------------------------

    def item(self, node: ast.expr) -> Item:
        """What an expression stands for."""
        self.build.at = self.source.place(node)
        method: Callable[[Any], Item] | None = getattr(self, f"_{type(node).__name__}", None)
        if method is None:
            raise self.fail(node, f"{what(node)} can't be used in a program")
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
            case Argument(type=Record() as type):
                raise self.fail(node, f"{type} is no number and no pointer", "name a member")
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
        return int_of(self.item(node))

    def argument(self, item: Argument) -> Typed:
        """A parameter of the traced function, from the context."""
        if self.context is None:
            raise BadInputError(f"'{item.name}' is an argument of the program's main function")
        base, type = self.context.value, item.type
        if not isinstance(type, Integer | Pointer) or type.size > WORD_BYTES:
            raise BadInputError(f"'{item.name}' is a {type}: no number of 64 bits and no pointer")
        if item.is_direct:
            word = self.build.load(base, 8 * item.slot, 8, Space.CTX)
        else:
            word = lookup.get_func_word(self.build, base, item.slot)
        if isinstance(type, Integer) and type.size < 8:
            word = self.build.extend(word, 8 * type.size, signed=type.signed)
        if not isinstance(type, Pointer):
            return Typed(type, word)
        if type.tag == "user":
            return Typed(type, word, Trust.USER)
        if not item.is_direct:
            return Typed(type, self.upgraded(word, type), self.cast_trust(type))
        return Typed(type, word, Trust.KERNEL if isinstance(type.to, Record) else Trust.NUMBER)

    def struct_argument(self, item: Argument) -> Place:
        """A copy on the stack of an argument that is a struct by value."""
        if self.context is None:
            raise BadInputError(f"'{item.name}' is an argument of the program's main function")
        size = item.type.size + -item.type.size % 8
        at = self.build.slot(size)
        for offset in range(0, size, 8):
            slot = item.slot + offset // 8
            base = self.context.value
            if item.is_direct:
                word = self.build.load(base, 8 * slot, 8, Space.CTX)
            else:
                word = lookup.get_func_word(self.build, base, slot)
            self.build.store(at, offset, word, 8, Space.STACK)
        return Place(item.type, at, 0, Trust.MEMORY)

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
        enumerator = self.catalog.enumerator(node.id)
        if enumerator is not None:
            return Static(enumerator[0])
        hint = "it is no name of the file and no enumerator, and not set on every way to here"
        raise self.fail(node, f"the name '{node.id}' is not known here", hint)

    def _JoinedStr(self, node: ast.JoinedStr) -> Item:
        raise self.fail(node, "an f-string can't be used in a program", "use printk with %d, %s")

    def _Tuple(self, node: ast.Tuple) -> Item:
        return Many(tuple(map(self.item, node.elts)))

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


def int_of(item: Item) -> int | None:
    return int(item.value) if isinstance(item, Static) and isinstance(item.value, int) else None


def is_text(item: Item) -> bool:
    return isinstance(item, Static) and isinstance(item.value, str)


def what(node: ast.AST) -> str:
    """A piece of syntax in words."""
    words = {
        "Lambda": "a lambda", "ListComp": "a list comprehension", "List": "a list",
        "Dict": "a dict", "Set": "a set", "DictComp": "a dict comprehension",
        "GeneratorExp": "a generator", "Await": "await", "Yield": "yield", "Starred": "'*'",
        "Div": "'/'", "Pow": "'**'", "MatMult": "'@'",
    }  # fmt: skip
    return words.get(type(node).__name__, type(node).__name__)
