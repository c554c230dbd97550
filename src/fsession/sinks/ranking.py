"""Functions ranked: a table for people, JSON for programs."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from fsession.sinks.text import duration, summary_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from fsession.trace import Summary
    from fsession.trace.counted import FunctionCounts

__all__ = ["SORTS", "RankingJson", "RankingText", "ranked"]

SORTS = {
    "time": "total_ns",
    "calls": "calls",
    "errors": "errors",
    "average": "average_ns",
}
_HEAD = f"{'CALLS':>10} {'ERRORS':>8} {'TOTAL':>9} {'AVERAGE':>9}  FUNCTION"
_CLEAR = "\x1b[H\x1b[J"


def ranked(rows: Sequence[FunctionCounts], sort: str) -> list[FunctionCounts]:
    """Those with the most of `sort` first; equal ones by name."""
    name = SORTS[sort]
    return sorted(rows, key=lambda row: (-getattr(row, name), row.function))


class RankingText:
    """A table each interval: in its place on a terminal, one below the other elsewhere."""

    def __init__(
        self, out: TextIO, sort: str, lines: int, *, live: bool = False, quiet: bool = False
    ) -> None:
        self._out = out
        self._sort = sort
        self._lines = lines
        self._live = live
        self._quiet = quiet

    def show(self, rows: Sequence[FunctionCounts]) -> None:
        """What came in one interval."""
        head = _CLEAR if self._live else ""
        self._out.write(f"{head}{time.strftime('%H:%M:%S')}\n")
        self._table(rows)
        self._out.write("" if self._live else "\n")
        self._out.flush()

    def end(self, rows: Sequence[FunctionCounts], summary: Summary) -> None:
        """The whole time."""
        if self._live:
            self._out.write(_CLEAR)
        self._table(rows)
        if not self._quiet:
            self._out.write(summary_line(summary) + "\n")
        self._out.flush()

    def _table(self, rows: Sequence[FunctionCounts]) -> None:
        self._out.write(_HEAD + "\n")
        for row in ranked(rows, self._sort)[: self._lines]:
            total, average = duration(row.total_ns), duration(round(row.average_ns))
            line = f"{row.calls:>10} {row.errors:>8} {total:>9} {average:>9}  {row.function}"
            self._out.write(line + "\n")
        if len(rows) > self._lines:
            self._out.write(f"… and {len(rows) - self._lines} functions more\n")


class RankingJson:
    """An object for each function, of each interval and then of the whole time; the summary."""

    def __init__(self, out: TextIO, sort: str) -> None:
        self._out = out
        self._sort = sort

    def show(self, rows: Sequence[FunctionCounts]) -> None:
        self._rows(rows, {"type": "interval", "time": time.time()})

    def end(self, rows: Sequence[FunctionCounts], summary: Summary) -> None:
        self._rows(rows, {"type": "function"})
        facts = {name: getattr(summary, name) for name in summary.__dataclass_fields__}
        self._out.write(json.dumps({"type": "summary", **facts}) + "\n")
        self._out.flush()

    def _rows(self, rows: Sequence[FunctionCounts], head: dict[str, object]) -> None:
        for row in ranked(rows, self._sort):
            facts = {
                "function": row.function,
                "calls": row.calls,
                "errors": row.errors,
                "total_ns": row.total_ns,
            }
            self._out.write(json.dumps(head | facts) + "\n")
        self._out.flush()
