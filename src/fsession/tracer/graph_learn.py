"""Functions that may be called through a pointer: learned in a run in which they are attached, too.

Machine code does not say what a pointer points to, but types say what it may: a function that gets
a ``struct file *`` can reach ``file->f_op->read_iter``, and calls it with the arguments and the
result of that member's prototype. All functions with one of these prototypes are candidates; those
that are then called below a root are learned.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from fsession.attach import Strategy, Target, choose
from fsession.attach.refusals import refused_by_name
from fsession.attach.safety import unsafe
from fsession.btf.model import Models
from fsession.btf.types import VOID, Array, FuncProto, Ptr, Struct, Union
from fsession.errors import UnsupportedError
from fsession.tracer.graph_selection import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fsession.btf.catalog import Types
    from fsession.btf.types import Type, TypeId
    from fsession.host import Host
    from fsession.tracer.graph_selection import Extent, GraphSelection

__all__ = ["HOPS", "candidates", "pointer_prototypes", "widened"]

HOPS = 2
"""Pointers from an argument to the struct that has the function's: ``file->f_inode->i_op``."""

Prototype = tuple[int, ...]
"""The type ids of the result and of the parameters, without typedefs and qualifiers."""


def widened(host: Host, selection: GraphSelection, extent: Extent) -> GraphSelection:
    """With the candidates, as functions that a root may call."""
    plan = selection.plan if len(selection.nodes) > 1 else choose(host.why_not, "auto", many=True)
    if plan.strategy is not Strategy.MULTI:
        error = UnsupportedError("learning callees", "Linux 7.2")
        raise error.hint("it attaches to thousands of functions: name callees by --extra")
    callers = [node.target for node in selection.nodes if node.depth < extent.depth - 1]
    known = {target.name for target in selection.targets}
    more = candidates(host, callers, lambda name: name not in known and extent.takes(name))
    nodes = (*(Node(target, 1) for target in more), *selection.nodes)
    names = frozenset(target.name for target in more)
    return replace(selection, nodes=nodes, plan=plan, candidates=names)


def candidates(
    host: Host, callers: Iterable[Target], takes: Callable[[str], bool] = lambda _: True
) -> list[Target]:
    """Functions of the kernel that `callers` may call through a pointer, if they can be traced and
    `takes` their names."""
    types = host.types("")
    own = [one.btf_id for one in callers if one.program is None and one.types is types]
    wanted = pointer_prototypes(types, own)
    return list(_alike(types, wanted, Counter(filter(takes, host.traceable("*", "")))))


def _alike(types: Types, wanted: set[Prototype], places: Counter[str]) -> Iterator[Target]:
    """The kernel's own functions with one of these prototypes."""
    ids: dict[str, list[TypeId]] = {}
    for name, id in types.functions():
        if places[name] == 1:
            ids.setdefault(name, []).append(id)
    models = Models(types)
    avoid = unsafe(ids)
    for name, found in ids.items():
        if len(found) != 1 or name in avoid or refused_by_name(name):
            continue
        if _prototype(types, types.prototype(found[0])) in wanted:
            slots = models.slots(found[0])
            if isinstance(slots, int):
                yield Target(name, found[0], slots, types)


def pointer_prototypes(types: Types, functions: Iterable[TypeId]) -> set[Prototype]:
    """Of the pointers to functions that the functions' arguments lead to."""
    found: set[Prototype] = set()
    seen: set[TypeId] = set()
    level = [param.type for id in functions for param in types.prototype(id).params]
    for hop in range(HOPS + 2):
        following: list[TypeId] = []
        for id in level:
            to, kind = _pointee(types, id)
            if isinstance(kind, FuncProto):
                found.add(_prototype(types, kind))
            elif isinstance(kind, Struct | Union) and hop <= HOPS and to not in seen:
                seen.add(to)
                following += _members(types, to)
        level = following
    return found


def _pointee(types: Types, id: TypeId) -> tuple[TypeId, Type | None]:
    pointer = types[types.strip(id)]
    if not isinstance(pointer, Ptr) or not pointer.type:
        return VOID, None
    to = types.strip(pointer.type)
    return to, types[to]


def _members(types: Types, struct: TypeId) -> Iterator[TypeId]:
    """The types of a struct's members, with those of the structs that are in it."""
    kind = types[struct]
    assert isinstance(kind, Struct | Union)
    for member in kind.members:
        inner = types.strip(member.type)
        while isinstance(array := types[inner], Array):
            inner = types.strip(array.type)
        if isinstance(types[inner], Struct | Union):
            yield from _members(types, inner)
        else:
            yield inner


def _prototype(types: Types, proto: FuncProto) -> Prototype:
    return tuple(types.strip(id) for id in (proto.type, *(param.type for param in proto.params)))
