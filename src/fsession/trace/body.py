"""A session program under construction: the sides, filters, saved values, the record.

`fsession.trace.program` says how the words of a function are read, of one or of many. Made with the
IR of `fsession.lang`: each method builds at the end of the current block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.frozen import frozen
from fsession.lang.build import Builder
from fsession.lang.ir import BinaryOp, Label, Space, Test, Value
from fsession.trace.record import (
    COMM,
    COMM_BYTES,
    CPU,
    END_NS,
    NOT_SAVED,
    PID_TGID,
    START_NS,
    STRING_BYTES,
    STRING_LENGTH,
    TEXT_BYTES,
    Counts,
    Layout,
)
from fsession.uapi import FuncId

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fsession.trace.expressions import Expressions
    from fsession.trace.fields import Field
    from fsession.trace.filters import Filters
    from fsession.trace.scope import Scope

__all__ = ["COUNTS_MAP", "RING_MAP", "SAVED_AT", "Session", "Wanted", "saved_map", "zeros_map"]

RING_MAP = "calls"
COUNTS_MAP = "counts"
SAVED_AT = 8
"""Of what was saved, in a value of a saved map; in front stands the call's start time."""

_INLINE_COPY_BYTES = 96
_MAX_ERRNO = 4095  # include/linux/err.h


def saved_map(size: int) -> str:
    """Name of the map that carries `size` bytes from the entry to the exit."""
    return f"saved{size}"


def zeros_map(size: int) -> str:
    """Name of the array that a new value of `saved_map` is made from."""
    return f"zeros{size}"


@frozen
class Wanted:
    """What a program does beside sending its calls: filters, and values of expressions."""

    filters: Filters
    fields: tuple[Field, ...] = ()
    scope: Scope | None = None  # where there are expressions


class Session:
    """What the programs have in common; the two forms fill in how words are read."""

    def __init__(self, layout: Layout, wanted: Wanted) -> None:
        self.layout = layout
        self.filters = wanted.filters
        self.wanted = wanted
        self.build = Builder("fsession_calls", 1)
        self.context = self.build.function.params[0]
        self._out = self.build.block()

    def make(self) -> Builder:
        build = self.build
        entry, exit_ = build.block(), build.block()
        side = build.kfunc("bpf_session_is_return", self.context)
        build.branch(Test.NE, side, build.const(0), exit_, entry)
        build.begin(entry)
        self._entry()
        build.begin(exit_)
        self._exit()
        build.begin(self._out)
        build.give_back(build.const(0))
        return build

    def save_strings(self, area: Value) -> None:
        """At the entry: read the texts into the string areas at the address `area`."""
        raise NotImplementedError

    def failed_result(self, otherwise: Label) -> Value:
        """The result as a signed 64-bit number; to `otherwise` if it can't tell an error."""
        raise NotImplementedError

    def fill_words(self, record: Value) -> None:
        """Store function index, result and argument words to the record."""
        raise NotImplementedError

    def branch_strings(self, then: Label, other: Label) -> None:
        """To `other` if the function has no string arguments though others of the program do."""
        self.build.jump(then)

    # The entry

    def _entry(self) -> None:
        build = self.build
        self.filters.build_entry(build, self._out)
        self._require(self._conditions(at_exit=False), self._out, None)
        if self.filters.sample > 1:
            self._sample(self.filters.sample)
        saved = self._save() if self.layout.saved_bytes else None
        start = build.helper(FuncId.ktime_get_ns)
        if saved is not None:
            self._set_start(saved, start)
        cookie = build.kfunc("bpf_session_cookie", self.context)
        build.store(cookie, 0, start, 8, Space.MAP)
        build.jump(self._out)

    def _sample(self, every: int) -> None:
        """The first of each `every` calls."""
        build = self.build
        counter = build.map_value(COUNTS_MAP, Counts.SEEN)
        number = build.fetch_add(counter, 0, build.const(1), 8)
        rest = build.binary(BinaryOp.UMOD, number, build.const(every))
        taken = build.block()
        build.branch(Test.EQ, rest, build.const(0), taken, self._out)
        build.begin(taken)

    def _save(self) -> Value:
        """Read what is carried to the exit; where it is, or 0 if there is no room or no need."""
        build = self.build
        made, there, missing, done = (build.block() for _ in range(4))
        if not self.layout.entry_bytes:
            nothing = build.block()
            self.branch_strings(made, nothing)
            build.begin(nothing)
            build.jump(done, build.const(0))
        else:
            build.jump(made)
        build.begin(made)
        size = self.layout.saved_bytes
        key, saved = self._key(), build.map(saved_map(size))
        zeros, flags = build.map_value(zeros_map(size)), build.const(0)
        build.helper(FuncId.map_update_elem, saved, key, zeros, flags)
        value = build.helper(FuncId.map_lookup_elem, saved, key)
        build.branch(Test.NE, value, build.const(0), there, missing)
        build.begin(missing)
        build.jump(done, build.const(0))
        build.begin(there)
        if self.layout.entry_bytes:
            self._write_fields(self._fields(at_exit=False), value, SAVED_AT, None)
        if self.layout.strings:
            self.save_strings(build.add(value, SAVED_AT + self.layout.entry_bytes))
        build.jump(done, value)
        (result,) = build.begin(done, 1)
        return result

    def _set_start(self, saved: Value, start: Value) -> None:
        """It proves at the exit that the value is this call's."""
        build = self.build
        there, done = build.block(), build.block()
        build.branch(Test.NE, saved, build.const(0), there, done)
        build.begin(there)
        build.store(saved, 0, start, 8, Space.MAP)
        build.jump(done)
        build.begin(done)

    def _key(self) -> Value:
        """The address of the context: one for both sides of a call, and no other call's."""
        key = self.build.slot(8)
        self.build.store(key, 0, self.context, 8, Space.STACK)
        return key

    def read_string(self, area: Value, pointer: Value) -> None:
        """Read the text that `pointer` points to: in the kernel, or else in user memory.

        Which of the two a pointer means is seldom in BTF (gcc writes no ``__user``), but the
        addresses are apart on x86_64 and arm64.
        """
        build = self.build
        user, done, kernel = build.block(), build.block(), build.block()
        text, size = build.add(area, STRING_LENGTH.size), build.const(TEXT_BYTES)
        status = build.helper(FuncId.probe_read_kernel_str, text, size, pointer)
        build.branch(Test.SLT, status, build.const(0), user, kernel)
        build.begin(kernel)
        build.jump(done, status)
        build.begin(user)
        build.jump(done, build.helper(FuncId.probe_read_user_str, text, size, pointer))
        (status,) = build.begin(done, 1)
        build.store(area, 0, status, 8, Space.MAP)
        self._count_negative(status, Counts.FAULTED, unless=pointer)

    def _count_negative(self, status: Value, counter: int, *, unless: Value) -> None:
        """A text that can't be read is counted, but for that of a null pointer."""
        build = self.build
        bad, real, done = build.block(), build.block(), build.block()
        build.branch(Test.SLT, status, build.const(0), bad, done)
        build.begin(bad)
        build.branch(Test.NE, unless, build.const(0), real, done)
        build.begin(real)
        self._count(counter)
        build.jump(done)
        build.begin(done)

    # The exit

    def _exit(self) -> None:
        build = self.build
        lost, drop = build.block(), build.block()
        start = self._start()
        end = build.helper(FuncId.ktime_get_ns)
        self._filter_exit(start, end, drop)
        if self.layout.strings and not self.layout.entry_bytes:
            long, short = build.block(), build.block()
            self.branch_strings(long, short)
            build.begin(long)
            self._send(self.layout, start, end, lost, drop)
            build.begin(short)
            without = Layout(self.layout.slots, 0, self.layout.exit_bytes)
            self._send(without, start, end, lost, self._out)
        else:
            self._send(self.layout, start, end, lost, drop)
        build.begin(lost)
        self._count(Counts.LOST)
        build.jump(drop)
        build.begin(drop)
        if self.layout.saved_bytes:
            self._forget()
        build.jump(self._out)

    def _start(self) -> Value:
        """The start time; a cookie of 0 says that no entry ran."""
        build = self.build
        started, unpaired = build.block(), build.block()
        cookie = build.kfunc("bpf_session_cookie", self.context)
        start = build.load(cookie, 0, 8, Space.MAP)
        build.branch(Test.NE, start, build.const(0), started, unpaired)
        build.begin(unpaired)
        if not self.filters.at_entry and not self._conditions(at_exit=False):
            self._count(Counts.UNPAIRED)
        build.jump(self._out)
        build.begin(started)
        return start

    def _filter_exit(self, start: Value, end: Value, drop: Label) -> None:
        build = self.build
        if self.filters.min_duration_ns:
            took = build.binary(BinaryOp.SUB, end, start)
            self._go_on(Test.UGE, took, build.const(self.filters.min_duration_ns), drop)
        if self.filters.errors:
            result = self.failed_result(drop)
            self._go_on(Test.UGE, result, build.const(-_MAX_ERRNO), drop)
        self._require(self._conditions(at_exit=True), drop, lambda: self._took(start, end))

    def _took(self, start: Value, end: Value) -> Value:
        return self.build.binary(BinaryOp.SUB, end, start)

    def _go_on(self, test: Test, a: Value, b: Value, otherwise: Label) -> None:
        go_on = self.build.block()
        self.build.branch(test, a, b, go_on, otherwise)
        self.build.begin(go_on)

    def _send(self, layout: Layout, start: Value, end: Value, lost: Label, drop: Label) -> None:
        """Reserve, fill and submit a record."""
        build = self.build
        size, flags = build.const(layout.size), build.const(0)
        record = build.helper(FuncId.ringbuf_reserve, build.map(RING_MAP), size, flags)
        self._go_on(Test.NE, record, build.const(0), lost)
        build.store(record, START_NS, start, 8, Space.MAP)
        build.store(record, END_NS, end, 8, Space.MAP)
        pid_tgid = build.helper(FuncId.get_current_pid_tgid)
        build.store(record, PID_TGID, pid_tgid, 8, Space.MAP)
        cpu = build.helper(FuncId.get_smp_processor_id)
        build.store(record, CPU, cpu, 4, Space.MAP)
        comm, comm_bytes = build.add(record, COMM), build.const(COMM_BYTES)
        build.helper(FuncId.get_current_comm, comm, comm_bytes)
        self.fill_words(record)
        if layout.exit_bytes:
            duration = lambda: self._took(start, end)  # noqa: E731 -- said where it is used
            self._write_fields(self._fields(at_exit=True), record, layout.exit_at, duration)
        if layout.saved_bytes:
            self._copy_saved(layout, record, start)
        build.helper(FuncId.ringbuf_submit, record, build.const(0))
        build.jump(drop)

    def _copy_saved(self, layout: Layout, record: Value, start: Value) -> None:
        """From the map to the record, if the value's start time is this call's."""
        build = self.build
        there, same, missing, done = (build.block() for _ in range(4))
        saved = build.map(saved_map(layout.saved_bytes))
        value = build.helper(FuncId.map_lookup_elem, saved, self._key())
        build.branch(Test.NE, value, build.const(0), there, missing)
        build.begin(there)
        build.branch(Test.EQ, build.load(value, 0, 8, Space.MAP), start, same, missing)
        build.begin(same)
        self._copy(record, layout.entry_at, value, SAVED_AT, layout.saved_bytes)
        build.jump(done)
        build.begin(missing)
        self._count(Counts.UNSAVED)
        for at in self._statuses(layout):
            build.store(record, at, build.const(NOT_SAVED), 8, Space.MAP)
        build.jump(done)
        build.begin(done)

    def _copy(self, to: Value, to_at: int, source: Value, at: int, size: int) -> None:
        build = self.build
        if size > _INLINE_COPY_BYTES:
            target, place = build.add(to, to_at), build.add(source, at)
            build.helper(FuncId.probe_read_kernel, target, build.const(size), place)
            return
        for part in range(0, size, 8):
            word = build.load(source, at + part, 8, Space.MAP)
            build.store(to, to_at + part, word, 8, Space.MAP)

    def _statuses(self, layout: Layout) -> list[int]:
        """Where the states of what is carried from the entry are in a record."""
        places, at = [], layout.entry_at
        for field in self._fields(at_exit=False):
            places.append(at)
            at += field.room
        return places + [layout.strings_at + STRING_BYTES * i for i in range(layout.strings)]

    def _forget(self) -> None:
        build = self.build
        if self.layout.strings and not self.layout.entry_bytes:
            kept = build.block()
            self.branch_strings(kept, self._out)
            build.begin(kept)
        saved = build.map(saved_map(self.layout.saved_bytes))
        build.helper(FuncId.map_delete_elem, saved, self._key())

    def _count(self, offset: int) -> None:
        build = self.build
        build.atomic_add(build.map_value(COUNTS_MAP, offset), 0, build.const(1), 8)

    # Expressions

    def _fields(self, *, at_exit: bool) -> list[Field]:
        return [field for field in self.wanted.fields if field.at_exit is at_exit]

    def _conditions(self, *, at_exit: bool) -> list[str]:
        scope, sources = self.wanted.scope, self.filters.conditions
        return [one for one in sources if scope and scope.is_at_exit(one) is at_exit]

    def _expressions(self, duration: Callable[[], Value] | None) -> Expressions:
        from fsession.trace.expressions import Expressions  # pycparser takes its time

        assert self.wanted.scope is not None
        count_fault = lambda: self._count(Counts.FAULTED)  # noqa: E731 -- said where it is used
        return Expressions(
            self.wanted.scope, self.build, self.context, duration=duration, count_fault=count_fault
        )

    def _require(
        self, sources: Sequence[str], otherwise: Label, duration: Callable[[], Value] | None
    ) -> None:
        for source in sources:
            self._expressions(duration).require(source, otherwise)

    def _write_fields(
        self, fields: Sequence[Field], base: Value, at: int, duration: Callable[[], Value] | None
    ) -> None:
        for field in fields:
            self._expressions(duration).write(field, base, at)
            at += field.room
