"""Calls of graphs, in the order in which they end."""

from __future__ import annotations

from fsession.trace.event import Place

SKB = 0xFFFF_8F75_C8EF_D300


def graph(kernel, tree=7, start_ns=1_000_000, **changes):
    """``icmp_rcv`` that calls ``filp_open``, which calls ``tick``, and then ``drop``."""

    def call(name, *words, order, parent, depth, at, took, **more):
        place = Place(tree, order, parent, depth)
        times = {"start_ns": start_ns + at, "duration_ns": took, "wall_ns": 10**18 + start_ns + at}
        return kernel.call(name, *words, place=place, **times, **changes, **more)

    return [
        call("tick", order=2, parent=1, depth=2, at=300, took=100),
        call("filp_open", 1, 2, 3, order=1, parent=0, depth=1, at=200, took=400, strings=("/x",)),
        call("drop", 3, 0, order=3, parent=0, depth=1, at=700, took=200, ret=3),
        call("icmp_rcv", SKB, order=0, parent=-1, depth=0, at=0, took=1000, ret=-12),
    ]
