"""Graphs as trees for people, written while they grow.

::

      DURATION  icmp_rcv by ping/1432 on cpu 1 at 14:03:41.502113
                icmp_rcv(skb=0xffff8f75c8efd300) {
        0.4µs     __skb_checksum_complete(skb=0xffff8f75c8efd300) = 0
                  ... 12 records lost ...
    +  12.3µs   } = 0

A call that made no other is one line. What is missing is said where it is missing: the calls of a
tree are numbered in the order of their entries, and each end says how many there were until then.

Trees of several tasks grow at the same time. One is shown as it grows, the others when it has
ended, or when it stands still while another is complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from fsession.sinks.text import clock, count, duration, mark, print_lines, summary_line
from fsession.trace.event import Call
from fsession.trace.fields import Form
from fsession.trace.values import Errno, Pointer, Value, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.trace.event import Summary
    from fsession.trace.graph_decode import GraphEvent

__all__ = ["TreeLines", "TreeSink"]

_INDENT = "  "
_NO_TIME = " " * 9
_RESET, _BOLD, _DIM, _RED, _YELLOW = (f"\x1b[{code}m" for code in (0, 1, 2, 31, 33))
_MARK_COLOR = {"$": _RED, "@": _RED, "*": _RED, "#": _RED, "!": _YELLOW, "+": _YELLOW}


class TreeLines:
    """Lines of one tree from its events, in the order in which they were sent."""

    def __init__(self, *, color: bool = False) -> None:
        self._color = color
        self._open: list[Call] = []
        self._next = 0
        self.is_over = False
        self.lines: list[str] = []

    def add(self, event: GraphEvent) -> None:
        call = event if isinstance(event, Call) else event.call
        place = call.place
        assert place is not None
        self._close_lost(place.depth, place.order)
        if isinstance(event, Call):
            self._end(event, place.order, place.begun, place.depth)
            self.is_over = not place.depth
        else:
            self._gap(place.order, place.depth)
            self._line(_NO_TIME, place.depth, f"{_head(call)} {{")
            self._values(call, place.depth)
            self._open.append(call)
            self._next = place.order + 1

    def _end(self, call: Call, order: int, begun: int, depth: int) -> None:
        result = "" if call.is_void else f" = {self._result(call.ret)}"
        is_open = bool(self._open) and _order(self._open[-1]) == order
        if is_open:
            self._open.pop()
        elif order >= self._next:
            self._gap(order, depth)
            self._next = order + 1
        if begun > self._next:
            self._gap(begun, depth + 1)
        if is_open:
            self._line(self._time(call), depth, f"}}{result}")
        elif begun > order + 1:  # the beginning of a call that made others was lost
            self._line(self._time(call), depth, f"}} /* {_head(call)} */{result}")
            self._values(call, depth)
        else:
            self._line(self._time(call), depth, f"{_head(call)}{result}")
            self._values(call, depth)

    def _values(self, call: Call, depth: int) -> None:
        """What is shown of a call's arguments, below the line that has them."""
        for words in print_lines(_of_arguments(call)):
            self._line(_NO_TIME, depth + 1, self._paint(_DIM, f"// {words}"))

    def _close_lost(self, depth: int, order: int) -> None:
        """Calls that must have ended, since something happens above them."""
        while self._open and _depth(self._open[-1]) >= depth and _order(self._open[-1]) != order:
            left = self._open.pop()
            words = f"}} /* {left.label}: no record of its end */"
            self._line(_NO_TIME, _depth(left), self._paint(_RED, words))

    def _gap(self, order: int, depth: int) -> None:
        missing = order - self._next
        if missing > 0:
            words = f"... {count(missing, 'record')} lost ..."
            self._line(_NO_TIME, depth, self._paint(_RED, words))
            self._next = order

    def finish(self) -> None:
        """The trace is over, and the tree is not."""
        inside = ", ".join(call.label for call in self._open)
        if inside and not self.is_over:
            words = f"... not returned: {inside} ..."
            self._line(_NO_TIME, len(self._open), self._paint(_YELLOW, words))

    def _line(self, time_cell: str, depth: int, words: str) -> None:
        self.lines.append(f"{time_cell}   {_INDENT * depth}{words}\n")

    def _time(self, call: Call) -> str:
        sign = mark(call.duration_ns)
        cell = f"{sign} {duration(call.duration_ns):>7}"
        return self._paint(_MARK_COLOR[sign], cell) if sign in _MARK_COLOR else cell

    def _result(self, value: Value) -> str:
        failed = isinstance(value, Errno) or (isinstance(value, Pointer) and value.errno)
        return self._paint(_RED, text(value)) if failed else text(value)

    def _paint(self, color: str, words: str) -> str:
        return f"{color}{words}{_RESET}" if self._color else words


def _order(call: Call) -> int:
    return call.place.order if call.place else 0


def _depth(call: Call) -> int:
    return call.place.depth if call.place else 0


def _of_arguments(call: Call) -> dict[str, Value]:
    """Without the stack above a root, which stands above the tree, and null pointers."""
    return {
        name: value
        for name, value in call.prints.items()
        if name != Form.KSTACK and value is not None
    }


def _head(call: Call) -> str:
    args = ", ".join(f"{name}={text(value)}" for name, value in call.args.items())
    return f"{call.label}({args})"


class TreeSink:
    """Writes to `out`. `color`: with ANSI colours. `quiet`: the trees alone."""

    def __init__(self, out: TextIO, *, color: bool = False, quiet: bool = False) -> None:
        self._out, self._color, self._quiet = out, color, quiet
        self._trees: dict[int, TreeLines] = {}
        self._firsts: dict[int, Call] = {}
        self._roots: dict[int, str] = {}
        self._shown: int | None = None
        self._last: int | None = None
        self._continued: set[int] = set()
        self._blank = False

    def begin(self) -> None:
        """Nothing is written before the first tree."""

    def write(self, events: Sequence[GraphEvent]) -> None:
        """Beginnings and ends of calls, as they were recorded."""
        for event in events:
            call = event if isinstance(event, Call) else event.call
            assert call.place is not None
            lines = self._trees.get(call.place.tree)
            if lines is None:
                lines = self._trees[call.place.tree] = TreeLines(color=self._color)
                self._firsts[call.place.tree] = call
            if not call.place.depth:
                self._roots[call.place.tree] = call.label
            lines.add(event)
        self._flush()
        self._out.flush()

    def end(self, summary: Summary) -> None:
        for tree, lines in list(self._trees.items()):
            lines.finish()
            self._show(tree)
        if not self._quiet:
            line = summary_line(summary)
            alarm = self._color and (summary.lost or summary.missed)
            self._out.write(f"\n{_RED}{line}{_RESET}\n" if alarm else f"\n{line}\n")
        self._out.flush()

    def _flush(self) -> None:
        """What can be shown now; the tree that is shown as it grows comes first."""
        shown = self._shown
        stands_still = shown is not None and not self._trees[shown].lines
        if shown is not None and not stands_still:
            self._show(shown)
        if self._shown is None or stands_still:
            for tree in [tree for tree, lines in self._trees.items() if lines.is_over]:
                self._show(tree)
        if self._shown is None and self._trees:
            self._shown = next(iter(self._trees))
            self._show(self._shown)

    def _show(self, tree: int) -> None:
        lines = self._trees[tree]
        if lines.lines:
            if tree not in self._continued or tree != self._last:
                self._heading(tree)
            self._out.writelines(lines.lines)
            lines.lines.clear()
            self._continued.add(tree)
            self._last = tree
        if lines.is_over:
            del self._trees[tree], self._firsts[tree]
            self._roots.pop(tree, None)
            self._continued.discard(tree)
            if self._shown == tree:
                self._shown = None

    def _heading(self, tree: int) -> None:
        first = self._firsts[tree]
        root = self._roots.get(tree) or "..."
        whose = f"{first.comm}/{first.tid} on cpu {first.cpu}"
        words = f"{root} by {whose} at {clock(first.wall_ns)}"
        if tree in self._continued:
            words = f"{root} by {whose}, continued"
        line = f"{'DURATION':>9}   {words}"
        blank = "\n" if self._blank else ""
        self._blank = True
        self._out.write(f"{blank}{_BOLD}{line}{_RESET}\n" if self._color else f"{blank}{line}\n")
        if tree not in self._continued:
            stacks = first.prints.keys() & {Form.KSTACK}
            for words in print_lines({name: first.prints[name] for name in stacks}):
                self._out.write(f"{_NO_TIME}   {words}\n")
