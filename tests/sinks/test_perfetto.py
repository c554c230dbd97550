"""Perfetto traces, read back by Perfetto's own messages and by its trace processor."""

from __future__ import annotations

import io
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as proto

from fsession.sinks.perfetto import Lane, PerfettoSink
from fsession.trace.event import Summary
from fsession.trace.values import FAULT
from sinks.browser import CHROMIUM
from sinks.graphs import SKB, graph
from sinks.trace_processor import TraceProcessor

SUMMARY = Summary(3, 1, 2, 9, "native", 1, 1, "H", {"noreturn": 5})


class Reader:
    """Slices by track, as a trace processor would nest them."""

    def __init__(self, raw):
        self.names, self.tracks, self.slices = {}, {}, defaultdict(list)
        self.instants, self.clocks, self.default_clock = [], {}, 0
        trace = proto.Trace.FromString(raw)
        events = []
        for packet in trace.packet:
            assert packet.trusted_packet_sequence_id == 1
            self.clocks |= {c.clock_id: c.timestamp for c in packet.clock_snapshot.clocks}
            self.default_clock |= packet.trace_packet_defaults.timestamp_clock_id
            self.names |= {item.iid: item.name for item in packet.interned_data.event_names}
            if packet.HasField("track_descriptor"):
                described = packet.track_descriptor
                assert described.uuid not in self.tracks
                assert not described.parent_uuid or described.parent_uuid in self.tracks
                self.tracks[described.uuid] = described
            if packet.HasField("track_event"):
                assert packet.track_event.track_uuid in self.tracks
                events.append((packet.timestamp, packet.track_event))
        self._nest(sorted(events, key=lambda event: event[0]))  # stable, as the processor's

    def _nest(self, events):
        stacks = defaultdict(list)
        for at, event in events:
            stack = stacks[event.track_uuid]
            if event.type == event.TYPE_SLICE_BEGIN:
                args = {a.name: _value(a) for a in event.debug_annotations}
                stack.append((at, self.names[event.name_iid], args))
            elif event.type == event.TYPE_SLICE_END:
                start, name, args = stack.pop()
                track = self.slices[self.tracks[event.track_uuid].name or self._task(event)]
                track.append((len(stack), name, start, at - start, args))
            else:
                self.instants.append({a.name: _value(a) for a in event.debug_annotations})
        assert not any(stacks.values())

    def _task(self, event):
        thread = self.tracks[event.track_uuid].thread
        return thread.pid, thread.tid, thread.thread_name


def _value(annotation):
    kind = annotation.WhichOneof("value")
    if annotation.dict_entries:
        return {part.name: _value(part) for part in annotation.dict_entries}
    return kind, getattr(annotation, kind)


def written(*batches, summary=SUMMARY):
    out = io.BytesIO()
    sink = PerfettoSink(out)
    sink.begin()
    for batch in batches:
        sink.write(batch)
    sink.end(summary)
    return out.getvalue()


def read(*batches, summary=SUMMARY):
    return Reader(written(*batches, summary=summary))


def test_a_graph_is_nested(kernel):
    calls = graph(kernel)
    seen = read(*[[call] for call in calls])
    slices = sorted(seen.slices[1432, 1433, "ping"], key=lambda item: item[2])
    assert [row[:4] for row in slices] == [
        (0, "icmp_rcv", 1_000_000, 1000),
        (1, "filp_open", 1_000_200, 400),
        (2, "tick", 1_000_300, 100),
        (1, "drop", 1_000_700, 200),
    ]
    assert slices[0][4] == {
        "skb": ("pointer_value", SKB),
        "return": ("string_value", "-ENOMEM (-12)"),
    }
    assert slices[1][4]["name"] == ("string_value", "/x")
    assert slices[3][4]["flags"] == ("string_value", "SK_A|SK_B")
    assert [row[1] for row in seen.slices["CPU 1"]] == ["icmp_rcv"]


def test_equal_times_nest_too(kernel):
    calls = [
        kernel.call(call.function, *call.words, place=call.place, strings=call.strings)
        for call in graph(kernel)
        if call.function != "drop"
    ]
    depths = {name: depth for depth, name, *_ in read(calls).slices[1432, 1433, "ping"]}
    assert depths == {"icmp_rcv": 0, "filp_open": 1, "tick": 2}


def test_clocks(kernel):
    seen = read([kernel.call("tick")])
    assert seen.default_clock == 3  # BUILTIN_CLOCK_MONOTONIC
    assert seen.clocks == {3: 5_000_000_000, 1: 1_700_000_000_000_000_000}


def test_processes_and_idle_tasks(kernel):
    calls = [kernel.call("tick", tid=1432, cpu=0), kernel.call("tick")]
    calls += [kernel.call("tick", pid=0, tid=0, cpu=cpu, comm=f"swapper/{cpu}") for cpu in (0, 1)]
    seen = read(calls)
    assert set(seen.slices) == {
        (1432, 1432, "ping"), (1432, 1433, "ping"), "swapper/0", "swapper/1", "CPU 0", "CPU 1",
    }  # fmt: skip
    (process,) = [t.process for t in seen.tracks.values() if t.HasField("process")]
    assert (process.pid, process.process_name) == (1432, "ping")


PAIR = {
    "a": ("int_value", -7),
    "low": ("int_value", 15),
    "high": ("int_value", -1),
    "to": ("pointer_value", 0),
}
VALUES = [
    ("small struct", "give", (-7 & 2**64 - 1, 0, 1), {}, "p", PAIR),
    ("bool", "give", (0, 0, 1), {}, "once", ("bool_value", True)),
    ("fault", "filp_open", (1, 2, 3), {"strings": (FAULT,)}, "name", ("string_value", "<fault>")),
    ("null text", "filp_open", (0, 2, 3), {"strings": ("",)}, "name", ("pointer_value", 0)),
    ("large", "write", (0, 2**64 - 1), {"strings": ("",)}, "count", ("uint_value", 2**64 - 1)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "words", "changes", "arg", "value"),
    [row[1:] for row in VALUES],
    ids=[r[0] for r in VALUES],
)
def test_values(kernel, name, words, changes, arg, value):
    seen = read([kernel.call(name, *words, **changes)])
    ((*_, args),) = seen.slices[1432, 1433, "ping"]
    assert args[arg] == value


def test_values_of_expressions(kernel):
    seen = read([kernel.call("tick", prints={"jiffies": 5})])
    ((*_, args),) = seen.slices[1432, 1433, "ping"]
    assert args == {"jiffies": ("int_value", 5)}


def test_the_end_is_told(kernel):
    (end,) = read([kernel.call("tick")]).instants
    assert (end["lost"], end["missed"]) == (("int_value", 1), ("int_value", 2))
    assert end["skipped: noreturn"] == ("int_value", 5)


def test_nothing_happened():
    assert len(read().instants) == 1


def test_sleepers_on_a_cpu_have_lanes_of_their_own(kernel):
    """Two threads take turns: their calls overlap and are not in each other."""
    spans = [(0, 100, 1), (50, 100, 2), (120, 100, 3), (160, 20, 4), (10, 400, 5)]
    calls = [kernel.call("tick", start_ns=s, duration_ns=d, tid=t) for s, d, t in spans]
    calls.sort(key=lambda call: call.start_ns + call.duration_ns)
    on_cpu = read(calls).slices["CPU 1"]
    assert sorted((row[2], row[3], row[4]["tid"][1]) for row in on_cpu) == sorted(spans)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=40))
def test_lanes_never_cross(spans):
    lanes: list[tuple[Lane, list[tuple[int, int]]]] = []
    for start, length in sorted(spans, key=sum):
        lane = next((lane for lane in lanes if lane[0].takes(start)), None)
        if lane is None:
            lane = (Lane(), [])
            lanes.append(lane)
        end = start + length
        assert all(b <= start or start <= a or end == b for a, b in lane[1])
        lane[0].add(start, end)
        lane[1].append((start, end))


@pytest.fixture
def processor(kernel, tmp_path):
    """Has read a graph, a call of the process's first thread, and one of an idle task."""
    calls = [*graph(kernel), kernel.call("tick", tid=1432, cpu=0)]
    calls += [kernel.call("tick", pid=0, tid=0, cpu=1, comm="swapper/1")]
    with TraceProcessor(tmp_path / "profile") as processor:
        processor.load(written(calls))
        yield processor


@pytest.mark.skipif(not CHROMIUM, reason="no chromium")
def test_by_the_trace_processor(processor):
    ask = processor.query
    assert ask("select name, value from stats where value and severity != 'info'") == []
    slices = "select slice.name, depth, to_realtime(ts), dur from slice join {} on track_id = {}"
    in_thread = slices.format("thread_track t", "t.id join thread using (utid)")
    start = 10**18 + 1_000_000
    assert ask(f"{in_thread} where tid = 1433 order by ts") == [
        ("icmp_rcv", 0, start, 1000),
        ("filp_open", 1, start + 200, 400),
        ("tick", 2, start + 300, 100),
        ("drop", 1, start + 700, 200),
    ]
    assert ask(f"{in_thread} where tid = 1432") == [("tick", 0, 10**18 + 5 * 10**9, 12345)]
    threads = "select pid, process.name, tid, thread.name from thread join process using (upid)"
    assert ask(f"{threads} where pid order by tid") == [
        (1432, "ping", 1432, "ping"),
        (1432, "ping", 1433, "ping"),
    ]
    tracks = slices.format("track", "track.id").replace("select", "select track.name,")
    on_cpus = [row[:2] for row in ask(f"{tracks} where track.name glob 'CPU *' order by 1, ts")]
    assert on_cpus == [("CPU 0", "tick"), ("CPU 1", "icmp_rcv"), ("CPU 1", "tick")]
    assert [row[1] for row in ask(f"{tracks} where track.name = 'swapper/1'")] == ["tick"]
    args = "select flat_key, display_value from slice join args using (arg_set_id) where {}"
    assert set(ask(args.format("name = 'filp_open'"))) >= {
        ("debug.name", "/x"), ("debug.flags", "2"), ("debug.return", "0x0"),
    }  # fmt: skip
    assert set(ask(args.format("name = 'icmp_rcv'"))) >= {
        ("debug.skb", hex(SKB)), ("debug.return", "-ENOMEM (-12)"),
    }  # fmt: skip
    told = dict(ask(args.format("name = 'end of the trace'")))
    assert (told["debug.lost"], told["debug.missed"]) == ("1", "2")
