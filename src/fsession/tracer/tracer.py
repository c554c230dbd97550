"""The tracer as a library: calls of kernel functions, one event each.

    with trace("icmp_rcv") as calls:
        for call in calls:
            print(call.function, call.args["skb"], call.ret, call.duration_ns)

It joins what lies below: `fsession.attach` finds functions and attaches to them, `fsession.trace`
makes the programs and decodes what they send. Whoever has an event loop of his own waits for
`Tracer.fileno` and calls `Tracer.read`.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Self, Unpack

from fsession.errors import BadInputError
from fsession.trace import RING_MAP, SAVED_ENTRIES, Call, Counts, Decoder, Function, Summary
from fsession.trace.event import name_user_frames
from fsession.tracer.here import this_kernel, wall_offset_ns
from fsession.tracer.programs import CallCode, Programs
from fsession.tracer.selection import Group, Selection, select
from fsession.tracer.signatures import target_signature
from fsession.tracer.wants import Wishes
from fsession.tracer.wishing import WishOptions, wishes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    import pyarrow

    from fsession.host import Host
    from fsession.kernel.user_symbols import UserSymbols

__all__ = ["AT_ONCE", "RING_BYTES", "Tracer", "trace"]

RING_BYTES = 4 << 20
AT_ONCE = 4096  # calls: what a portion needs of memory does not matter, and it is shown in a moment


def trace(
    *targets: str,
    host: Host | None = None,
    strategy: str = "auto",
    max_events: int | None = None,
    ring_bytes: int = RING_BYTES,
    saved_entries: int = SAVED_ENTRIES,
    vmlinux: str | None = None,
    **wishes: Unpack[WishOptions],
) -> Tracer:
    """A tracer of the functions that `targets` name, to be used in a ``with``.

    `pid` is a process, `tid` a thread, `comm` its name; `cpu` a number or several; `cgroup` a path
    or an id, of that cgroup and of those below; `netns` a path, name or inode. `errors` keeps only
    calls that returned a negative errno or an ``ERR_PTR``, `min_duration_ns` only long ones,
    `sample` one call of so many. `filter` are expressions that must all hold. All is decided in
    the kernel.

    `print` are expressions whose values are in `Call.prints`; `stack` and `ustack` add ``kstack``
    and ``ustack``, `objects` what people want to see of arguments that point to well-known structs
    (files, sockets, tasks), `expand` the whole structs that arguments point to. `saved_entries`
    calls can be under way at a time of which something is carried from the entry to the exit.
    `vmlinux` is a file with the kernel's debug info, for source lines in stacks.
    """
    return Tracer(
        targets, wishes_of(**wishes), host, strategy, max_events, ring_bytes, saved_entries, vmlinux
    )


class Tracer:
    """Calls as they are found; a context manager, attached from its start to its end.

    `summary` may be asked for at any time; it is exact after `detach` and a last `read`.
    """

    def __init__(
        self,
        targets: Sequence[str],
        wishes: Wishes = Wishes(),  # noqa: B008 -- frozen
        host: Host | None = None,
        strategy: str = "auto",
        max_events: int | None = None,
        ring_bytes: int = RING_BYTES,
        saved_entries: int = SAVED_ENTRIES,
        vmlinux: str | None = None,
    ) -> None:
        self._names = tuple(targets)
        self._wishes = wishes
        self._host = host
        self._strategy = strategy
        self._max_events = max_events
        self._ring_bytes = ring_bytes
        self._saved_entries = saved_entries
        self._vmlinux = vmlinux
        self._stack = ExitStack()
        self._received = 0
        self._entered = False
        self._user_symbols: UserSymbols | None = None

    def __enter__(self) -> Self:
        if self._entered:
            raise BadInputError("a tracer can be entered once only")
        self._entered = True
        with ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def select(self) -> Selection:
        """What would be attached; attaches nothing."""
        with ExitStack() as stack:
            return self._select(self._host or stack.enter_context(this_kernel()))

    def _select(self, host: Host) -> Selection:
        return select(host, self._names, self._wishes, self._strategy)

    def _open(self, stack: ExitStack) -> None:
        host = self._host or stack.enter_context(this_kernel())
        self.selection = self._select(host)
        for target in self.selection.targets:
            if target.program is not None:
                stack.callback(target.program.close)
        groups = self.selection.groups()
        code = CallCode(self._ring_bytes, self._saved_entries)
        programs = Programs(host, self.selection, groups, code)
        self._programs = stack.enter_context(programs)
        self._symbol = self._places(host, stack)
        if self._wishes.has_user_stacks:  # before there are any: a process may end soon
            from fsession.kernel.user_symbols import UserSymbols

            self._user_symbols = UserSymbols()
        self._functions = _Functions(self.selection, groups, self._symbol)
        self._wall_offset_ns = wall_offset_ns()
        self._decoder = Decoder(self._functions, self._wall_offset_ns)
        self._ring = stack.enter_context(host.ring_buffer(programs.maps[RING_MAP], _unused))
        programs.attach()
        self._host_words = host.description

    def _places(self, host: Host, stack: ExitStack) -> Callable[[int], str | None]:
        """Names of addresses, with lines of the vmlinux file that was given."""
        if self._vmlinux is None:
            return host.symbol_at
        from fsession.obj.lines import SourceLines
        from fsession.tracer.places import places

        return places(host, stack.enter_context(SourceLines(self._vmlinux)))

    def symbol_at(self, address: int) -> str | None:
        """The name of an address of the kernel, ``icmp_rcv+0x12``."""
        return self._symbol(address)

    def user_symbol_at(self, pid: int, address: int) -> str | None:
        """The name of an address of a process that is there: ``read+0x1a (libc.so.6)``."""
        return self._user_symbols.name(pid, address) if self._user_symbols else None

    def fileno(self) -> int:
        """Readable when there may be something to `read`."""
        return self._ring.fileno()

    @property
    def is_done(self) -> bool:
        """True when `max_events` calls have been read: more will not come."""
        return self._max_events is not None and self._received >= self._max_events

    def read(self, timeout_s: float | None = None, most: int | None = None) -> list[Call]:
        """Calls that have been recorded, waiting at most `timeout_s` for the first; [] if none.

        A full ring buffer has some ten thousand calls: who wants them in small portions says how
        many at `most`.
        """
        calls = self._take(most)
        if not calls and timeout_s != 0 and self._ring.wait(timeout_s):
            calls = self._take(most)
        return calls

    def _take(self, most: int | None) -> list[Call]:
        """Calls that are there, as many as are wanted."""
        if self._max_events is not None:
            left = self._max_events - self._received
            most = left if most is None else min(left, most)
        calls = list(self._decoder.calls(self._ring.read_batch(most)))
        self._received += len(calls)
        if self._wishes.has_user_stacks:
            for call in calls:
                name_user_frames(call, partial(self.user_symbol_at, call.pid))
        return calls

    def read_raw(self) -> bytes:
        """Records as they lie in the ring buffer, for a recording; does not wait.

        Calls that were read this way count for the summary, not for `max_events` exactly: there may
        be more.
        """
        before = self._ring.batched
        span = self._ring.read_batch()
        self._received += self._ring.batched - before
        return span

    @property
    def functions(self) -> list[Function]:
        """Those that are traced, in the order of their indices in records."""
        return [self._functions[index] for index in range(len(self.selection.targets))]

    @property
    def has_symbols(self) -> bool:
        """Whether the records have addresses to be named, beside those of arguments."""
        return any(function.has_symbols for function in self.functions)

    @property
    def wall_offset_ns(self) -> int:
        """From the records' clock to the time since the epoch."""
        return self._wall_offset_ns

    @property
    def host(self) -> str:
        """Kernel, release, machine."""
        return self._host_words

    def __iter__(self) -> Iterator[Call]:
        """Calls for ever, or until `max_events`."""
        while not self.is_done:
            yield from self.read(most=AT_ONCE)

    def to_arrow(self) -> pyarrow.Table:
        """Calls as a table, for notebooks: all until `max_events`, else those recorded by now.

        ``.to_pandas()`` makes a data frame of it. Needs the extra ``fsession[arrow]``.
        """
        from fsession.sinks.arrow import to_table

        return to_table(self.read(0) if self._max_events is None else self)

    def detach(self) -> None:
        """End the tracing; what has been recorded until now can still be read."""
        self._programs.detach()

    @property
    def summary(self) -> Summary:
        """What was seen and what was not, until now."""
        programs = self._programs
        lost = programs.count(Counts.LOST)
        return Summary(
            calls=self._received + lost,
            lost=lost,
            missed=max(programs.missed, programs.count(Counts.UNPAIRED)),
            functions=programs.functions,
            strategy="+".join(programs.strategies),
            programs=programs.program_count,
            links=programs.link_count,
            host=self._host_words,
            skipped=dict(self.selection.skipped + programs.skipped),
            faulted=programs.count(Counts.FAULTED),
            unsaved=programs.count(Counts.UNSAVED),
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


def _unused(_: memoryview) -> None:
    """Records are read by the span."""


class _Functions:
    """For the decoder: functions are made when their first record comes."""

    def __init__(
        self,
        selection: Selection,
        groups: Sequence[Group],
        symbol: Callable[[int], str | None],
    ) -> None:
        self._symbol = symbol
        self._targets = selection.targets
        self._groups = groups

    def __getitem__(self, index: int, /) -> Function:
        target = self._targets[index]
        group = next(group for group in self._groups if index in group.indices)
        fields = group.wanted.fields
        return Function.of(target_signature(target), group.layout, self._symbol, fields)
