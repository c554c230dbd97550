"""``fsession.bpf_NAME(…)``: kernel functions by their names, typed by BTF and `fsession.calls`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import Func
from fsession.calls import Only, find_kfunc
from fsession.lang import lookup
from fsession.lang.access import Place, Trust, Typed
from fsession.lang.arguments import DYNPTR, One, arguments
from fsession.lang.ctypes import Integer, Opaque, Pointer, Record
from fsession.lang.scope import Item, Maybe, Static

if TYPE_CHECKING:
    import ast

    from fsession.btf.types import Param
    from fsession.lang.expressions import Expressions
    from fsession.lang.ir import Value

__all__ = ["call_kfunc"]

_PROGRAM = ("__prog", "__impl")  # what the verifier puts in itself
_SIZES = ("__sz", "__szk")
_ANY = "__ign"
_NULL = ("__nullable", "__opt")
_TEXT, _MAP = "__str", "__map"


def call_kfunc(e: Expressions, name: str, node: ast.Call) -> Item:
    """The value of a call. Raises `CompileError` for what the kernel would refuse, if we know."""
    types = e.catalog.types
    id = types.find(name, Func)
    row = find_kfunc(name)
    if id is None and row is not None:
        raise e.fail(node, f"this kernel has no {name}()", f"Linux {row.since} has it")
    if id is None:
        near = types.near(name, Func)
        hint = f"did you mean {', '.join(near)}?" if near else ""
        raise e.fail(node, f"the kernel has no function '{name}'", hint)
    if row is not None and row.only not in (Only.EVERYWHERE, Only.FSESSION):
        raise e.fail(node, f"tracing programs can't call {name}()", f"it is for {row.only.value}")
    if row is not None and row.sleeps and not e.sleepable:
        raise e.fail(node, f"{name}() may sleep", '@fsession.program("fsession.s/…") may, too')
    proto = types.prototype(id)
    given = [param for param in proto.params if not param.name.endswith(_PROGRAM)]
    if node.keywords or len(node.args) != len(given):
        count = len(node.args) + len(node.keywords)
        usage = f"fsession.{name}({', '.join(_word(param) for param in given)})"
        raise e.fail(node, f"{name}() takes {arguments(len(given))}, not {count}", usage)
    args = _Arguments(e, name)
    rest = iter(node.args)
    values = [
        args.value(param, next(rest)) if param in given else e.build.const(0)
        for param in proto.params
    ]
    result = e.build.kfunc(name, *values)
    if not proto.type:
        return Static(None)
    type = e.catalog.of(proto.type)
    if isinstance(type, Integer):
        return Typed(type, e.build.extend(result, 8 * type.size, signed=type.signed))
    known = isinstance(type, Pointer) and isinstance(type.to, Record)
    made = Typed(type, result, Trust.KERNEL if known else Trust.NUMBER)
    return Maybe(made, result) if row is not None and row.nullable else made


def _word(param: Param) -> str:
    """The parameter's name, without what it tells the verifier."""
    return param.name.partition("__")[0] or param.name


class _Arguments:
    def __init__(self, e: Expressions, call: str) -> None:
        self.e, self.call = e, call
        self.room: int | None = None

    def value(self, param: Param, node: ast.expr) -> Value:
        e, name = self.e, param.name
        one = One(e, self.call, _word(param), node)
        type = e.catalog.of(param.type)
        if name.endswith(_SIZES):
            return one.size(self.room, zero=True)
        if isinstance(type, Integer):
            return one.number()
        if name.endswith(_TEXT):
            return one.text()
        if not isinstance(type, Pointer):
            raise e.fail(node, f"{self.call}() takes a {type} by value")
        if name.endswith(_MAP):
            return e.build.map(lookup.name_of(e, one.map(()), node))
        return self._pointer(one, param, type)

    def _pointer(self, one: One, param: Param, type: Pointer) -> Value:
        nullable = param.name.endswith(_NULL)
        if param.name.endswith(_ANY):
            item = one.item()
            is_text = isinstance(item, Static) and isinstance(item.value, str)
            return one.memory(reads=True)[0] if is_text else one.word()
        if isinstance(type.to, Opaque) and param.name == "ctx":
            return one.context()
        if isinstance(type.to, Record) and type.to.name == DYNPTR:
            return one.dynptr()
        if isinstance(type.to, Record) and not type.to.name.startswith("bpf_iter_"):
            return one.struct(type.to.name, nullable=nullable)
        if isinstance(type.to, Opaque):
            item = one.item()
            if not (isinstance(item, Place) and item.trust is Trust.MEMORY):
                return one.word()
        address, self.room = one.memory(reads=True, nullable=nullable)
        if self.room is not None and self.room < type.to.size:
            message = f"{one.call}() takes {type.to.size} bytes as '{one.name}', not {self.room}"
            raise self.e.fail(one.node, message)
        return address
