"""Calls as a Perfetto trace, for ui.perfetto.dev: nested slices with arguments and results.

Each thread has a track with all of its calls; each CPU has one with the calls that ended there,
those of a graph by their roots alone. Calls overlap on a CPU (one sleeps, another runs): such a
CPU has several lanes, tracks of the same name. Idle tasks all have the thread id 0, so theirs are
tracks of their own, one a CPU. Times are CLOCK_MONOTONIC's, with a snapshot of the clocks.

Needs the package `perfetto`, an extra (``fsession[perfetto]``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as proto

from fsession.sinks.forest import Forest, Tree
from fsession.trace.values import Named, Pointer, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.trace.event import Call, Summary

__all__ = ["PerfettoSink"]

_SEQUENCE = 1
_EVENT = proto.TrackEvent
_REALTIME, _MONOTONIC = proto.BUILTIN_CLOCK_REALTIME, proto.BUILTIN_CLOCK_MONOTONIC
_CLEARED = proto.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
_NEEDED = proto.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
_S64_MAX = (1 << 63) - 1
_SUMMARY = "summary"
_CPUS = "CPUs"
_IDLE = "idle tasks"
_OUTERMOST = 1000  # intervals of a lane that are told apart

_Key = tuple[object, ...]


class PerfettoSink:
    """Writes to `out` as trees of calls end."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._forest = Forest()
        self._tracks: dict[_Key, int] = {}
        self._lanes: dict[int, list[Lane]] = {}
        self._names: dict[str, int] = {}
        self._trace = proto.Trace()
        self._last_ns = 0
        self._started = False

    def begin(self) -> None:
        """The clocks are taken from the first call: nothing is written before."""

    def write(self, calls: Sequence[Call]) -> None:
        for call in calls:
            if tree := self._forest.add(call):
                self._tree(tree)
        self._flush()

    def end(self, summary: Summary) -> None:
        for tree in self._forest.rest():
            self._tree(tree)
        event = self._event(self._last_ns, _EVENT.TYPE_INSTANT, self._track((_SUMMARY,), _SUMMARY))
        event.name = "end of the trace"
        for name in ("calls", "lost", "missed", "functions", "strategy", "host"):
            _annotate(event.debug_annotations.add(), name, getattr(summary, name))
        for reason, count in summary.skipped.items():
            _annotate(event.debug_annotations.add(), f"skipped: {reason}", count)
        self._flush()

    def _flush(self) -> None:
        self._out.write(self._trace.SerializeToString())
        self._out.flush()
        self._trace = proto.Trace()

    def _tree(self, tree: Tree) -> None:
        """Slices nest by their order in the file where their times are equal."""
        if not self._started:
            self._start(tree.calls[0])
        first, under_way = tree.calls[0], list[tuple[int, int]]()
        track = self._task(first)
        for call in tree.calls:
            depth = call.place.depth if call.place else 0
            while under_way and under_way[-1][0] >= depth:
                self._event(under_way.pop()[1], _EVENT.TYPE_SLICE_END, track)
            self._slice(call, track)
            under_way.append((depth, call.start_ns + call.duration_ns))
        for _, end_ns in reversed(under_way):
            self._event(end_ns, _EVENT.TYPE_SLICE_END, track)
        if tree.root:
            self._on_cpu(tree.root)

    def _start(self, first: Call) -> None:
        """The clocks, and what all packets have in common."""
        self._started = True
        packet = self._packet()
        packet.sequence_flags = _CLEARED
        packet.trace_packet_defaults.timestamp_clock_id = _MONOTONIC
        snapshot = packet.clock_snapshot
        snapshot.primary_trace_clock = _MONOTONIC
        snapshot.clocks.add(clock_id=_MONOTONIC, timestamp=first.start_ns)
        snapshot.clocks.add(clock_id=_REALTIME, timestamp=first.wall_ns)

    def _slice(self, call: Call, track: int) -> None:
        event = self._event(call.start_ns, _EVENT.TYPE_SLICE_BEGIN, track, call.label)
        for name, value in call.args.items():
            _annotate(event.debug_annotations.add(), name, value)
        if not call.is_void:
            _annotate(event.debug_annotations.add(), "return", call.ret)
        for name, value in call.prints.items():
            _annotate(event.debug_annotations.add(), name, value)

    def _on_cpu(self, call: Call) -> None:
        end_ns = call.start_ns + call.duration_ns
        lanes = self._lanes.setdefault(call.cpu, [])
        number = next((at for at, lane in enumerate(lanes) if lane.takes(call.start_ns)), None)
        if number is None:
            number = len(lanes)
            lanes.append(Lane())
        lanes[number].add(call.start_ns, end_ns)
        parent = self._track((_CPUS,), _CPUS)
        track = self._track((_CPUS, call.cpu, number), f"CPU {call.cpu}", parent)
        event = self._event(call.start_ns, _EVENT.TYPE_SLICE_BEGIN, track, call.label)
        _annotate(event.debug_annotations.add(), "comm", call.comm)
        _annotate(event.debug_annotations.add(), "tid", call.tid)
        self._event(end_ns, _EVENT.TYPE_SLICE_END, track)

    def _event(self, at_ns: int, kind: int, track: int, name: str = "") -> Any:
        packet = self._packet()
        packet.timestamp = at_ns
        packet.sequence_flags = _NEEDED
        self._last_ns = max(self._last_ns, at_ns)
        event = packet.track_event
        event.type = kind
        event.track_uuid = track
        if name:
            event.name_iid = self._names.get(name) or self._intern(name, packet)
        return event

    def _intern(self, name: str, packet: Any) -> int:
        number = self._names[name] = len(self._names) + 1
        packet.interned_data.event_names.add(iid=number, name=name)
        return number

    def _packet(self) -> Any:
        return self._trace.packet.add(trusted_packet_sequence_id=_SEQUENCE)

    def _task(self, call: Call) -> int:
        if call.tid == 0:
            parent = self._track((_IDLE,), _IDLE)
            return self._track((_IDLE, call.cpu), f"swapper/{call.cpu}", parent)
        known = self._tracks.get((call.pid, call.tid))
        return known or self._thread(call)

    def _thread(self, call: Call) -> int:
        """The descriptor of a thread.

        That of its process comes with the first of its threads that is seen, and again with the
        name when that is another than the one which has the process's name.
        """
        if (call.pid,) not in self._tracks or call.pid == call.tid:
            described = self._descriptor((call.pid,))
            described.process.pid = call.pid
            if call.pid == call.tid:
                described.process.process_name = call.comm
        described = self._descriptor((call.pid, call.tid))
        described.thread.pid = call.pid
        described.thread.tid = call.tid
        described.thread.thread_name = call.comm
        return self._tracks[call.pid, call.tid]

    def _track(self, key: _Key, name: str, parent: int = 0) -> int:
        if key not in self._tracks:
            described = self._descriptor(key)
            described.name = name
            if parent:
                described.parent_uuid = parent
        return self._tracks[key]

    def _descriptor(self, key: _Key) -> Any:
        described = self._packet().track_descriptor
        described.uuid = self._tracks.setdefault(key, len(self._tracks) + 1)
        return described


class Lane:
    """Slices that are beside or in each other, never across, given in the order of their ends."""

    def __init__(self) -> None:
        self._outermost: list[tuple[int, int]] = []

    def takes(self, start_ns: int) -> bool:
        """True if a slice from there to now crosses no other."""
        before = next((item for item in reversed(self._outermost) if item[0] < start_ns), None)
        return before is None or before[1] <= start_ns

    def add(self, start_ns: int, end_ns: int) -> None:
        while self._outermost and self._outermost[-1][0] >= start_ns:
            self._outermost.pop()
        self._outermost.append((start_ns, end_ns))
        if len(self._outermost) > _OUTERMOST:  # the two oldest become one that nothing may cross
            self._outermost[:2] = [(self._outermost[0][0], self._outermost[1][1])]


def _annotate(annotation: Any, name: str, value: Value) -> None:
    annotation.name = name
    _fill(annotation, value)


def _fill(annotation: Any, value: Value) -> None:
    if isinstance(value, bool):
        annotation.bool_value = value
    elif isinstance(value, Pointer) and not value.errno:
        annotation.pointer_value = value
    elif type(value) is int:
        if value > _S64_MAX:
            annotation.uint_value = value
        else:
            annotation.int_value = value
    elif isinstance(value, dict):
        for name, part in value.items():
            _annotate(annotation.dict_entries.add(), name, part)
    elif isinstance(value, list):
        for part in value:
            _fill(annotation.array_values.add(), part)
    elif value is None:
        annotation.pointer_value = 0
    else:
        annotation.string_value = _words(value)


def _words(value: Value) -> str:
    """Of what has a name, an errno, or no value."""
    return value.label if isinstance(value, Named) else str(value)
