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
from typing import TYPE_CHECKING, TextIO

from fsession.trace.values import Errno, Pointer, Stack, Value, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fsession.trace.event import Call, Summary

__all__ = ["TextSink", "clock", "count", "duration", "mark", "summary_line"]

MARKS = (
    (1_000_000_000, "$"),
    (100_000_000, "@"),
    (10_000_000, "*"),
    (1_000_000, "#"),
    (100_000, "!"),
    (10_000, "+"),
)
"""The mark of a duration above so many ns; below all: a space."""

UNITS = ((1_000_000_000, "s "), (1_000_000, "ms"), (1_000, "µs"))

_HEADS = ("TIME", "DURATION", "PID", "COMM", "CPU", "CALL")
_RIGHT = (False, True, True, False, True, False)
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
        self._widths = [len("00:00:00.000000"), len("! 123.4µs"), 3, 4, 3, 0]
        self._widths[2] = max(self._widths[2], pid_width)
        self._widths[3] = max(self._widths[3], comm_width)

    def begin(self) -> None:
        """Nothing is written before the first call: its width counts for the heading."""

    def write(self, calls: Sequence[Call]) -> None:
        rows = [_cells(call) for call in calls]
        for row in rows:
            self._widths = [
                max(width, len(cell)) for width, cell in zip(self._widths, row, strict=True)
            ]
        self._widths[-1] = 0
        indent = " " * sum(width + 2 for width in self._widths[:-1])
        lines = []
        for call, row in zip(calls, rows, strict=True):
            lines.append(self._line(call, row))
            if call.prints:
                lines += [indent + line for line in _prints(call.prints)]
        if not self._started and not self._quiet:
            lines.insert(0, self._paint(_BOLD, "  ".join(self._align(_HEADS))))
        self._started = True
        self._out.write("".join(f"{line}\n" for line in lines))
        self._out.flush()

    def end(self, summary: Summary) -> None:
        if self._quiet:
            return
        line = summary_line(summary)
        alarm = summary.lost or summary.missed
        self._out.write(self._paint(_RED, line) + "\n" if alarm else line + "\n")
        self._out.flush()

    def _line(self, call: Call, row: Sequence[str]) -> str:
        cells = self._align(row)
        color = _MARK_COLOR.get(row[1][0])
        if color:
            cells[1] = self._paint(color, cells[1])
        result = "" if call.is_void else f" = {self._result(call.ret)}"
        return "  ".join(cells) + result

    def _result(self, value: Value) -> str:
        failed = isinstance(value, Errno) or (isinstance(value, Pointer) and value.errno)
        return self._paint(_RED, text(value)) if failed else text(value)

    def _align(self, row: Sequence[str]) -> list[str]:
        cells = zip(row, self._widths, _RIGHT, strict=True)
        return [cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells]

    def _paint(self, color: str, words: str) -> str:
        return f"{color}{words}{_RESET}" if self._color else words


def _cells(call: Call) -> tuple[str, ...]:
    return (
        clock(call.wall_ns),
        f"{mark(call.duration_ns)} {duration(call.duration_ns):>7}",
        str(call.pid),
        call.comm,
        str(call.cpu),
        _call(call),
    )


def _prints(prints: Mapping[str, Value]) -> Iterator[str]:
    """Values in a line; what has many parts, a stack, in one line each."""
    short = [f"{name} = {text(value)}" for name, value in prints.items() if not _is_long(value)]
    if short:
        yield "   ".join(short)
    for value in filter(_is_long, prints.values()):
        assert isinstance(value, list)
        yield from (f"  {text(frame)}" for frame in value)


def _is_long(value: Value) -> bool:
    return isinstance(value, Stack)


def clock(wall_ns: int) -> str:
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{rest // 1000:06d}"


def duration(duration_ns: int) -> str:
    """With one decimal, in a unit of two characters: ``0.4µs``, ``12.3ms``, ``3.4s ``."""
    size, unit = next((row for row in UNITS if duration_ns >= row[0]), UNITS[-1])
    return f"{duration_ns / size:.1f}{unit}"


def mark(duration_ns: int) -> str:
    """ftrace's mark of an outlier, or a space."""
    return next((sign for above, sign in MARKS if duration_ns > above), " ")


def _call(call: Call) -> str:
    args = ", ".join(f"{name}={text(value)}" for name, value in call.args.items())
    return f"{call.label}({args})"


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
