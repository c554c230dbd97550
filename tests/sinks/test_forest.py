"""Trees of calls that come children first; stacks by self time."""

from __future__ import annotations

import io

import pytest

from fsession.sinks.folded import FoldedSink
from fsession.sinks.forest import Forest
from fsession.trace.event import Summary
from sinks.graphs import graph

SUMMARY = Summary(4, 0, 0, 1, "native", 1, 1, "H")


def trees(calls, **options):
    forest = Forest(**options)
    given = [tree for call in calls if (tree := forest.add(call))]
    return [*given, *forest.rest()]


def names(tree):
    return [call.function for call in tree.calls]


def test_a_tree_is_given_out_when_its_root_ends(kernel):
    (tree,) = trees(graph(kernel))
    assert names(tree) == ["icmp_rcv", "filp_open", "tick", "drop"]
    assert tree.self_ns() == [400, 300, 100, 200]
    assert [tree.parent_of(call) for call in tree.calls] == [
        None, tree.calls[0], tree.calls[1], tree.calls[0],
    ]  # fmt: skip


def test_two_trees_at_once(kernel):
    one, other = graph(kernel), graph(kernel, tree=8, tid=99)
    mixed = [call for pair in zip(one, other, strict=True) for call in pair]
    assert [[call.tid for call in tree.calls] for tree in trees(mixed)] == [[1433] * 4, [99] * 4]


def test_a_call_outside_of_graphs(kernel):
    call = kernel.call("tick")
    (tree,) = trees([call])
    assert (tree.root, tree.calls, tree.self_ns()) == (call, [call], [12_345])


GAPS = [
    ("root", 3, ["[lost];drop 200", "[lost];filp_open 300", "[lost];filp_open;tick 100"]),
    ("leaf", 0, ["icmp_rcv 400", "icmp_rcv;drop 200", "icmp_rcv;filp_open 400"]),
    ("middle", 1, ["[lost];tick 100", "icmp_rcv 800", "icmp_rcv;drop 200"]),
]


@pytest.mark.parametrize(("lost", "lines"), [row[1:] for row in GAPS], ids=[row[0] for row in GAPS])
def test_a_record_is_lost(kernel, lost, lines):
    calls = graph(kernel)
    del calls[lost]
    assert folded(calls) == lines


def folded(calls):
    out = io.StringIO()
    sink = FoldedSink(out)
    sink.begin()
    for call in calls:  # each in a batch of its own
        sink.write([call])
    sink.end(SUMMARY)
    return out.getvalue().splitlines()


def test_folded_adds_up(kernel):
    assert folded(graph(kernel) + graph(kernel, tree=8)) == [
        "icmp_rcv 800",
        "icmp_rcv;drop 400",
        "icmp_rcv;filp_open 600",
        "icmp_rcv;filp_open;tick 200",
    ]


def test_folded_of_a_trace(kernel):
    assert folded([kernel.call("tick"), kernel.call("tick")]) == ["tick 24690"]


def test_a_tree_without_an_end_is_not_held_for_ever(kernel):
    child = graph(kernel)[0]
    many = trees([child] * 10, most=3)
    assert [len(tree.calls) for tree in many] == [4, 4, 2]
