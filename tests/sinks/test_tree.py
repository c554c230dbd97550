"""Graphs as trees, from whole and from broken streams of events."""

from __future__ import annotations

import io
import random
import re
import time

import pytest

from fsession.sinks.totals import TotalsSink
from fsession.sinks.tree import TreeLines, TreeSink
from fsession.trace.event import Call, Place, Summary
from fsession.trace.graph_decode import Begun
from fsession.trace.values import Stack
from sinks.graphs import SKB, graph

SUMMARY = Summary(4, 0, 0, 4, "multi", 1, 1, "Linux 7.2.12 x86_64", trees={
    "begun": 1, "ended": 1, "lost_entries": 0, "too_deep": 0, "abandoned": 0, "unpaired": 0,
})  # fmt: skip


@pytest.fixture(autouse=True)
def _utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def at(kernel, name, order, parent, depth, begun, *words, tree=1, **more):
    return kernel.call(name, *words, place=Place(tree, order, parent, depth, begun), **more)


def events(kernel, tree=1):
    """``icmp_rcv`` calls ``filp_open``, which calls ``tick`` twice, then ``drop``."""
    root = at(kernel, "icmp_rcv", 0, -1, 0, 5, SKB, tree=tree, duration_ns=12_300)
    opened = at(kernel, "filp_open", 1, 0, 1, 4, 1, 2, 3, tree=tree, strings=("/x",), ret=-2)
    return [
        Begun(root),
        Begun(opened),
        at(kernel, "tick", 2, 1, 2, 3, tree=tree, duration_ns=400),
        at(kernel, "tick", 3, 1, 2, 4, tree=tree, duration_ns=500),
        opened,
        at(kernel, "drop", 4, 0, 1, 5, 3, 0, tree=tree, duration_ns=600, ret=3),
        root,
    ]


def lines(some):
    tree = TreeLines()
    for event in some:
        tree.add(event)
    tree.finish()
    return "".join(tree.lines)


def test_a_tree(kernel):
    assert lines(events(kernel)) == (
        "            icmp_rcv(skb=0xffff8f75c8efd300) {\n"
        '              filp_open(name="/x", flags=2, mode=3) {\n'
        "    0.4µs       tick()\n"
        "    0.5µs       tick()\n"
        "+  12.3µs     } = ERR_PTR(-ENOENT)\n"
        "    0.6µs     drop(flags=SK_A|SK_B, fill=NULL) = NO_SOCKET\n"
        "+  12.3µs   } = 0\n"
    )


GAPS = {
    "a leaf": ([2], {3: "... 1 record lost ..."}),
    "the last leaf": ([5], {6: "... 1 record lost ..."}),
    "all leaves of a call": ([2, 3], {3: "... 2 records lost ..."}),
    "the beginning of a call": ([1], {2: "... 1 record lost ..."}),
    "the end of a call": ([4], {5: "} /* filp_open: no record of its end */"}),
    "a whole call": ([1, 2, 3, 4], {2: "... 3 records lost ..."}),
    "the root's beginning": ([0], {1: "... 1 record lost ..."}),
    "the root's end": ([6], {7: "... not returned: icmp_rcv ..."}),
}


@pytest.mark.parametrize(("lost", "expected"), GAPS.values(), ids=list(GAPS))
def test_what_is_lost_is_said_at_its_place(kernel, lost, expected):
    left = [event for number, event in enumerate(events(kernel)) if number not in lost]
    shown = [line.strip() for line in lines(left).splitlines()]
    for place, words in expected.items():
        assert shown[place - 1].endswith(words), shown


def test_an_end_without_its_beginning_has_the_name(kernel):
    left = events(kernel)[2:]
    assert '} /* filp_open(name="/x", flags=2, mode=3) */ = ERR_PTR(-ENOENT)' in lines(left)


def numbered(kernel, seed):
    """A random tree's events, in order."""
    random.seed(seed)
    out, stack, count = [], [], 0

    def end(order, depth):
        parent = stack[-1][0] if stack else -1
        out.append(at(kernel, "tick", order, parent, depth, count))

    while count < 40 or stack:
        if count < 40 and (not stack or random.random() < 0.6) and len(stack) < 8:
            if stack and not stack[-1][1]:
                stack[-1][1] = True
                order, depth = stack[-1][0], len(stack) - 1
                parent = stack[-2][0] if depth else -1
                out.append(Begun(at(kernel, "tick", order, parent, depth, order + 1)))
            stack.append([count, False])
            count += 1
        elif len(stack) == 1 and count < 40:
            continue
        else:
            order, _ = stack.pop()
            end(order, len(stack))
    return out


@pytest.mark.parametrize("seed", range(20))
def test_gaps_and_calls_add_up(kernel, seed):
    """Of any records lost but the root's: shown and missing calls are all that there were."""
    every = numbered(kernel, seed)
    kept = [event for event in every[1:-1] if random.random() < 0.7]
    text = lines([every[0], *kept, every[-1]])
    said = sum(int(number) for number in re.findall(r"\.\.\. (\d+) records? lost", text))
    places = [event.place if isinstance(event, Call) else event.call.place for event in kept]
    seen = {place.order for place in places} | {0}
    begun = {event.call.place.order for event in kept if isinstance(event, Begun)} | {0}
    late = [  # in a gap first, as a call inside of it came: its own end came later
        event.place.order
        for event in kept
        if isinstance(event, Call)
        and event.place.order not in begun
        and any(event.place.order < other < event.place.begun for other in seen)
    ]
    assert len(seen) - len(late) + said == 40


def test_no_gap_where_nothing_is_lost(kernel):
    for seed in range(20):
        assert "lost" not in lines(numbered(kernel, seed))
        assert "no record" not in lines(numbered(kernel, seed))


def written(batches, summary=None, **options):
    out = io.StringIO()
    sink = TreeSink(out, **options)
    sink.begin()
    for batch in batches:
        sink.write(batch)
    if summary:
        sink.end(summary)
    return out.getvalue()


def test_it_is_shown_while_it_grows(kernel):
    some = events(kernel)
    for cut in range(1, len(some)):
        shown = written([some[:cut], some[cut:]])
        assert shown == written([some])
        assert written([some[:cut]]) == shown[: len(written([some[:cut]]))] != ""


def test_heading_and_summary(kernel):
    first, *_, last = written([events(kernel)], SUMMARY).splitlines()
    assert first == " DURATION   icmp_rcv by ping/1433 on cpu 1 at 22:13:20.000000"
    assert last == (
        "1 tree · 4 calls · 0 lost · 0 missed · multi session: 1 program, 1 link"
        " · Linux 7.2.12 x86_64"
    )


def test_trees_of_two_tasks(kernel):
    """The one that is shown stands still, another comes between, and it goes on."""
    one, two = events(kernel), events(kernel, tree=2)
    mixed = written([one[:3], two, one[3:]])
    assert [line for line in mixed.splitlines() if "DURATION" in line] == [
        " DURATION   icmp_rcv by ping/1433 on cpu 1 at 22:13:20.000000",
        " DURATION   icmp_rcv by ping/1433 on cpu 1 at 22:13:20.000000",
        " DURATION   icmp_rcv by ping/1433 on cpu 1 at 22:13:20.000000, continued".replace(
            " at 22:13:20.000000", ""
        ),
    ]
    together = written([[event for pair in zip(one, two, strict=True) for event in pair]])
    assert together == written([[*one, *two]])


def test_totals(kernel):
    out = io.StringIO()
    sink = TotalsSink(out, quiet=True)
    sink.write(graph(kernel))
    sink.end(SUMMARY)
    assert out.getvalue() == (
        "  CALLS      TOTAL       SELF    AVERAGE        MAX  ERRORS  FUNCTION\n"
        "      1      1.0µs      0.4µs      1.0µs      1.0µs       1  icmp_rcv\n"
        "      1      0.4µs      0.3µs      0.4µs      0.4µs       0  filp_open\n"
        "      1      0.2µs      0.2µs      0.2µs      0.2µs       0  drop\n"
        "      1      0.1µs      0.1µs      0.1µs      0.1µs       0  tick\n"
    )


def test_values_stand_below_their_call(kernel):
    """Those of a call that made others below its beginning; not the stack, nor null pointers."""
    inner = at(kernel, "drop", 1, 0, 1, 2, 3, 0, prints={"fill": "a text", "nothing": None})
    big = {f"m{number}": number % 2 for number in range(6)}
    root = at(kernel, "icmp_rcv", 0, -1, 0, 2, SKB, prints={"*skb": big, "kstack": Stack([1])})
    assert [line[12:].rstrip() for line in lines([Begun(root), inner, root]).splitlines()] == [
        "icmp_rcv(skb=0xffff8f75c8efd300) {",
        "  // *skb = {",
        "  //   .m1 = 1",
        "  //   .m3 = 1",
        "  //   .m5 = 1",
        "  //   3 members 0",
        "  // }",
        "  drop(flags=SK_A|SK_B, fill=NULL) = NOT_DROPPED",
        '    // fill = "a text"',
        "} = 0",
    ]
