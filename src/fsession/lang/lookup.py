"""Maps inside programs, and arguments by helper."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from fsession.lang.access import Place, Trust, Typed
from fsession.lang.arith import S64
from fsession.lang.ctypes import Array, Integer, Pointer, Record
from fsession.lang.ir import Space, Test, Value
from fsession.lang.objects import TaskStorage
from fsession.lang.scope import Item, Many, Maybe
from fsession.uapi import FuncId, UpdateFlag

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterator

    from fsession.lang.build import Builder
    from fsession.lang.objects import Map
    from fsession.lang.unit import Layout
    from fsession.lang.values import Values

_CREATE = 1  # BPF_LOCAL_STORAGE_GET_F_CREATE

__all__ = [
    "add_to_entry",
    "delete_entry",
    "entry",
    "find_entry",
    "get_entry",
    "get_func_word",
    "name_of",
    "read_entry",
    "store_struct",
    "write_entry",
    "written",
]


def get_func_word(build: Builder, context: Value, slot: int) -> Value:
    """An argument word by ``bpf_get_func_arg`` (Linux 5.17), or, for -1, the result."""
    at = build.slot(8)
    build.store(at, 0, build.const(0), 8, Space.STACK)
    if slot < 0:
        build.helper(FuncId.get_func_ret, context, at)
    else:
        build.helper(FuncId.get_func_arg, context, build.const(slot), at)
    return build.load(at, 0, 8, Space.STACK)


def name_of(e: Values, item: Map, node: ast.AST) -> str:
    """Of the map's spec, made when the map is first used."""
    name = item.name
    if not name:
        raise e.fail(node, "this map has no name", "give it one: name = fsession.Hash(…)")
    return e.unit.map(item, name)


def _keyed(e: Values, item: Map, node: ast.AST) -> str:
    """The name of a map that has keys."""
    if item.use:
        raise e.fail(node, f"a {type(item).__name__} has no keys in a program", item.use)
    return name_of(e, item, node)


def written(e: Values, layout: Layout, item: Item, node: ast.AST) -> Value:
    """A key or value on the stack; its address."""
    build = e.build
    if isinstance(layout.type, Array):
        from fsession.lang import texts

        return texts.on_stack(e, item, layout.size, node)
    if isinstance(layout.type, Record) and isinstance(item, Place) and item.type == layout.type:
        return build.add(item.base, item.offset)
    at = build.slot(layout.size + -layout.size % 8)
    if not isinstance(layout.type, Record):
        build.store(at, 0, e.value(item, node).value, layout.size, Space.STACK)
        return at
    for offset in range(0, layout.size, 8):  # with what lies between the fields
        build.store(at, offset, build.const(0), 8, Space.STACK)
    store_struct(e, Place(layout.type, at, 0, Trust.MEMORY), item, node)
    return at


def store_struct(e: Values, place: Place, item: Item, node: ast.AST, member: str = "") -> None:
    """A tuple, or a struct of the same type, to the program's own memory. `member` of another."""
    assert isinstance(place.type, Record)
    fields = e.catalog.fields(place.type)
    if isinstance(item, Place) and item.type == place.type:
        item = Many(tuple(e.access.member(item, field) for _, field in fields))
    if not isinstance(item, Many) or len(item.items) != len(fields):
        names = ", ".join(name for name, _ in fields)
        message = f"'{member}' is a struct" if member else "this map takes a struct"
        raise e.fail(node, message, f"write a tuple: ({names})")
    for (name, field), one in zip(fields, item.items, strict=True):
        to = e.access.member(place, field)
        if isinstance(field.type, Record):
            store_struct(e, to, one, node, name)
        elif isinstance(field.type, Array):
            from fsession.lang import texts

            texts.copy(e, one, e.build.add(to.base, to.offset), field.type.size, node)
        else:
            value = e.value(one, node).value
            e.build.store(to.base, to.offset, value, field.type.size, Space.STACK)


def find_entry(e: Values, item: Map, key: Item, node: ast.AST, *, create: bool = False) -> Value:
    """The address of a value, or 0. `create`: of a task's, made if it is not there."""
    name = _keyed(e, item, node)
    if isinstance(item, TaskStorage):
        task, zero = e.value(key, node), e.build.const(0)
        if task.trust is not Trust.KERNEL:
            raise e.fail(node, "a task storage is for tasks", "get_current_task() is one")
        flags = e.build.const(_CREATE if create else 0)
        return e.build.helper(FuncId.task_storage_get, e.build.map(name), task.value, zero, flags)
    at = written(e, e.unit.layout(item.key), key, node)
    return e.build.helper(FuncId.map_lookup_elem, e.build.map(name), at)


@contextmanager
def _there(e: Values, address: Value) -> Iterator[Value]:
    """What is built inside runs where the address is not 0."""
    build = e.build
    there, done = build.block(), build.block()
    build.branch(Test.NE, address, build.const(0), there, done)
    build.begin(there)
    yield address
    build.jump(done)
    build.begin(done)


def entry(e: Values, item: Map, address: Value) -> Place:
    """The value at an address that is not 0."""
    return Place(e.unit.layout(item.value).type, address, 0, Trust.MEMORY)


def read_entry(e: Values, item: Map, key: Item, node: ast.AST) -> Item:
    """``m[k]``: without that key the program ends, as a KeyError would end the function."""
    address = find_entry(e, item, key, node)
    build = e.build
    there, missing = build.block(), build.block()
    build.branch(Test.NE, address, build.const(0), there, missing)
    build.begin(missing)
    build.give_back(build.const(0))
    build.begin(there)
    return entry(e, item, address)


def get_entry(e: Values, item: Map, node: ast.Call) -> Item:
    """``m.get(k)`` is None without that key, ``m.get(k, default)`` the default."""
    if node.keywords or len(node.args) not in (1, 2):
        raise e.fail(node, "get() takes a key and a default")
    build = e.build
    address = find_entry(e, item, e.item(node.args[0]), node)
    found = entry(e, item, address)
    if not isinstance(found.type, Integer | Pointer):
        return Maybe(found, address)
    there, missing, done = build.block(), build.block(), build.block()
    build.branch(Test.NE, address, build.const(0), there, missing)
    build.begin(there)
    value = e.access.load(found)
    build.jump(done, value.value)
    build.begin(missing)
    default = e.typed(node.args[1]).value if len(node.args) == 2 else build.const(0)
    build.jump(done, default)
    (result,) = build.begin(done, 1)
    typed = Typed(value.type, result, Trust.NUMBER)
    return typed if len(node.args) == 2 else Maybe(typed, address)


def write_entry(e: Values, item: Map, key: Item, value: Item, node: ast.AST) -> None:
    """``m[k] = v``. A full map keeps what it has."""
    name = _keyed(e, item, node)
    build = e.build
    if isinstance(item, TaskStorage):
        number = e.value(value, node).value
        with _there(e, find_entry(e, item, key, node, create=True)) as address:
            e.access.store(entry(e, item, address), number)
        return
    key_at = written(e, e.unit.layout(item.key), key, node)
    value_at = written(e, e.unit.layout(item.value), value, node)
    flags = build.const(0)
    build.helper(FuncId.map_update_elem, build.map(name), key_at, value_at, flags)


def delete_entry(e: Values, item: Map, key: Item, node: ast.AST) -> None:
    """``del m[k]``; nothing happens without that key."""
    if item.is_array:
        raise e.fail(node, "an entry of an array can't be deleted", "write 0 to it")
    name = _keyed(e, item, node)
    if isinstance(item, TaskStorage):
        task = e.value(key, node).value
        e.build.helper(FuncId.task_storage_delete, e.build.map(name), task)
        return
    key_at = written(e, e.unit.layout(item.key), key, node)
    e.build.helper(FuncId.map_delete_elem, e.build.map(name), key_at)


def add_to_entry(e: Values, item: Map, key: Item, amount: Item, node: ast.AST) -> None:
    """``m[k] += n``: what is not there counts as 0. Atomic where other CPUs can write it."""
    name = _keyed(e, item, node)
    layout = e.unit.layout(item.value)
    if not isinstance(layout.type, Integer) or layout.size not in (4, 8):
        raise e.fail(node, "'+=' is for values of 4 or 8 bytes")
    build = e.build
    number = e.value(amount, node).value
    if isinstance(item, TaskStorage):
        with _there(e, find_entry(e, item, key, node, create=True)) as address:
            build.atomic_add(address, 0, number, layout.type.size)
        return
    key_at = written(e, e.unit.layout(item.key), key, node)
    address = build.helper(FuncId.map_lookup_elem, build.map(name), key_at)
    there, missing, add, done = (build.block() for _ in range(4))
    build.branch(Test.NE, address, build.const(0), there, missing)
    build.begin(there)
    build.jump(add, address)
    build.begin(missing)
    if item.is_array:
        build.jump(done)
    else:
        zero = build.slot(8)
        build.store(zero, 0, build.const(0), 8, Space.STACK)
        flags = build.const(UpdateFlag.NOEXIST)
        build.helper(FuncId.map_update_elem, build.map(name), key_at, zero, flags)
        again = build.helper(FuncId.map_lookup_elem, build.map(name), key_at)
        found = build.block()
        build.branch(Test.NE, again, build.const(0), found, done)
        build.begin(found)
        build.jump(add, again)
    (place,) = build.begin(add, 1)
    size = layout.type.size
    if item.is_per_cpu:
        old = build.load(place, 0, size, Space.MAP)
        build.store(place, 0, e.arith.binary("+", _s64(old), _s64(number)).value, size, Space.MAP)
    else:
        build.atomic_add(place, 0, number, size)
    build.jump(done)
    build.begin(done)


def _s64(value: Value) -> Typed:
    return Typed(S64, value)
