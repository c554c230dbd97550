"""Functions of graphs with their calls and times, as a table: where the time went.

::

     CALLS     TOTAL      SELF   AVERAGE       MAX  ERRORS  FUNCTION
        12   141.2µs    20.1µs    11.8µs    31.0µs       0  icmp_rcv

`SELF` is the time outside of the calls that a call made, as far as those are in the graph. `TOTAL`
counts a call inside another of the same function once, by the outer one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from fsession.frozen import frozen
from fsession.sinks.base import error_of
from fsession.sinks.forest import Forest
from fsession.sinks.text import duration, summary_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fsession.sinks.forest import Tree
    from fsession.trace.event import Call, Summary

__all__ = ["Totals", "TotalsSink", "add_tree"]

_HEADS = ("CALLS", "TOTAL", "SELF", "AVERAGE", "MAX", "ERRORS")


@frozen
class Totals:
    """Of one function. `sum_ns` is of all calls, `total_ns` of those that are in no other of it."""

    calls: int = 0
    total_ns: int = 0
    self_ns: int = 0
    sum_ns: int = 0
    max_ns: int = 0
    errors: int = 0

    @property
    def average_ns(self) -> int:
        return self.sum_ns // self.calls if self.calls else 0

    def plus(self, call: Call, self_ns: int, *, is_outer: bool) -> Totals:
        ns = call.duration_ns
        return Totals(
            self.calls + 1,
            self.total_ns + (ns if is_outer else 0),
            self.self_ns + self_ns,
            self.sum_ns + ns,
            max(self.max_ns, ns),
            self.errors + bool(not call.is_void and error_of(call.ret)),
        )


def add_tree(totals: dict[str, Totals], tree: Tree) -> None:
    """Count the calls of `tree` into `totals`, by the labels of the functions."""
    for call, path, self_ns in zip(tree.calls, tree.paths(), tree.self_ns(), strict=True):
        known = totals.get(call.label) or Totals()
        is_outer = call.label not in path[:-1]
        totals[call.label] = known.plus(call, self_ns, is_outer=is_outer)


class TotalsSink:
    """Writes the table to `out` when the trace ends."""

    def __init__(self, out: TextIO, *, quiet: bool = False) -> None:
        self._out, self._quiet = out, quiet
        self._forest = Forest()
        self._totals: dict[str, Totals] = {}

    def begin(self) -> None:
        pass

    def write(self, calls: Sequence[Call]) -> None:
        for call in calls:
            tree = self._forest.add(call)
            if tree is not None:
                add_tree(self._totals, tree)

    def end(self, summary: Summary) -> None:
        for tree in self._forest.rest():
            add_tree(self._totals, tree)
        self._out.writelines(f"{line}\n" for line in _table(self._totals))
        if not self._quiet:
            self._out.write(f"\n{summary_line(summary)}\n")
        self._out.flush()


def _table(totals: dict[str, Totals]) -> Iterator[str]:
    yield "  ".join(
        [f"{_HEADS[0]:>7}", *(f"{head:>9}" for head in _HEADS[1:5]), "ERRORS  FUNCTION"]
    )
    for label, row in sorted(totals.items(), key=lambda item: (-item[1].self_ns, item[0])):
        times = (row.total_ns, row.self_ns, row.average_ns, row.max_ns)
        cells = "  ".join(f"{duration(ns):>9}" for ns in times)
        yield f"{row.calls:>7}  {cells}  {row.errors:>6}  {label}"
