"""``fsession.HELPER(…)``: the helpers of `fsession.calls` by their names, with checked arguments.

Arguments are the helper's own, in its order, but for numbers that it fills in: those are left out,
and the call gives ``(status, number)``. A pointer that may be 0 is None where it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.calls import HELPERS, Access, Arg, ArgKind, Helper, ResultKind
from fsession.lang import lookup
from fsession.lang.access import Place, Trust, Typed
from fsession.lang.arguments import One, arguments, bytes_at
from fsession.lang.ctypes import Integer, Pointer, Record
from fsession.lang.ir import Space
from fsession.lang.objects import Map, RingBuf, StackTrace, TaskStorage
from fsession.lang.scope import Item, Many, Maybe, Static

if TYPE_CHECKING:
    import ast

    from fsession.lang.expressions import Expressions
    from fsession.lang.ir import Value

__all__ = ["call_helper"]

# What programs in Python have no objects for.
_LACKING = {
    ArgKind.FUNC: ("a callback", "write a loop, or a program in C"),
    ArgKind.STACK: ("a callback", "write a loop, or a program in C"),
    ArgKind.TIMER: ("a timer in a map", "write the program in C"),
    ArgKind.SPIN_LOCK: ("a lock in a map", "'+=' is atomic; or write the program in C"),
    ArgKind.KPTR: ("a kernel pointer in a map", "write the program in C"),
    ArgKind.PERCPU: ("a per-CPU variable of the kernel", "write the program in C"),
    ArgKind.SOCK_COMMON: ("a pointer of network programs", ""),
}
# Maps that a helper takes. Without a row: those of keys and values.
_MAPS: dict[str, tuple[type[Map], ...]] = {
    "get_stackid": (StackTrace,),
    "task_storage_get": (TaskStorage,),
    "task_storage_delete": (TaskStorage,),
    "ringbuf_output": (RingBuf,),
    "ringbuf_reserve": (RingBuf,),
    "ringbuf_query": (RingBuf,),
    "ringbuf_reserve_dynptr": (RingBuf,),
}
# Maps of kinds that there are no Python objects of.
_OTHER_MAPS = {
    "tail_call": "programs",
    "perf_event_read": "perf events",
    "perf_event_read_value": "perf events",
    "perf_event_output": "perf events",
    "skb_output": "perf events",
    "xdp_output": "perf events",
    "current_task_under_cgroup": "cgroups",
    "map_push_elem": "a queue",
    "map_pop_elem": "a queue",
    "map_peek_elem": "a queue",
    "sk_storage_get": "socket storage",
    "sk_storage_delete": "socket storage",
    "cgrp_storage_get": "cgroup storage",
    "cgrp_storage_delete": "cgroup storage",
    "user_ringbuf_drain": "a user ring buffer",
}
_NO_OBJECTS = "which programs in Python don't have"


def call_helper(e: Expressions, name: str, node: ast.Call) -> Item:
    """The value of a call. Raises `CompileError` for what the kernel would refuse, if we know."""
    helper = HELPERS.get(name)
    if helper is None:
        raise e.fail(node, f"tracing programs can't call {name}()", "it is of other programs")
    _check_allowed(e, helper, node)
    params = zip(helper.args, helper.params, strict=True)
    given = [param for arg, param in params if not _is_filled(arg)]
    if node.keywords or len(node.args) != len(given):
        count = len(node.args) + len(node.keywords)
        usage = f"fsession.{name}({', '.join(given)})"
        raise e.fail(node, f"{name}() takes {arguments(len(given))}, not {count}", usage)
    args = [One(e, name, param, arg) for param, arg in zip(given, node.args, strict=True)]
    return _Call(e, helper, node).run(args)


def _is_filled(arg: Arg) -> bool:
    return arg.kind is ArgKind.MEM and bool(arg.size) and arg.access is Access.WRITE


def _check_allowed(e: Expressions, helper: Helper, node: ast.Call) -> None:
    name = helper.name
    for arg in helper.args:
        if arg.kind in _LACKING:
            what, hint = _LACKING[arg.kind]
            raise e.fail(node, f"{name}() takes {what}, {_NO_OBJECTS}", hint)
    if name in _OTHER_MAPS:
        message = f"{name}() takes a map of {_OTHER_MAPS[name]}, {_NO_OBJECTS}"
        raise e.fail(node, message, "write the program in C")
    if e.unit.catalog.enumerator(f"BPF_FUNC_{name}") is None:
        raise e.fail(node, f"this kernel has no {name}()", f"Linux {helper.since} has it")
    if helper.sleeps and not e.sleepable:
        raise e.fail(node, f"{name}() may sleep", '@fsession.program("fsession.s/…") may, too')


class _Call:
    """Of one helper. `map` is its map argument, `room` the bytes of the last memory argument."""

    def __init__(self, e: Expressions, helper: Helper, node: ast.Call) -> None:
        self.e, self.helper, self.node = e, helper, node
        self.map: Map | None = None
        self.room: int | None = None
        self.bytes = 0
        self.filled: Value | None = None

    def run(self, given: list[One]) -> Item:
        rest = iter(given)
        values = [
            self._fill() if _is_filled(arg) else self._value(arg, next(rest))
            for arg in self.helper.args
        ]
        return self._result(self.e.build.helper(self.helper.id, *values))

    def _fill(self) -> Value:
        """A number on the stack for the helper to fill in."""
        build = self.e.build
        self.filled = build.slot(8)
        build.store(self.filled, 0, build.const(0), 8, Space.STACK)
        return self.filled

    def _value(self, arg: Arg, one: One) -> Value:
        match arg.kind:
            case ArgKind.CTX:
                return one.context()
            case ArgKind.MAP:
                kinds = _MAPS.get(self.helper.name, ())
                self.map = one.map(kinds)
                if not kinds and isinstance(self.map, StackTrace | TaskStorage | RingBuf):
                    raise one.wrong("a map with keys", f"this is a {type(self.map).__name__}")
                return self.e.build.map(lookup.name_of(self.e, self.map, one.node))
            case ArgKind.KEY | ArgKind.VALUE:
                return self._entry(arg, one)
            case ArgKind.MEM:
                reads = arg.access is Access.READ
                address, self.room = one.memory(reads=reads, nullable=arg.nullable)
                return address
            case ArgKind.SIZE:
                return one.size(self.room, zero=arg.zero)
            case ArgKind.ALLOC_SIZE:
                self.bytes = one.constant()
                return self.e.build.const(self.bytes)
            case ArgKind.BTF_ID:
                return one.struct(arg.type, nullable=arg.nullable)
            case ArgKind.SOCK:
                return one.struct("sock_common", nullable=arg.nullable)
            case ArgKind.DYNPTR:
                return one.dynptr()
            case ArgKind.RINGBUF_MEM:
                return one.memory(reads=False)[0]
            case ArgKind.CONST_STR:
                return one.text()
            case ArgKind.SCALAR:
                return one.number()
        return one.word()

    def _entry(self, arg: Arg, one: One) -> Value:
        """A key or value of the map argument."""
        assert self.map is not None
        item = one.item()
        if arg.nullable and one.is_none(item):
            return self.e.build.const(0)
        words = self.map.key if arg.kind is ArgKind.KEY else self.map.value
        return lookup.written(self.e, self.e.unit.layout(words), item, one.node)

    def _result(self, result: Value) -> Item:
        e, kind = self.e, self.helper.result
        if self.filled is not None:
            signed = self.helper.name == "strtol"
            type = Integer(8, signed, "s64" if signed else "u64")
            number = e.build.load(self.filled, 0, 8, Space.STACK)
            return Many((self._number(result), Typed(type, number)))
        made: Typed | Place
        match kind.kind:
            case ResultKind.VOID:
                return Static(None)
            case ResultKind.MAP_VALUE:
                assert self.map is not None
                made = lookup.entry(e, self.map, result)
            case ResultKind.MEM:
                made = bytes_at(result, self.bytes)
            case ResultKind.BTF_ID:
                record = e.catalog.find(f"struct {kind.type}")
                if not isinstance(record, Record):
                    raise e.fail(self.node, f"this kernel has no struct {kind.type}")
                made = Typed(Pointer(record), result, Trust.KERNEL)
            case _:
                return self._number(result)
        return Maybe(made, result) if kind.nullable else made

    def _number(self, value: Value) -> Typed:
        result = self.helper.result
        type = Integer(result.size, result.signed, f"{'us'[result.signed]}{8 * result.size}")
        return Typed(type, value)
