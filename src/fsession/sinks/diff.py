"""Two runs compared, from what ``--format json`` wrote of each, or from their calls.

::

     CALLS          SELF A CALL           CHANGE  FUNCTION
      12 →    14     1.2µs →   3.4µs   +  33.2µs  icmp_rcv

Self times are those of `sinks.totals`: outside of the calls that a call made. `CHANGE` is that of
the whole self time; the rows are in its order, the largest first.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fsession.errors import BadInputError
from fsession.frozen import frozen
from fsession.sinks.text import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fsession.trace.event import Call

__all__ = ["Run", "count_run", "diff_lines", "read_run"]


@frozen
class Run:
    """Of each function, by its label: how many calls, and their self time in all."""

    calls: dict[str, int]
    self_ns: dict[str, int]
    lost: int = 0

    def per_call_ns(self, label: str) -> int:
        count = self.calls.get(label, 0)
        return self.self_ns.get(label, 0) // count if count else 0


def read_run(lines: Iterable[str], name: str) -> Run:
    """The calls of a file. Raises `BadInputError` for what `JsonSink` does not write."""
    counted = _Counted()
    lost = 0
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if record["type"] == "summary":
                lost += record["lost"]
                continue
            place = record.get("place")
            counted.add(
                _label(record),
                int(record["duration_ns"]),
                place and (place["tree"], place["order"], place["parent"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            what = f"{name}, line {number}: no line of a trace ({error})"
            raise BadInputError(what).hint(
                "fsession graph --format json -o FILE writes them"
            ) from None
    return Run(counted.calls, counted.self_ns, lost)


def count_run(batches: Iterable[Iterable[Call]], lost: Callable[[], int]) -> Run:
    """The same of calls, of a recording; `lost` is asked when all have been read."""
    counted = _Counted()
    for batch in batches:
        for call in batch:
            place = call.place
            where = (place.tree, place.order, place.parent) if place else None
            counted.add(call.label, call.duration_ns, where)
    return Run(counted.calls, counted.self_ns, lost())


def _label(record: dict[str, Any]) -> str:
    module = record["module"]
    return f"{module}:{record['function']}" if module else str(record["function"])


class _Counted:
    """Calls and self times of functions, from calls that come at their ends."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.self_ns: dict[str, int] = {}
        self._inside: dict[int, dict[int, int]] = {}  # sums of what is below, by tree and parent

    def add(self, label: str, took_ns: int, place: tuple[int, int, int] | None) -> None:
        """`place` is tree, order, parent. Children come before their parents."""
        own_ns = took_ns if place is None else self._self_ns(took_ns, *place)
        self.calls[label] = self.calls.get(label, 0) + 1
        self.self_ns[label] = self.self_ns.get(label, 0) + own_ns

    def _self_ns(self, took_ns: int, tree: int, order: int, parent: int) -> int:
        inside = self._inside.setdefault(tree, {})
        left = took_ns - inside.pop(order, 0)
        if parent < 0:
            del self._inside[tree]
        else:
            inside[parent] = inside.get(parent, 0) + took_ns
        return max(0, left)


def diff_lines(before: Run, after: Run) -> Iterator[str]:
    """The table, without line ends."""
    yield f"{'CALLS':^16}  {'SELF A CALL':^21}  {'CHANGE':>9}  FUNCTION"
    labels = before.calls.keys() | after.calls.keys()
    changes = {
        label: after.self_ns.get(label, 0) - before.self_ns.get(label, 0) for label in labels
    }
    for label in sorted(labels, key=lambda label: (-abs(changes[label]), label)):
        counts = f"{before.calls.get(label, 0):>7} → {after.calls.get(label, 0):>6}"
        times = (
            f"{duration(before.per_call_ns(label)):>9} → {duration(after.per_call_ns(label)):>9}"
        )
        change = changes[label]
        sign = "+" if change > 0 else "-" if change < 0 else " "
        yield f"{counts}  {times}  {sign}{duration(abs(change)):>9}  {label}"
    for name, run in (("before", before), ("after", after)):
        if run.lost:
            yield f"{run.lost} calls of the run {name} have no record: they were lost"
