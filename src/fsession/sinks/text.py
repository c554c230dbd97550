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

from fsession.sinks.base import error_of
from fsession.trace.values import Stack, Value, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fsession.trace.event import Call, Function, Summary

__all__ = ["TextSink", "clock", "count", "duration", "mark", "summary_line"]

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
        self._second, self._clock = -1, ""
        self._heads: dict[int, tuple[Function, str]] = {}
        self._widths = [len("00:00:00.000000"), len("! 123.4µs"), 3, 4, 3]
        self._widths[2] = max(self._widths[2], pid_width)
        self._widths[3] = max(self._widths[3], comm_width)

    def begin(self) -> None:
        """Nothing is written before the first call: its width counts for the heading."""

    def write(self, calls: Sequence[Call]) -> None:
        if not calls:
            return
        rows = [self._cells(call) for call in calls]
        self._widen(rows)
        template, took_width = self._template(), self._widths[1]
        indent = " " * sum(width + 2 for width in self._widths)
        lines = [] if self._started or self._quiet else [self._heading()]
        for call, row in zip(calls, rows, strict=True):
            lines.append(template % (self._colored(call, row, took_width) if self._color else row))
            if call.prints:
                lines += [f"{indent}{line}\n" for line in _prints(call.prints)]
        self._started = True
        self._out.write("".join(lines))
        self._out.flush()

    def _widen(self, rows: Sequence[tuple[str, ...]]) -> None:
        """All columns but the last hold the longest cells."""
        columns = zip(self._widths, zip(*rows, strict=True), strict=False)
        self._widths = [max(width, *map(len, column)) for width, column in columns]

    def _template(self) -> str:
        """Of a line with its cells in columns, for ``%``."""
        sides = zip(self._widths, _RIGHT, strict=True)
        columns = [f"%{width}s" if right else f"%-{width}s" for width, right in sides]
        return "  ".join([*columns, "%s%s\n"])

    def _heading(self) -> str:
        line = (self._template() % (*_HEADS, "")).rstrip("\n")
        return self._paint(_BOLD, line) + "\n"

    def _cells(self, call: Call) -> tuple[str, ...]:
        seconds, rest = divmod(call.wall_ns, 1_000_000_000)
        if seconds != self._second:
            self._second, self._clock = seconds, _clock(seconds)
        known = self._heads.get(id(call.traced)) or self._learn(call.traced)
        args = ", ".join([f"{name}={text(value)}" for name, value in call.args.items()])
        return (
            f"{self._clock}.{rest // 1000:06d}",
            _took(call.duration_ns),
            str(call.pid),
            call.comm,
            str(call.cpu),
            f"{known[1]}({args})",
            "" if call.is_void else f" = {text(call.ret)}",
        )

    def _learn(self, function: Function) -> tuple[Function, str]:
        """The label of a function, which is kept: its id must stay its own."""
        known = self._heads[id(function)] = (function, function.signature.label)
        return known

    def _colored(self, call: Call, row: tuple[str, ...], took_width: int) -> tuple[str, ...]:
        """Outliers and errors; colours have no width, so the cell is filled up before."""
        clock, took, pid, comm, cpu, words, result = row
        color = _MARK_COLOR.get(took[0])
        if color:
            took = self._paint(color, took.rjust(took_width))
        if error_of(call.ret):
            result = f" = {self._paint(_RED, text(call.ret))}"
        return clock, took, pid, comm, cpu, words, result

    def end(self, summary: Summary) -> None:
        if self._quiet:
            return
        line = summary_line(summary)
        alarm = summary.lost or summary.missed
        self._out.write(self._paint(_RED, line) + "\n" if alarm else line + "\n")
        self._out.flush()

    def _paint(self, color: str, words: str) -> str:
        return f"{color}{words}{_RESET}" if self._color else words


def _prints(prints: Mapping[str, Value]) -> Iterator[str]:
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


def _took(duration_ns: int) -> str:
    """The mark and the duration, in the width that most need."""
    if duration_ns <= MARKS[1][0]:
        return f"  {duration_ns / 1_000:5.1f}µs"  # the usual case
    return f"{mark(duration_ns)} {duration(duration_ns):>7}"


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
