"""What may be called through a pointer, as types tell it."""

from __future__ import annotations

from collections import Counter

import pytest

from fsession.attach import Target, choose
from fsession.btf.encode import Builder
from fsession.btf.types import (
    VOID,
    Array,
    Const,
    Func,
    FuncProto,
    Fwd,
    Int,
    Member,
    Param,
    Ptr,
    Struct,
    Typedef,
)
from fsession.errors import UnsupportedError
from fsession.tracer.graph_learn import HOPS, candidates, pointer_prototypes, widened
from fsession.tracer.graph_selection import Extent, GraphSelection, Node
from tracer.test_tracer import NO_MULTI, ONLY_SPLIT, Host


def prototypes(*, hops, embedded=False, array=False):
    """Of ``int root(const struct s0 *)``, where the pointer to a function is so far away."""
    build = Builder()
    number = build.add(Int("int", 4, 32, 1))
    alias = build.add(Typedef("result", number))
    other = build.add(Ptr(build.add(Fwd("nowhere"))))
    wanted = build.add(FuncProto(alias, (Param("a", number),)))
    pointer = build.add(Ptr(wanted))
    if array:
        pointer = build.add(Array(pointer, number, 2))
    members = (Member("other", other, 0), Member("call", pointer, 64))
    if embedded:
        inner = build.add(Struct("", 24, members))
        members = (Member("", inner, 0),)
    last = build.add(Struct(f"s{hops}", 24, members))
    for hop in reversed(range(hops)):
        last = build.add(Struct(f"s{hop}", 8, (Member("next", build.add(Ptr(last)), 0),)))
    argument = build.add(Ptr(build.add(Const(last))))
    root = build.add(Func("root", build.add(FuncProto(VOID, (Param("p", argument),)))))
    return pointer_prototypes(build.types(), [root]), (number, number)


@pytest.mark.parametrize("hops", range(HOPS + 2))
@pytest.mark.parametrize("form", [{}, {"embedded": True}, {"array": True}], ids=str)
def test_pointers_that_arguments_lead_to(hops, form):
    found, wanted = prototypes(hops=hops, **form)
    assert found == ({wanted} if hops <= HOPS else set())


@pytest.fixture
def world():
    """A kernel in which `root` has a pointer to a function like `a` and `b`, and a module with a
    `c` and, of a type of its own, a `d` that its `start` may call."""
    build = Builder()
    number = build.add(Int("int", 4, 32, 1))
    like = build.add(FuncProto(number, (Param("x", number),)))
    calls = build.add(Struct("calls", 8, (Member("call", build.add(Ptr(like)), 0),)))
    root = FuncProto(VOID, (Param("p", build.add(Ptr(calls))),))
    for name, proto in (("root", build.add(root)), ("a", like), ("b", like)):
        build.add(Func(name, proto))
    build.add(Func("other", build.add(FuncProto(VOID, ()))))
    base = build.types()
    module = Builder(base)
    ours = module.add(Struct("ours", 8, (Member("x", number, 0),)))
    proto = module.add(FuncProto(VOID, (Param("o", module.add(Ptr(ours))),)))
    table = module.add(Struct("table", 8, (Member("call", module.add(Ptr(proto)), 0),)))
    start = FuncProto(VOID, (Param("t", module.add(Ptr(table))),))
    for name, id in (("start", module.add(start)), ("c", like), ("d", proto)):
        module.add(Func(name, id))
    return base, module.types()


class Modules(Host):
    """With the module `m`."""

    def __init__(self, kernel, world, lacking=()):
        super().__init__(kernel, lacking)
        self.known = dict(zip(("", "m"), world, strict=True))

    def types(self, module=""):
        return self.known[module]

    def modules(self):
        return ["m"]

    def traceable(self, glob="*", module=""):
        return [name for name, _ in self.known[module].functions()]


def target(types, name, module=""):
    return Target(name, types.id_of(name, Func), 1, types, module)


def test_functions_of_modules(kernel, world):
    host = Modules(kernel, world)
    base, module = world
    names = lambda *callers: [one.name for one in candidates(host, callers)]  # noqa: E731
    assert names(target(base, "root")) == ["a", "b", "m:c"]
    assert names(target(module, "start", "m")) == ["m:d"]
    assert names() == []
    few = candidates(host, [target(base, "root")], lambda name: name in ("b", "m:c"))
    assert [(one.name, one.module, one.function) for one in few] == [
        ("b", "", "b"), ("m:c", "m", "c"),
    ]  # fmt: skip


@pytest.mark.parametrize("lacking", [NO_MULTI, ONLY_SPLIT])
def test_without_multi_links_only_few(kernel, world, lacking, monkeypatch):
    host, base = Modules(kernel, world, lacking), world[0]
    plan = choose(host.why_not, "auto")
    selection = GraphSelection((Node(target(base, "root"), 0),), Counter(), plan)
    wide = widened(host, selection, Extent(depth=2))
    assert wide.candidates == {"a", "b", "m:c"}
    assert [node.target.name for node in wide.nodes] == ["a", "b", "m:c", "root"]
    monkeypatch.setattr("fsession.tracer.graph_learn.MOST_ONE_BY_ONE", 2)
    with pytest.raises(UnsupportedError, match="3 functions"):
        widened(host, selection, Extent(depth=2))
    assert widened(host, selection, Extent(depth=2, include=("a",))).candidates == {"a"}
