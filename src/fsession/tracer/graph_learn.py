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

__all__ = ["HOPS", "MOST_ONE_BY_ONE", "candidates", "pointer_prototypes", "widened"]

HOPS = 2
"""Pointers from an argument to the struct that has the function's: ``file->f_inode->i_op``."""

MOST_ONE_BY_ONE = 200
"""Candidates where each has a program and a link, which take some 50 ms."""

Prototype = tuple[int, ...]
"""The type ids of the result and of the parameters, without typedefs and qualifiers."""


def widened(host: Host, selection: GraphSelection, extent: Extent) -> GraphSelection:
    """With the candidates, as functions that a root may call."""
    plan = selection.plan if len(selection.nodes) > 1 else choose(host.why_not, "auto", many=True)
    callers = [node.target for node in selection.nodes if node.depth < extent.depth - 1]
    known = {target.name for target in selection.targets}
    more = candidates(host, callers, lambda name: name not in known and extent.takes(name))
    if plan.strategy is not Strategy.MULTI and len(more) > MOST_ONE_BY_ONE:
        what = f"learning which of {len(more)} functions are called, with links for each,"
        raise UnsupportedError(what, "Linux 7.2 has one link for all").hint(
            f"up to {MOST_ONE_BY_ONE} can be watched here: "
            "name fewer by --include ('*_read_iter'), or callees by --extra"
        )
    nodes = (*(Node(target, 1) for target in more), *selection.nodes)
    names = frozenset(target.name for target in more)
    return replace(selection, nodes=nodes, plan=plan, candidates=names)


def candidates(
    host: Host, callers: Iterable[Target], takes: Callable[[str], bool] = lambda _: True
) -> list[Target]:
    """Functions of the kernel and of its modules that `callers` may call through a pointer, if they
    can be traced and `takes` their names.

    Prototypes of the kernel's own types are the same everywhere, others are their module's.
    """
    functions: dict[int, list[TypeId]] = {}
    kinds: dict[int, Types] = {}
    for one in callers:
        if one.program is None:
            kinds[id(one.types)] = one.types
            functions.setdefault(id(one.types), []).append(one.btf_id)
    wanted = {key: pointer_prototypes(kinds[key], ids) for key, ids in functions.items()}
    own = len(host.types(""))
    everywhere = {proto for found in wanted.values() for proto in found if max(proto) < own}
    out: list[Target] = []
    for module in ("", *host.modules()):
        types = host.types(module)
        here = everywhere | wanted.get(id(types), set())
        out += _alike(host, module, types, here, takes)
    return out


def _alike(
    host: Host,
    module: str,
    types: Types,
    wanted: set[Prototype],
    takes: Callable[[str], bool],
) -> Iterator[Target]:
    """Functions of the kernel or of one module that have one of these prototypes."""
    before = f"{module}:" if module else ""
    names = (name for name in host.traceable("*", module) if takes(before + name))
    places = Counter(names)
    ids: dict[str, list[TypeId]] = {}
    for name, id in types.functions():
        if places[name] == 1:
            ids.setdefault(name, []).append(id)
    models = Models(types)
    avoid = () if module else unsafe(ids)
    for name, found in ids.items():
        if len(found) != 1 or name in avoid or refused_by_name(name):
            continue
        if _prototype(types, types.prototype(found[0])) in wanted:
            slots = models.slots(found[0])
            if isinstance(slots, int):
                yield Target(before + name, found[0], slots, types, module)


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
