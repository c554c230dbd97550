"""What may be called through a pointer, as types tell it."""

from __future__ import annotations

import pytest

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
from fsession.tracer.graph import graph
from fsession.tracer.graph_learn import HOPS, pointer_prototypes
from tracer.test_tracer import NO_MULTI, Host


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


def test_only_where_there_are_multi_links(kernel):
    with pytest.raises(UnsupportedError):
        graph("icmp_rcv", host=Host(kernel, NO_MULTI), depth=1, learn=True).select()
