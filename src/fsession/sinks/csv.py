"""Calls as comma-separated values: a heading, one row a call.

Arguments are one column, as they are written in the text. The columns of a call's place in a graph
are empty for calls that are not of one.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, TextIO

from fsession.sinks.base import error_of
from fsession.trace.values import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.trace.event import Call, Summary

__all__ = ["COLUMNS", "CsvSink"]

COLUMNS = (
    "time_ns", "start_ns", "duration_ns", "pid", "tid", "comm", "cpu", "module", "function",
    "args", "ret", "error", "prints", "tree", "order", "parent", "depth",
)  # fmt: skip


class CsvSink:
    """Writes to `out` as the calls come."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._rows = csv.writer(out, lineterminator="\n")

    def begin(self) -> None:
        self._rows.writerow(COLUMNS)

    def write(self, calls: Sequence[Call]) -> None:
        self._rows.writerows(map(_row, calls))
        self._out.flush()

    def end(self, summary: Summary) -> None:
        self._out.flush()


def _row(call: Call) -> tuple[object, ...]:
    args = ", ".join(f"{name}={text(value)}" for name, value in call.args.items())
    prints = ", ".join(f"{name}={text(value)}" for name, value in call.prints.items())
    ret = call.ret
    place = call.place
    return (
        call.wall_ns, call.start_ns, call.duration_ns, call.pid, call.tid, call.comm, call.cpu,
        call.module, call.function, args, "" if call.is_void else text(ret), error_of(ret), prints,
        *((place.tree, place.order, place.parent, place.depth) if place else ("", "", "", "")),
    )  # fmt: skip
