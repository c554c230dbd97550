"""Graphs as a library: the calls below a function, each with its place in the tree.

    with graph("icmp_rcv") as trees:
        for call in trees:
            print("  " * call.place.depth, call.function, call.duration_ns)

Calls come when they end, so children before their parents. `Grapher.read` gives the beginnings of
calls as well, as soon as they have made a call themselves: with these a tree can be shown while it
grows.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from fsession.errors import BadInputError
from fsession.trace import Call, Function, Summary
from fsession.trace.graph_decode import GraphDecoder
from fsession.trace.graph_program import GRAPH_RING_MAP, RootFilters
from fsession.trace.graph_record import count_ends
from fsession.trace.graph_trees import HeldTrees
from fsession.trace.values import Errno, Pointer
from fsession.tracer.graph_places import close_programs
from fsession.tracer.graph_programs import GraphPrograms
from fsession.tracer.graph_selection import Extent, GraphSelection, select_graph
from fsession.tracer.graph_values import GraphValues, graph_values
from fsession.tracer.here import this_kernel, wall_offset_ns
from fsession.tracer.signatures import target_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from fsession.host import Host
    from fsession.trace.graph_decode import GraphEvent

__all__ = ["Grapher", "RootWanted", "graph"]

RING_BYTES = 8 << 20
COMM_MAX = 15  # TASK_COMM_LEN less the NUL


def graph(
    *targets: str,
    depth: int = 5,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    extra: Sequence[str] = (),
    leaf: Sequence[str] = (),
    host: Host | None = None,
    strategy: str = "auto",
    pid: int | None = None,
    tid: int | None = None,
    comm: str | None = None,
    cpu: int | None = None,
    min_duration_ns: int = 0,
    errors: bool = False,
    filter: str | Sequence[str] = (),
    stack: bool = False,
    objects: bool = False,
    expand: bool = False,
    learn: bool = False,
    max_events: int | None = None,
    ring_bytes: int = RING_BYTES,
) -> Grapher:
    """The calls below the functions that `targets` name, to be used in a ``with``.

    How far it goes is told by `depth` (levels, the roots are the first) and the others of `Extent`.
    `pid`, `tid`, `comm`, `cpu` and `filter`, expressions on the root, choose the trees that are
    begun, in the kernel; `min_duration_ns` and `errors` are about the root's end and choose the
    trees that are shown. `stack`: the kernel's stack above the root. `objects` adds what
    people want to see of arguments that point to well-known structs, `expand` the whole structs
    that arguments point to: in `Call.prints` of each call. `learn`: take in all functions
    that may be called through pointers, for `Grapher.learned`. `max_events` counts trees.
    """
    raw = None if comm is None else comm.encode()
    if raw is not None and not 0 < len(raw) <= COMM_MAX:
        raise BadInputError(f"no thread can have the name '{comm}'").hint(
            f"names of threads have 1 to {COMM_MAX} bytes: the kernel cuts longer ones"
        )
    extent = Extent(depth, tuple(include), tuple(exclude), tuple(extra), tuple(leaf))
    conditions = (filter,) if isinstance(filter, str) else tuple(filter)
    filters = RootFilters(pid, tid, raw, cpu, conditions)
    wanted = RootWanted(min_duration_ns, errors)
    return Grapher(
        targets, extent, filters, wanted, host, strategy, max_events, ring_bytes,
        stack=stack, objects=objects, expand=expand, learn=learn,
    )  # fmt: skip


class RootWanted:
    """Which trees are shown, by how their root ended."""

    def __init__(self, min_duration_ns: int = 0, errors: bool = False) -> None:
        self._min_duration_ns, self._errors = min_duration_ns, errors
        self.decides = bool(min_duration_ns or errors)

    def __call__(self, root: Call) -> bool:
        if root.duration_ns < self._min_duration_ns:
            return False
        ret = root.ret
        failed = isinstance(ret, Errno) or (isinstance(ret, Pointer) and ret.errno != 0)
        return failed or not self._errors


class Grapher:
    """Calls of trees as they are found; a context manager, attached from its start to its end.

    `summary` may be asked for at any time; it is exact after `detach` and a last `read`.
    """

    def __init__(
        self,
        targets: Sequence[str],
        extent: Extent = Extent(),  # noqa: B008 -- frozen
        filters: RootFilters = RootFilters(),  # noqa: B008 -- frozen
        wanted: RootWanted | None = None,
        host: Host | None = None,
        strategy: str = "auto",
        max_events: int | None = None,
        ring_bytes: int = RING_BYTES,
        *,
        stack: bool = False,
        objects: bool = False,
        expand: bool = False,
        learn: bool = False,
    ) -> None:
        self._names, self._extent, self._filters = tuple(targets), extent, filters
        self._wanted = wanted or RootWanted()
        self._host, self._strategy = host, strategy
        self._max_trees, self._ring_bytes = max_events, ring_bytes
        self._root_stacks, self._learn = stack, learn
        self._objects, self._expand = objects, expand
        self._learned: set[str] = set()
        self._stack = ExitStack()
        self._events: list[GraphEvent] = []
        self._held = HeldTrees(self._wanted) if self._wanted.decides else None
        self._calls = self._trees = self._ended = 0
        self._entered = False

    def __enter__(self) -> Self:
        if self._entered:
            raise BadInputError("a graph can be entered once only")
        self._entered = True
        with ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def select(self) -> GraphSelection:
        """What would be attached; attaches nothing."""
        with ExitStack() as stack:
            selection = self._select(self._host or stack.enter_context(this_kernel()))
            close_programs(selection.targets)
            return selection

    def _select(self, host: Host) -> GraphSelection:
        selection = select_graph(host, self._names, self._extent, self._strategy)
        if self._learn:
            from fsession.tracer.graph_learn import widened

            selection = widened(host, selection, self._extent)
        return selection

    def _open(self, stack: ExitStack) -> None:
        host = self._host or stack.enter_context(this_kernel())
        self.selection = self._select(host)
        stack.callback(close_programs, self.selection.targets)
        values = graph_values(self.selection, objects=self._objects, expand=self._expand)
        programs = GraphPrograms(
            host,
            self.selection,
            self._filters,
            self._ring_bytes,
            stack=self._root_stacks,
            values=values.parts,
        )
        self._programs = stack.enter_context(programs)
        self._symbol = host.symbol_at
        self._functions = _Functions(self.selection, values, self._symbol)
        self._wall_offset_ns = wall_offset_ns()
        self._record_bytes = programs.record_bytes
        self._decoder = GraphDecoder(self._functions, self._wall_offset_ns, self._symbol)
        ring = programs.maps[GRAPH_RING_MAP]
        self._ring = stack.enter_context(host.ring_buffer(ring, self._keep))
        programs.attach()
        self._host_words = host.description

    def _keep(self, record: memoryview) -> None:
        if self.is_done:
            return
        event = self._decoder.decode(record)
        if event is None:
            return
        is_call = isinstance(event, Call)
        self._calls += is_call
        if self._learn:
            self._note(event)
        is_end = isinstance(event, Call) and event.place is not None and not event.place.depth
        self._ended += is_end
        if self._held is None:
            self._trees += is_end
            self._events.append(event)
        elif wanted := self._held.add(event):
            self._trees += 1
            self._events += wanted

    def _note(self, event: GraphEvent) -> None:
        call = event if isinstance(event, Call) else event.call
        is_below = call.place is not None and 0 < call.place.depth < self._extent.depth
        if is_below and call.label in self.selection.candidates:
            self._learned.add(call.label)

    @property
    def learned(self) -> list[str]:
        """Of what may be called through pointers, what was: to be `extra` of another graph."""
        return sorted(self._learned)

    def fileno(self) -> int:
        """Readable when there may be something to `read`."""
        return self._ring.fileno()

    @property
    def is_done(self) -> bool:
        """True when `max_events` trees have been read: more will not come."""
        return self._max_trees is not None and self._trees >= self._max_trees

    def read(self, timeout_s: float | None = None) -> list[GraphEvent]:
        """What has been recorded, waiting at most `timeout_s` for the first; [] if nothing."""
        self._ring.poll(timeout_s)
        events, self._events = self._events, []
        return events

    def read_raw(self) -> bytes:
        """Records as they lie in the ring buffer, for a recording; does not wait."""
        span = self._ring.read_batch()
        ends, roots = count_ends(span, self._record_bytes)
        self._calls += ends
        self._ended += roots
        return span

    @property
    def functions(self) -> list[Function]:
        """Those of the graph, in the order of their indices in records."""
        return [self._functions[index] for index in range(len(self.selection.nodes))]

    @property
    def has_symbols(self) -> bool:
        """Whether the records have addresses to be named, beside those of arguments."""
        return self._root_stacks or any(function.has_symbols for function in self.functions)

    def symbol_at(self, address: int) -> str | None:
        """The name of an address of the kernel, ``icmp_rcv+0x12``."""
        return self._symbol(address)

    def user_symbol_at(self, _pid: int, _address: int) -> str | None:
        """Graphs have no stacks of processes."""
        return None

    @property
    def wall_offset_ns(self) -> int:
        """From the records' clock to the time since the epoch."""
        return self._wall_offset_ns

    @property
    def host(self) -> str:
        """Kernel, release, machine."""
        return self._host_words

    def __iter__(self) -> Iterator[Call]:
        """Calls as they end, for ever, or until `max_events`."""
        while not self.is_done:
            yield from (event for event in self.read() if isinstance(event, Call))

    def detach(self) -> None:
        """End the tracing; what has been recorded until now can still be read."""
        self._programs.detach()

    @property
    def summary(self) -> Summary:
        """What was seen and what was not, until now."""
        programs, counts = self._programs, self._programs.counts()
        return Summary(
            calls=self._calls + counts.lost,
            lost=counts.lost + (self._held.dropped if self._held else 0),
            missed=programs.missed + counts.missed + counts.deep + counts.stateless,
            functions=programs.functions,
            strategy=programs.strategy,
            programs=programs.program_count,
            links=programs.link_count,
            host=self._host_words,
            faulted=counts.faulted,
            skipped=dict(self.selection.skipped + programs.skipped),
            trees={
                "begun": counts.trees,
                "ended": self._ended,
                "lost_entries": counts.lost_entries,
                "too_deep": counts.deep,
                "abandoned": counts.abandoned,
                "unpaired": counts.unpaired,
            },
        )

    def close(self) -> None:
        self._stack.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Functions:
    """For the decoder: functions are made when their first record comes."""

    def __init__(
        self,
        selection: GraphSelection,
        values: GraphValues,
        symbol: Callable[[int], str | None],
    ) -> None:
        self._nodes, self._values, self._symbol = selection.nodes, values, symbol

    def __getitem__(self, index: int, /) -> Function:
        signature = target_signature(self._nodes[index].target)
        fields = self._values.fields.get(index, ())
        room = sum(field.room for field in fields)
        layout = replace(signature.layout, entry_bytes=room)
        return Function.of(signature, layout, self._symbol, fields)
