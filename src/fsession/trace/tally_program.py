"""The generated BPF side of `hist` and `top`: sessions that count in the maps of `tally`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.lang.build import Builder
from fsession.lang.emit import emit
from fsession.lang.ir import BinaryOp, Label, Space, Test, Value
from fsession.lang.link import finish
from fsession.spec import ProgramSpec
from fsession.trace.fields import STATUS_BYTES
from fsession.trace.record import NOT_SAVED
from fsession.trace.signature import Failure
from fsession.trace.tally import (
    CELL,
    COUNTS_MAP,
    SAVED_MAP,
    TALLY_MAP,
    ZEROS_MAP,
    Hist,
    TallyCounts,
)
from fsession.uapi import AttachType, FuncId, ProgType, UpdateFlag

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.trace.body import Wanted
    from fsession.trace.expressions import Expressions
    from fsession.trace.fields import Field
    from fsession.trace.signature import Signature
    from fsession.trace.tally import Top

__all__ = ["tally_program"]

_WORD = 8
_MAX_ERRNO = 4095  # include/linux/err.h
_COOKIE_FAILURE = 48  # as `trace.program.attach_cookie` has it
_U32 = 0xFFFF_FFFF


def tally_program(tally: Hist | Top, function: Signature | None, index: int = 0) -> ProgramSpec:
    """A session for one function, or, without one, for many by a multi link."""
    words = _One(function, index) if function else _Many()
    maker = _HistSession(tally, words) if isinstance(tally, Hist) else _TopSession(tally, words)
    made = maker.make().function
    finish(made)
    code = emit(made)
    return ProgramSpec(
        name=function.function if function else "fsession_tally",
        type=ProgType.TRACING,
        insns=tuple(code.insns),
        attach_type=AttachType.TRACE_FSESSION if function else AttachType.TRACE_FSESSION_MULTI,
        target=function.label if function else "",
        relocs=tuple(code.relocs),
    )


class _One:
    """What a program for one function knows when it is made."""

    def __init__(self, function: Signature, index: int) -> None:
        self._function = function
        self._index = index

    def index(self, build: Builder, _: Value) -> Value:
        return build.const(self._index)

    def failed(self, build: Builder, context: Value, no: Label) -> None:
        """Go on where the result is an error, to `no` where it is none."""
        function = self._function
        if function.failure == Failure.NONE:
            build.jump(no)
            build.begin(build.block())
            return
        if function.direct_result:
            slot = function.layout.slots
            result = build.load(context, _WORD * slot, _WORD, Space.CTX)
        else:
            result = _func_ret(build, context)
        if function.failure == Failure.INT:
            result = build.extend(result, 32, signed=True)
        _go_on(build, Test.UGE, result, build.const(-_MAX_ERRNO), no)


class _Many:
    """The same from the attach cookie of each function."""

    def index(self, build: Builder, context: Value) -> Value:
        return build.binary(BinaryOp.AND, _attach_cookie(build, context), build.const(_U32))

    def failed(self, build: Builder, context: Value, no: Label) -> None:
        shift = build.const(_COOKIE_FAILURE)
        kind = build.binary(BinaryOp.LSHR, _attach_cookie(build, context), shift)
        kind = build.binary(BinaryOp.AND, kind, build.const(3))
        _go_on(build, Test.NE, kind, build.const(Failure.NONE), no)
        result = _func_ret(build, context)
        narrow, wide, done = build.block(), build.block(), build.block()
        build.branch(Test.EQ, kind, build.const(Failure.INT), narrow, wide)
        build.begin(narrow)
        build.jump(done, build.extend(result, 32, signed=True))
        build.begin(wide)
        build.jump(done, result)
        (result,) = build.begin(done, 1)
        _go_on(build, Test.UGE, result, build.const(-_MAX_ERRNO), no)


class _Session:
    """Both sides, with the filters; what is counted at the exit is filled in."""

    def __init__(self, wanted: Wanted, words: _One | _Many) -> None:
        self.wanted = wanted
        self.filters = wanted.filters
        self.words = words
        self.build = Builder("fsession_tally", 1)
        self.context = self.build.function.params[0]
        self.out = self.build.block()

    def make(self) -> Builder:
        build = self.build
        entry, exit_ = build.block(), build.block()
        side = build.kfunc("bpf_session_is_return", self.context)
        build.branch(Test.NE, side, build.const(0), exit_, entry)
        build.begin(entry)
        self.filters.build_entry(build, self.out)
        self._require(at_exit=False, otherwise=self.out, duration=None)
        self.entry()
        build.begin(exit_)
        self.exit()
        build.begin(self.out)
        build.give_back(build.const(0))
        return build

    def entry(self) -> None:
        """Behind the filters of the entry; ends the block."""
        self.start_call()

    def exit(self) -> None:
        """Ends the block."""
        raise NotImplementedError

    def start_call(self) -> Value:
        """Put the time into the cookie, and leave."""
        build = self.build
        start = build.helper(FuncId.ktime_get_ns)
        cookie = build.kfunc("bpf_session_cookie", self.context)
        build.store(cookie, 0, start, 8, Space.MAP)
        build.jump(self.out)
        return start

    def end_call(self) -> tuple[Value, Value]:
        """Start and duration of a call whose entry ran."""
        build = self.build
        started, unpaired = build.block(), build.block()
        cookie = build.kfunc("bpf_session_cookie", self.context)
        start = build.load(cookie, 0, 8, Space.MAP)
        build.branch(Test.NE, start, build.const(0), started, unpaired)
        build.begin(unpaired)
        if not self.filters.at_entry and not self._conditions(at_exit=False):
            self.count(TallyCounts.UNPAIRED)
        build.jump(self.out)
        build.begin(started)
        end = build.helper(FuncId.ktime_get_ns)
        return start, build.binary(BinaryOp.SUB, end, start)

    def filter_exit(self, duration: Value, otherwise: Label) -> None:
        build = self.build
        least = self.filters.min_duration_ns
        if least:
            _go_on(build, Test.UGE, duration, build.const(least), otherwise)
        if self.filters.errors:
            self.words.failed(build, self.context, otherwise)
        self._require(at_exit=True, otherwise=otherwise, duration=lambda: duration)

    def expressions(self, duration: Callable[[], Value] | None) -> Expressions:
        from fsession.trace.expressions import Expressions  # pycparser takes its time

        assert self.wanted.scope is not None
        return Expressions(
            self.wanted.scope,
            self.build,
            self.context,
            duration=duration,
            count_fault=lambda: self.count(TallyCounts.FAULTED),
        )

    def count(self, offset: int) -> None:
        build = self.build
        build.atomic_add(build.map_value(COUNTS_MAP, offset), 0, build.const(1), 8)

    def _conditions(self, *, at_exit: bool) -> list[str]:
        scope, sources = self.wanted.scope, self.filters.conditions
        return [one for one in sources if scope and scope.is_at_exit(one) is at_exit]

    def _require(
        self, *, at_exit: bool, otherwise: Label, duration: Callable[[], Value] | None
    ) -> None:
        for source in self._conditions(at_exit=at_exit):
            self.expressions(duration).require(source, otherwise)


class _TopSession(_Session):
    def __init__(self, top: Top, words: _One | _Many) -> None:
        super().__init__(top.wanted, words)

    def exit(self) -> None:
        build = self.build
        _, duration = self.end_call()
        self.filter_exit(duration, self.out)
        key = build.slot(4)
        build.store(key, 0, self.words.index(build, self.context), 4, Space.STACK)
        row = build.helper(FuncId.map_lookup_elem, build.map(TALLY_MAP), key)
        _go_on(build, Test.NE, row, build.const(0), self.out)
        build.atomic_add(row, 0, build.const(1), 8)
        build.atomic_add(row, 16, duration, 8)
        self.words.failed(build, self.context, self.out)
        build.atomic_add(row, 8, build.const(1), 8)
        build.jump(self.out)


class _HistSession(_Session):
    def __init__(self, hist: Hist, words: _One | _Many) -> None:
        super().__init__(hist.wanted, words)
        self.hist = hist

    def entry(self) -> None:
        hist = self.hist
        if not hist.at_exit:
            self._tally(None, 0)
            return
        if hist.saved:
            self._save()
        else:
            self.start_call()

    def exit(self) -> None:
        build, hist = self.build, self.hist
        if not hist.at_exit:
            build.jump(self.out)
            return
        start, duration = self.end_call()
        drop = build.block() if hist.saved else self.out
        self.filter_exit(duration, drop)
        self._tally(duration, start)
        if hist.saved:
            build.begin(drop)
            self._forget()
            build.jump(self.out)

    # Numbers and keys

    def _tally(self, duration: Value | None, start: Value | int) -> None:
        """Count this call; ends the block."""
        hist, build = self.hist, self.build
        end = build.block()
        saved = self._find_saved(Value(start)) if hist.saved else None
        number = self._number(duration, saved, end)
        index = hist.buckets.index(build, number)
        if not hist.has_keys:
            key = build.slot(4)
            build.store(key, 0, index, 4, Space.STACK)
            cell = build.helper(FuncId.map_lookup_elem, build.map(TALLY_MAP), key)
            _go_on(build, Test.NE, cell, build.const(0), self.out)
        else:
            cell = self._cell(self._key(index, duration, saved), end)
        build.atomic_add(cell, 0, build.const(1), 8)
        build.atomic_add(cell, 8, number, 8)
        build.jump(end)
        build.begin(end)
        if saved is not None:
            self._forget()
        build.jump(self.out)

    def _number(self, duration: Value | None, saved: Value | None, end: Label) -> Value:
        build, value = self.build, self.hist.value
        if value is None:
            assert duration is not None
            return duration
        fault, done = build.block(), build.block()
        if saved is not None and not value.at_exit:
            _go_on(build, Test.NE, saved, build.const(0), end)
            status = build.load(saved, _WORD, 8, Space.MAP)
            _go_on(build, Test.EQ, status, build.const(0), end)
            return build.load(saved, _WORD + STATUS_BYTES, 8, Space.MAP)
        known = None if duration is None else lambda: duration
        found = self.expressions(known).number(value.text, fault)
        build.jump(done)
        build.begin(fault)
        self.count(TallyCounts.FAULTED)
        build.jump(end)
        build.begin(done)
        return found.value

    def _key(self, index: Value, duration: Value | None, saved: Value | None) -> Value:
        """The key on the stack, without a byte that is not known."""
        build, hist = self.build, self.hist
        key = build.slot(hist.key_bytes)
        for at in range(0, hist.key_bytes, _WORD):
            build.store(key, at, build.const(0), _WORD, Space.MAP)
        build.store(key, 0, index, _WORD, Space.MAP)
        at = _WORD
        if hist.by_function:
            build.store(key, at, self.words.index(build, self.context), _WORD, Space.MAP)
            at += _WORD
        known = None if duration is None else lambda: duration
        for one in hist.keys:
            if one in hist.saved:
                assert saved is not None
                self._copy(saved, self._saved_at(one), key, at, one)
            else:
                self.expressions(known).write(one, key, at)
            at += one.room
        return key

    def _cell(self, key: Value, end: Label) -> Value:
        """The element of this key, made if it is not there."""
        build = self.build
        tally = build.map(TALLY_MAP)
        found = build.helper(FuncId.map_lookup_elem, tally, key)
        new, full, there = build.block(), build.block(), build.block()
        has = build.block()
        build.branch(Test.NE, found, build.const(0), has, new)
        build.begin(has)
        build.jump(there, found)
        build.begin(new)
        zeros = build.slot(CELL.size)
        for at in range(0, CELL.size, _WORD):
            build.store(zeros, at, build.const(0), _WORD, Space.MAP)
        only_new = build.const(UpdateFlag.NOEXIST)
        build.helper(FuncId.map_update_elem, tally, key, zeros, only_new)
        again = build.helper(FuncId.map_lookup_elem, tally, key)
        made = build.block()
        build.branch(Test.NE, again, build.const(0), made, full)
        build.begin(made)
        build.jump(there, again)
        build.begin(full)
        self.count(TallyCounts.FULL)
        build.jump(end)
        (cell,) = build.begin(there, 1)
        return cell

    # What is carried from the entry to the exit: the start time, then the fields

    def _saved_at(self, wanted: Field) -> int:
        at = _WORD
        for one in self.hist.saved:
            if one is wanted:
                break
            at += one.room
        return at

    def _save(self) -> None:
        build = self.build
        saved, key, zeros = build.map(SAVED_MAP), self._address(), build.map_value(ZEROS_MAP)
        build.helper(FuncId.map_update_elem, saved, key, zeros, build.const(0))
        value = build.helper(FuncId.map_lookup_elem, saved, key)
        there, missing = build.block(), build.block()
        build.branch(Test.NE, value, build.const(0), there, missing)
        build.begin(missing)
        self.start_call()
        build.begin(there)
        for one in self.hist.saved:
            self.expressions(None).write(one, value, self._saved_at(one))
        start = build.helper(FuncId.ktime_get_ns)
        build.store(value, 0, start, 8, Space.MAP)
        cookie = build.kfunc("bpf_session_cookie", self.context)
        build.store(cookie, 0, start, 8, Space.MAP)
        build.jump(self.out)

    def _find_saved(self, start: Value) -> Value:
        """What the entry saved, or 0; its start time proves that it is this call's."""
        build = self.build
        value = build.helper(FuncId.map_lookup_elem, build.map(SAVED_MAP), self._address())
        there, mine, missing, done = (build.block() for _ in range(4))
        build.branch(Test.NE, value, build.const(0), there, missing)
        build.begin(there)
        build.branch(Test.EQ, build.load(value, 0, 8, Space.MAP), start, mine, missing)
        build.begin(mine)
        build.jump(done, value)
        build.begin(missing)
        self.count(TallyCounts.UNSAVED)
        build.jump(done, build.const(0))
        (found,) = build.begin(done, 1)
        return found

    def _copy(self, saved: Value, at: int, key: Value, to: int, one: Field) -> None:
        build = self.build
        there, missing, done = build.block(), build.block(), build.block()
        build.branch(Test.NE, saved, build.const(0), there, missing)
        build.begin(there)
        for part in range(0, one.room, _WORD):
            word = build.load(saved, at + part, _WORD, Space.MAP)
            build.store(key, to + part, word, _WORD, Space.MAP)
        build.jump(done)
        build.begin(missing)
        build.store(key, to, build.const(NOT_SAVED), _WORD, Space.MAP)
        build.jump(done)
        build.begin(done)

    def _forget(self) -> None:
        build = self.build
        build.helper(FuncId.map_delete_elem, build.map(SAVED_MAP), self._address())

    def _address(self) -> Value:
        """The context's address: one for both sides of a call, and no other call's."""
        key = self.build.slot(_WORD)
        self.build.store(key, 0, self.context, _WORD, Space.STACK)
        return key


def _go_on(build: Builder, test: Test, a: Value, b: Value, otherwise: Label) -> None:
    go_on = build.block()
    build.branch(test, a, b, go_on, otherwise)
    build.begin(go_on)


def _attach_cookie(build: Builder, context: Value) -> Value:
    return build.helper(FuncId.get_attach_cookie, context, pure=True)


def _func_ret(build: Builder, context: Value) -> Value:
    at = build.slot(_WORD)
    build.store(at, 0, build.const(0), _WORD, Space.STACK)
    build.helper(FuncId.get_func_ret, context, at)
    return build.load(at, 0, _WORD, Space.STACK)
