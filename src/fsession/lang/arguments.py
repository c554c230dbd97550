"""Arguments of helpers and kernel functions, each checked for its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import Struct
from fsession.frozen import frozen
from fsession.lang import lookup, texts
from fsession.lang.access import Place, Trust, Typed
from fsession.lang.ctypes import U8, Array, Integer, Pointer, Record
from fsession.lang.objects import Map
from fsession.lang.scope import Argument, Context, Maybe, Static
from fsession.lang.unit import TEXTS_MAP
from fsession.lang.values import int_of

if TYPE_CHECKING:
    import ast

    from fsession.btf.types import TypeId
    from fsession.errors import CompileError
    from fsession.lang.expressions import Expressions
    from fsession.lang.ir import Value
    from fsession.lang.scope import Item

__all__ = ["DYNPTR", "TEST_IT", "One", "arguments", "bytes_at"]

DYNPTR = "bpf_dynptr"
MAX_DEPTH = 16
TEST_IT = "test it first: 'if x is None: return'"


@frozen
class One:
    """One argument as it is written: `call` is the function's name, `name` the parameter's."""

    e: Expressions
    call: str
    name: str
    node: ast.expr

    def wrong(self, wanted: str, hint: str = "") -> CompileError:
        return self.e.fail(self.node, f"{self.call}() takes {wanted} as '{self.name}'", hint)

    def item(self) -> Item:
        item = self.e.item(self.node)
        return self.e.argument(item) if isinstance(item, Argument) else item

    def is_none(self, item: Item) -> bool:
        return isinstance(item, Static) and item.value is None

    # -- words -----------------------------------------------------------------------------------

    def number(self) -> Value:
        value = self.e.value(self.item(), self.node)
        if isinstance(value.type, Pointer):
            raise self.wrong("a number", f"this is a {value.type}")
        return value.value

    def word(self) -> Value:
        """A number or an address; of what lies in memory, where it is."""
        item = self.item()
        if isinstance(item, Place) and not isinstance(item.type, Integer | Pointer):
            return self.e.build.add(item.base, item.offset)
        return self.e.value(item, self.node).value

    def size(self, available: int | None, *, zero: bool) -> Value:
        """The bytes of the memory before it."""
        item = self.item()
        known = int_of(item)
        if known is not None and (known < 0 or (not known and not zero)):
            raise self.wrong("a size in bytes", f"{known} is none")
        if known is not None and available is not None and known > available:
            raise self.e.fail(self.node, f"{known} bytes of memory that has {available}")
        return self.number()

    def constant(self) -> int:
        known = int_of(self.item())
        if known is None:
            raise self.wrong("a constant number")
        return known

    # -- objects ---------------------------------------------------------------------------------

    def context(self) -> Value:
        item = self.e.item(self.node)
        if not isinstance(item, Context):
            raise self.wrong("the context", "the program's parameter ctx")
        return item.value

    def map(self, kinds: tuple[type[Map], ...]) -> Map:
        item = self.e.item(self.node)
        words = " or a ".join(kind.__name__ for kind in kinds) or "map of the program"
        if not isinstance(item, Static) or not isinstance(item.value, Map):
            raise self.wrong(f"a {words}")
        if kinds and not isinstance(item.value, kinds):
            raise self.wrong(f"a {words}", f"this is a {type(item.value).__name__}")
        lookup.name_of(self.e, item.value, self.node)
        return item.value

    def memory(self, *, reads: bool, nullable: bool = False) -> tuple[Value, int | None]:
        """The address of the program's own memory, and its size in bytes."""
        item, build = self.item(), self.e.build
        if nullable and self.is_none(item):
            return build.const(0), None
        if reads and isinstance(item, Static) and isinstance(item.value, str):
            size = len(item.value.encode()) + 1
            return texts.on_stack(self.e, item, size, self.node), size
        if isinstance(item, Maybe):
            raise self.e.fail(self.node, "this may be None", TEST_IT)
        if isinstance(item, Place) and isinstance(item.type, Pointer):
            item = self.e.value(item, self.node)
        if isinstance(item, Place) and item.trust is Trust.MEMORY and not item.bits:
            return build.add(item.base, item.offset), item.type.size
        if isinstance(item, Typed) and item.trust is Trust.MEMORY:
            assert isinstance(item.type, Pointer)
            return item.value, item.type.to.size or None
        raise self.wrong("memory of the program", "fsession.buffer(64), or a value of a map")

    def text(self) -> Value:
        """A constant text, in a read-only map."""
        item = self.item()
        if not isinstance(item, Static) or not isinstance(item.value, str):
            raise self.wrong("a constant text")
        return self.e.build.map_value(TEXTS_MAP, self.e.unit.text(item.value))

    def dynptr(self) -> Value:
        item = self.item()
        is_one = isinstance(item, Place) and isinstance(item.type, Record)
        if not is_one or item.type.name != DYNPTR or item.trust is not Trust.MEMORY:  # type: ignore[union-attr]
            raise self.wrong("a dynptr", "data = fsession.dynptr()")
        assert isinstance(item, Place)
        return item.base

    def struct(self, name: str, *, nullable: bool = False) -> Value:
        """A pointer to the kernel's struct `name`, which the verifier knows as such."""
        item = self.item()
        if nullable and self.is_none(item):
            return self.e.build.const(0)
        wanted = f"a struct {name} *"
        if isinstance(item, Maybe):
            raise self.e.fail(self.node, "this may be None", TEST_IT)
        if isinstance(item, Place) and isinstance(item.type, Record):
            item = _at(self.e, item)
        value = self.e.value(item, self.node)
        target = value.type.to if isinstance(value.type, Pointer) else None
        if not isinstance(target, Record) or not self._begins_with(target, name):
            raise self.wrong(wanted, f"this is a {value.type}")
        if value.trust is not Trust.KERNEL:
            hint = "arguments and what they point to are known, what was cast or read is not"
            raise self.wrong(f"{wanted} that the verifier knows", hint)
        return value.value

    def _begins_with(self, record: Record, name: str) -> bool:
        """Whether it is `name`, or its first member is, as a struct tcp_sock is a struct sock."""
        types = self.e.catalog.types
        id: TypeId = record.id  # type: ignore[assignment]
        for _ in range(MAX_DEPTH):
            found = types[id]
            if not isinstance(found, Struct):
                return False
            if found.name == name:
                return True
            if not found.members or found.members[0].bits:
                return False
            id = types.strip(found.members[0].type)
        return False


def _at(e: Expressions, place: Place) -> Typed:
    """The address of a struct, which the verifier knows as it knows what is around it."""
    at = e.build.add(place.base, place.offset)
    return Typed(Pointer(place.type), at, place.trust)


def arguments(count: int) -> str:
    """In words."""
    return f"{count} argument{'s' * (count != 1)}"


def bytes_at(base: Value, size: int) -> Place:
    """Memory of the program, as an array of bytes."""
    return Place(Array(U8, size), base, 0, Trust.MEMORY)
