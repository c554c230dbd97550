"""Calls as lines for people, in columns that grow with their content.

::

    TIME              DURATION   PID  COMM  CPU  CALL
    14:03:41.502113  +  12.3µs  1432  ping    1  icmp_rcv(skb=0xffff8f75c8efd300) = 0
                                                 skb->len = 84   skb->dev->name = "lo"
    3 calls · 0 lost · 0 missed · native session: 1 program, 1 link · Linux 7.2.12 x86_64

A line is written once, so a column is as wide as the longest cell so far. The mark in front of a
duration is ftrace's: see `MARKS`.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import TYPE_CHECKING, TextIO

from fsession.sinks.base import error_of, kept
from fsession.trace.values import FIRST_ERRNO, Pointer, Stack, Value, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from fsession.trace.event import Call, Function, Summary

__all__ = ["TextSink", "clock", "count", "duration", "mark", "print_lines", "summary_line"]

MARKS = (
    (0, " "),
    (10_000, "+"),
    (100_000, "!"),
    (1_000_000, "#"),
    (10_000_000, "*"),
    (100_000_000, "@"),
    (1_000_000_000, "$"),
)
"""The mark of a duration above so many ns."""

_SECOND_NS = 1_000_000_000
_ABOVE = [above for above, _ in MARKS[1:]]
_FEW_MEMBERS = 4

_HEADS = ("TIME", "DURATION", "PID", "COMM", "CPU", "CALL")
_RIGHT = (False, True, True, False, True)  # the call comes last, without a width
_RESET, _BOLD, _DIM, _RED, _YELLOW = (f"\x1b[{code}m" for code in (0, 1, 2, 31, 33))
_MARK_COLOR = {"$": _RED, "@": _RED, "*": _RED, "#": _RED, "!": _YELLOW, "+": _YELLOW}


class TextSink:
    """Writes to `out`. `color`: with ANSI colours. `quiet`: the calls alone.

    `pid_width` and `comm_width` are what a caller knows of the columns beforehand.
    """

    def __init__(
        self,
        out: TextIO,
        *,
        color: bool = False,
        quiet: bool = False,
        pid_width: int = 0,
        comm_width: int = 0,
    ) -> None:
        self._out = out
        self._color = color
        self._quiet = quiet
        self._started = False
        self._clock, self._second_ns = "", -_SECOND_NS
        self._tails: dict[int, tuple[Function, Callable[[Call], str]]] = {}
        self._whos: dict[tuple[int, str, int], str] = {}
        self._widths = [len("00:00:00.000000"), len("! 123.4µs"), 3, 4, 3]
        self._widths[2] = max(self._widths[2], pid_width)
        self._widths[3] = max(self._widths[3], comm_width)

    def begin(self) -> None:
        """Nothing is written before the first call: its width counts for the heading."""

    def write(self, calls: Sequence[Call]) -> None:
        if not calls:
            return
        widths: list[int] = []
        while widths != self._widths:  # a cell that is wider than its column: once more
            widths = list(self._widths)
            lines = self._lines(calls)
        if not self._started and not self._quiet:
            self._out.write(self._heading())
        self._started = True
        self._out.write("".join(lines))
        self._out.flush()

    def _lines(self, calls: Sequence[Call]) -> list[str]:
        """In columns that are as wide as is known so far."""
        lines: list[str] = []
        tails, whos, took_width = self._tails, self._whos, self._widths[1]
        usual = f"%s.%06d  %{took_width - 2}.1fµs  %s  %s\n"
        other = "%s.%06d  %s  %s  %s\n"
        for call in calls:
            rest_ns = call.wall_ns - self._second_ns
            if not 0 <= rest_ns < _SECOND_NS:
                rest_ns = self._tick(call.wall_ns)
            key = (call.pid, call.comm, call.cpu)
            who = whos.get(key) or self._who(*key)
            known = tails.get(id(call.traced)) or self._learn(call.traced)
            took, at_us, words = call.duration_ns, rest_ns // 1000, known[1](call)
            if took <= MARKS[1][0]:
                lines.append(usual % (self._clock, at_us, took / 1000, who, words))
            else:
                lines.append(other % (self._clock, at_us, self._took(took), who, words))
            if call.prints:
                indent = " " * sum(width + 2 for width in self._widths)
                lines += [f"{indent}{line}\n" for line in print_lines(call.prints)]
        return lines

    def _tick(self, wall_ns: int) -> int:
        """Another second: what is left above it."""
        seconds, rest_ns = divmod(wall_ns, _SECOND_NS)
        self._clock, self._second_ns = _clock(seconds), wall_ns - rest_ns
        return rest_ns

    def _who(self, pid: int, comm: str, cpu: int) -> str:
        """The columns in the middle, which are the same for many calls."""
        for column, cell in ((2, str(pid)), (3, comm), (4, str(cpu))):
            self._widen(column, cell)
        pid_width, comm_width, cpu_width = self._widths[2:]
        who = f"{pid:>{pid_width}}  {comm:<{comm_width}}  {cpu:>{cpu_width}}"
        return kept(self._whos, (pid, comm, cpu), who)

    def _widen(self, column: int, cell: str) -> None:
        """A column holds its longest cell."""
        if len(cell) > self._widths[column]:
            self._widths[column] = len(cell)
            self._whos.clear()

    def _took(self, duration_ns: int) -> str:
        """A duration with the mark of an outlier."""
        cell = f"{mark(duration_ns)} {duration(duration_ns):>7}"
        self._widen(1, cell)
        return self._paint(_MARK_COLOR[cell[0]], cell.rjust(self._widths[1]))

    def _heading(self) -> str:
        sides = zip(_HEADS, self._widths, _RIGHT, strict=False)
        cells = [head.rjust(width) if right else head.ljust(width) for head, width, right in sides]
        return self._paint(_BOLD, "  ".join([*cells, _HEADS[-1]])) + "\n"

    def _learn(self, function: Function) -> tuple[Function, Callable[[Call], str]]:
        """How calls of a function end their lines. It is kept: its id must stay its own."""
        known = self._tails[id(function)] = (function, self._tail(function))
        return known

    def _tail(self, function: Function) -> Callable[[Call], str]:
        """Name, arguments, result; texts of results are kept, since most are the same."""
        head, simple = f"{function.signature.label}(", function.simple
        shown = [(f"{name}=", slot, _shower(read)) for name, slot, read in simple or ()]
        results: dict[int, str] = {}
        is_void = not function.signature.result

        def tail(call: Call) -> str:
            words, result = call.words, 0 if is_void else call.result_word
            if simple is None:
                args = ", ".join([f"{name}={text(value)}" for name, value in call.args.items()])
            else:
                args = ", ".join([name + show(words[slot]) for name, slot, show in shown])
            return f"{head}{args}{results.get(result) or end(result)}"

        def end(word: int) -> str:
            shown = ")" if is_void else f") = {self._result(function.result(word))}"
            return kept(results, word, shown)

        return tail

    def _result(self, value: Value) -> str:
        return self._paint(_RED, text(value)) if error_of(value) else text(value)

    def end(self, summary: Summary) -> None:
        if self._quiet:
            return
        line = summary_line(summary)
        alarm = summary.lost or summary.missed
        self._out.write(self._paint(_RED, line) + "\n" if alarm else line + "\n")
        self._out.flush()

    def _paint(self, color: str, words: str) -> str:
        return f"{color}{words}{_RESET}" if self._color else words


def print_lines(prints: Mapping[str, Value]) -> Iterator[str]:
    """Values in a line; the parts of stacks and of large structs in one line each."""
    short = [f"{name} = {text(value)}" for name, value in prints.items() if not _is_long(value)]
    if short:
        yield "   ".join(short)
    for name, value in prints.items():
        if isinstance(value, Stack):
            yield from (f"  {text(frame)}" for frame in value)
        elif isinstance(value, dict) and _is_long(value):
            yield f"{name} = {{"
            yield from _members(value)
            yield "}"


def _members(struct: Mapping[str, Value]) -> Iterator[str]:
    """Those that are not 0, and how many are."""
    shown = {name: value for name, value in struct.items() if not _is_zero(value)}
    yield from (f"  .{name} = {text(value)}" for name, value in shown.items())
    zeros = len(struct) - len(shown)
    if zeros:
        yield f"  {count(zeros, 'member')} 0"


def _is_zero(value: Value) -> bool:
    if isinstance(value, dict):
        return all(map(_is_zero, value.values()))
    if isinstance(value, list):
        return all(map(_is_zero, value))
    return not value


def _is_long(value: Value) -> bool:
    return isinstance(value, Stack) or (isinstance(value, dict) and len(value) > _FEW_MEMBERS)


def clock(wall_ns: int) -> str:
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    return f"{_clock(seconds)}.{rest // 1000:06d}"


def _clock(seconds: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def _shower(read: Callable[[int], Value]) -> Callable[[int], str]:
    """From a word to its text; of an address without making a value of it first."""
    if read is not Pointer:
        return lambda word: text(read(word))
    return lambda word: f"{word:#x}" if 0 < word < FIRST_ERRNO else text(Pointer(word))


def duration(duration_ns: int) -> str:
    """With one decimal, in a unit of two characters: ``0.4µs``, ``12.3ms``, ``3.4s ``."""
    if duration_ns < 1_000_000:
        return f"{duration_ns / 1_000:.1f}µs"
    if duration_ns < 1_000_000_000:
        return f"{duration_ns / 1_000_000:.1f}ms"
    return f"{duration_ns / 1_000_000_000:.1f}s "


def mark(duration_ns: int) -> str:
    """ftrace's mark of an outlier, or a space."""
    return MARKS[bisect_left(_ABOVE, duration_ns)][1]


def summary_line(summary: Summary) -> str:
    """The last line: what was seen, lost, missed and skipped, and by which means."""
    parts = [
        *_trees(summary.trees),
        count(summary.calls, "call"),
        f"{summary.lost} lost",
        f"{summary.missed} missed",
        *_unread(summary),
        *_skipped(summary.skipped),
        f"{summary.strategy} session: {count(summary.programs, 'program')}, "
        + count(summary.links, "link"),
        summary.host,
    ]
    return " · ".join(parts)


def _unread(summary: Summary) -> list[str]:
    parts = [(summary.faulted, "faulted"), (summary.unsaved, "not kept")]
    return [f"{count(number, 'value')} {what}" for number, what in parts if number]


def _trees(trees: dict[str, int]) -> list[str]:
    """Of a graph: how many, and which of them have no end (a task died inside, or is inside)."""
    if not trees:
        return []
    left = trees["begun"] - trees["ended"]
    parts = [count(trees["begun"], "tree"), *([f"{left} without an end"] if left > 0 else [])]
    return [*parts, *([f"{trees['abandoned']} abandoned"] if trees["abandoned"] else [])]


def _skipped(skipped: dict[str, int]) -> list[str]:
    if not skipped:
        return []
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
    return [f"{count(sum(skipped.values()), 'function')} skipped: {reasons}"]


def count(number: int, noun: str) -> str:
    """``1 call``, ``2 calls``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
