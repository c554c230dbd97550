"""Two runs compared, from what ``--format json`` wrote of each.

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
    from collections.abc import Iterable, Iterator

__all__ = ["Run", "diff_lines", "read_run"]


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
    calls: dict[str, int] = {}
    own: dict[str, int] = {}
    under_way: dict[int, dict[int, int]] = {}
    lost = 0
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if record["type"] == "summary":
                lost += record["lost"]
                continue
            label = _label(record)
            calls[label] = calls.get(label, 0) + 1
            own[label] = own.get(label, 0) + _self_ns(record, under_way)
        except (ValueError, KeyError, TypeError) as error:
            what = f"{name}, line {number}: no line of a trace ({error})"
            raise BadInputError(what).hint(
                "fsession graph --format json -o FILE writes them"
            ) from None
    return Run(calls, own, lost)


def _label(record: dict[str, Any]) -> str:
    module = record["module"]
    return f"{module}:{record['function']}" if module else str(record["function"])


def _self_ns(record: dict[str, Any], under_way: dict[int, dict[int, int]]) -> int:
    """Of a call, whose children came before it: `under_way` has their sums by tree and parent."""
    took = int(record["duration_ns"])
    place = record.get("place")
    if place is None:
        return took
    inside = under_way.setdefault(place["tree"], {})
    left = took - inside.pop(place["order"], 0)
    if place["parent"] < 0:
        del under_way[place["tree"]]
    else:
        inside[place["parent"]] = inside.get(place["parent"], 0) + took
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
