"""A graph on a host that is none: programs, cookies, events, what is kept and what is not."""

from __future__ import annotations

import struct

import pytest

from fsession.errors import AttachError, BadInputError, CompileError, UnsupportedError
from fsession.host import Feature
from fsession.trace import Call
from fsession.trace.graph_decode import Begun
from fsession.trace.graph_program import GRAPH_COUNTS_MAP
from fsession.trace.graph_record import COUNTS_STRUCT, HEADER, NO_PARENT, Kind, graph_cookie
from fsession.tracer.graph import graph
from fsession.tracer.graph_filters import root_conditions
from fsession.uapi import AttachType
from tracer.test_tracer import NO_MULTI, ONLY_SPLIT, Host


def record(kind=Kind.EXIT, *, tree=1, order=0, depth=0, took=2000, ret=0, index=0, word=0):
    parent = NO_PARENT if not order else 0
    head = HEADER.pack(
        tree, order, parent, order + 1, depth, kind, 1000, 1000 + took, 5 << 32 | 6, 1, index,
        b"ping", ret,
    )  # fmt: skip
    return head + struct.pack("<Q", word) + bytes(8) * 11


@pytest.fixture
def host(kernel):
    return Host(kernel)


def alone(host, *names, **options):
    return graph(*(names or ("icmp_rcv",)), host=host, depth=1, **options)


def test_a_root_alone(host):
    with alone(host) as trees:
        assert [list(functions.values()) for _, functions in host.links] == [
            [graph_cookie(0, 1, root=True)]
        ]
        host.sent = [record(ret=7)]
        (call,) = trees.read(0)
        assert (call.function, call.ret, call.duration_ns) == ("icmp_rcv", 7, 2000)
    assert host.open == []


def test_several_roots_by_one_program(host):
    with alone(host, "icmp_rcv", "tick") as trees:
        ((attach_type, cookies),) = host.links
        assert attach_type == AttachType.TRACE_FSESSION_MULTI
        assert sorted(cookies.values()) == [
            graph_cookie(1, 0, root=True),
            graph_cookie(0, 1, root=True),
        ]
        assert trees.summary.programs == trees.summary.links == 1


@pytest.mark.parametrize(("lacking", "links"), [(NO_MULTI, 2), (ONLY_SPLIT, 4)])
def test_a_program_for_each_where_there_is_no_multi_link(kernel, lacking, links):
    host = Host(kernel, lacking)
    with alone(host, "icmp_rcv", "tick") as trees:
        assert len(host.links) == trees.summary.links == trees.summary.programs == links
    assert host.open == []


def test_beginnings_and_ends(host):
    with alone(host) as trees:
        host.sent = [record(Kind.ENTRY), record(order=1, depth=1), record()]
        first, second, third = trees.read(0)
        assert isinstance(first, Begun)
        assert isinstance(second, Call)
        assert (third.place.depth, trees.summary.trees["ended"]) == (0, 1)


@pytest.mark.parametrize(
    ("options", "last", "expected"),
    [
        ({"min_duration_ns": 1000}, {"took": 999}, 0),
        ({"min_duration_ns": 1000}, {"took": 1000}, 3),
        ({"errors": True}, {"ret": 0}, 0),
        ({"errors": True}, {"ret": -12 & 0xFFFF_FFFF_FFFF_FFFF}, 3),
    ],
)
def test_trees_are_kept_until_it_is_known_whether_they_are_wanted(host, options, last, expected):
    with alone(host, **options) as trees:
        host.sent = [record(Kind.ENTRY), record(order=1, depth=1)]
        assert trees.read(0) == []
        host.sent = [record(**last)]
        assert len(trees.read(0)) == expected


def test_roots_that_are_alike_share_a_filter(kernel):
    host = Host(kernel)

    def indices(*names, filter="flags == 1"):
        selection = graph(*names, host=host, depth=1).select()
        return [one.indices for one in root_conditions(selection, [filter])]

    assert indices("filp_open", "drop") == [(0,), (1,)]  # an int in the second word, an enum
    assert indices("filp_open", "drop", filter="pid == 1") == [(0, 1)]
    for wrong in ("ret < 0", "duration > 5"):
        with pytest.raises(BadInputError, match="end of a call"):
            indices("drop", filter=wrong)
    with pytest.raises(CompileError):
        indices("drop", "icmp_rcv")


def test_filter_stack_and_texts_are_in_the_program(host):
    with alone(host, "rename", filter="pid > 1", stack=True) as trees:
        ((_, cookies),) = host.links
        assert list(cookies.values()) == [graph_cookie(0, 2, root=True, texts=(0, 1))]
        texts = b"".join(struct.pack("<q", 2) + b"a".ljust(88, b"\0") for _ in range(2))
        head = struct.pack("<QI10xH", 1, 0, Kind.TEXTS)
        host.sent = [head + texts, record(ret=7)]
        (call,) = trees.read(0)
    assert call.args == {"from": None, "to": None}  # null pointers


def test_max_events_counts_trees(host):
    with alone(host, max_events=2) as trees:
        host.sent = [
            record(order=1, depth=1), record(), record(tree=2), record(tree=3),
        ]  # fmt: skip
        assert [call.place.tree for call in trees] == [1, 1, 2]
        assert trees.is_done


def test_summary(host):
    host.values[GRAPH_COUNTS_MAP] = COUNTS_STRUCT.pack(9, 4, 3, 2, 1, 6, 5, 7, 8)
    with alone(host) as trees:
        host.sent = [record()]
        trees.read(0)
        summary = trees.summary
    assert (summary.calls, summary.lost, summary.missed) == (5, 4, 2 + 1 + 7)
    assert summary.faulted == 8
    assert summary.trees == {
        "begun": 9, "ended": 1, "lost_entries": 3, "too_deep": 1, "abandoned": 6, "unpaired": 5,
    }  # fmt: skip


def test_what_makes_no_sense(host):
    for bad in ({"depth": 0}, {"comm": "a name that is too long"}):
        with pytest.raises(BadInputError):
            graph("icmp_rcv", host=host, **bad).select()
    with pytest.raises(AttachError):
        graph("nothing", host=host).select()
    tree = alone(host)
    with tree, pytest.raises(BadInputError):
        tree.__enter__()


def test_a_root_that_the_kernel_refuses(kernel):
    host = Host(kernel, {Feature.FSESSION_MULTI}, refused=["icmp_rcv"])
    with pytest.raises(AttachError), alone(host, "icmp_rcv", "tick"):
        pass
    assert host.open == []


def values_note(*fields, order=0):
    """Of integers and raw bytes; each with its status."""
    head = struct.pack("<QI10xH", 1, order, Kind.VALUES)
    return head + b"".join(struct.pack("<q", status) + data for status, data in fields)


@pytest.mark.parametrize("lacking", [(), NO_MULTI, ONLY_SPLIT], ids=["multi", "native", "split"])
def test_whole_structs(kernel, lacking):
    """Functions with none have no note; those that are alike share a part of the program."""
    host = Host(kernel, lacking)
    skb = bytearray(232)
    skb[112] = 84
    with alone(host, "icmp_rcv", "tick", expand=True) as trees:
        host.sent = [
            values_note((0, skb)), record(ret=7, word=0xABC, index=trees_index(trees, "icmp_rcv")),
            record(tree=2, index=trees_index(trees, "tick")),
            record(tree=3, word=0xABC, index=trees_index(trees, "icmp_rcv")),
        ]  # fmt: skip
        shown, without, lost = trees.read(0)
    assert shown.prints == {"*skb": {"len": 84, "owner": 0}}
    assert without.prints == {}
    assert str(lost.prints["*skb"]) == "<lost>"
    assert host.open == []


def trees_index(trees, name):
    return [function.signature.function for function in trees.functions].index(name)


def test_programs_of_their_own_have_their_own_values(kernel):
    host = Host(kernel, NO_MULTI)
    with alone(host, "icmp_rcv", "tick", expand=True) as trees:
        sizes = {
            host._name(thing.request.attach_btf_id): len(thing.request.insns)
            for thing in host.open
            if hasattr(thing, "request")
        }
        assert trees.summary.programs == 2
    with alone(Host(kernel, NO_MULTI), "icmp_rcv", "tick") as plain:
        assert plain.summary.programs == 2
    assert sizes["tick"] < sizes["icmp_rcv"]


def test_what_a_null_pointer_points_to_is_no_fault(host):
    with alone(host, expand=True) as trees:
        host.sent = [values_note((-14, bytes(232))), record()]
        (call,) = trees.read(0)
    assert call.prints == {"*skb": None}


def test_more_kinds_of_functions_than_a_program_can_have(host, monkeypatch):
    monkeypatch.setattr("fsession.tracer.graph_values._MOST_PARTS", 0)
    with pytest.raises(UnsupportedError, match="1 kinds of functions"), alone(host, expand=True):
        pass
    assert host.open == []
