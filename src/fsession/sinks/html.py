"""Calls as one page that needs nothing else: call tree, flame graph, histograms, slowest calls.

The page (`page/`: a frame, its style, its script) gets its data as JSON. Memory does not grow with
the run: all calls count in the flame graph, the histograms and the table of functions, the slowest
are kept, and the first `LISTED` are listed one by one.
"""

from __future__ import annotations

import heapq
import json
from dataclasses import field, fields
from importlib.resources import files
from itertools import count
from typing import TYPE_CHECKING, Any, TextIO

from fsession.frozen import slotted
from fsession.sinks.base import error_of
from fsession.sinks.folded import Stacks
from fsession.sinks.forest import Forest, Tree
from fsession.sinks.text import clock, summary_line
from fsession.trace.values import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.trace.event import Call, Summary

__all__ = ["LISTED", "SLOWEST", "HtmlSink"]

LISTED = 20_000
SLOWEST = 100


@slotted
class Totals:
    """Of a function. `buckets` counts durations by the power of two above them, in ns."""

    calls: int = 0
    total: int = 0
    self: int = 0
    max: int = 0
    errors: int = 0
    buckets: dict[int, int] = field(default_factory=dict)

    def add(self, call: Call, self_ns: int) -> None:
        took = call.duration_ns
        self.calls += 1
        self.total += took
        self.self += self_ns
        self.max = max(self.max, took)
        self.errors += bool(error_of(call.ret))
        power = took.bit_length()
        self.buckets[power] = self.buckets.get(power, 0) + 1


_FACTS = tuple(item.name for item in fields(Totals))


class HtmlSink:
    """Writes the page to `out` when the trace ends."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._forest = Forest()
        self._stacks = Stacks()
        self._totals: dict[str, Totals] = {}
        self._slowest: list[tuple[int, int, Call]] = []
        self._numbers = count()
        self._trees: list[dict[str, Any]] = []
        self._listed = 0
        self._calls = 0

    def begin(self) -> None:
        pass

    def write(self, calls: Sequence[Call]) -> None:
        for call in calls:
            if tree := self._forest.add(call):
                self._add(tree)

    def _add(self, tree: Tree) -> None:
        self._stacks.add(tree)
        for call, self_ns in zip(tree.calls, tree.self_ns(), strict=True):
            self._calls += 1
            totals = self._totals.get(call.label)
            if totals is None:
                totals = self._totals[call.label] = Totals()
            totals.add(call, self_ns)
            self._keep_if_slow(call)
        if self._listed < LISTED:
            self._list(tree)

    def _keep_if_slow(self, call: Call) -> None:
        if len(self._slowest) < SLOWEST:
            heapq.heappush(self._slowest, (call.duration_ns, -next(self._numbers), call))
        elif call.duration_ns > self._slowest[0][0]:
            heapq.heapreplace(self._slowest, (call.duration_ns, -next(self._numbers), call))

    def _list(self, tree: Tree) -> None:
        """Add the tree to those listed; calls without a known parent stand for themselves."""
        rows: dict[int, dict[str, Any]] = {}
        for call in tree.calls:
            row = rows[id(call)] = _row(call)
            parent = tree.parent_of(call)
            above = rows.get(id(parent)) if parent else None
            (self._trees if above is None else above["children"]).append(row)
        self._listed += len(tree.calls)

    def end(self, summary: Summary) -> None:
        for tree in self._forest.rest():
            self._add(tree)
        data = {
            "summary": summary_line(summary),
            "incomplete": bool(summary.lost or summary.missed),
            "calls": self._calls,
            "listed": self._listed,
            "functions": self._functions(),
            "stacks": _frames(self._stacks),
            "slowest": [_row(call) for *_, call in sorted(self._slowest, reverse=True)],
            "trees": self._trees,
        }
        self._out.write(_page(f"fsession: {', '.join(self._totals)}", data))
        self._out.flush()

    def _functions(self) -> list[dict[str, Any]]:
        """The one that took most time comes first."""
        ordered = sorted(self._totals.items(), key=lambda item: -item[1].total)
        return [
            {name: getattr(totals, name) for name in _FACTS} | {"name": label}
            for label, totals in ordered
        ]


def _row(call: Call) -> dict[str, Any]:
    return {
        "name": call.label,
        "args": ", ".join(f"{name}={text(value)}" for name, value in call.args.items()),
        "ret": None if call.is_void else text(call.ret),
        "prints": "   ".join(f"{name} = {text(value)}" for name, value in call.prints.items()),
        "failed": bool(error_of(call.ret)),
        "took": call.duration_ns,
        "time": clock(call.wall_ns),
        "task": f"{call.comm}/{call.tid}",
        "cpu": call.cpu,
        "children": [],
    }


def _frames(stacks: Stacks) -> list[dict[str, Any]]:
    """The stacks as frames in each other; a frame's total is its own time and its children's."""
    top: dict[str, Any] = {"children": {}}
    for path, self_ns in stacks.self_ns.items():
        frame = top
        for name in path:
            frame = frame["children"].setdefault(
                name, {"name": name, "self": 0, "calls": 0, "children": {}}
            )
        frame["self"] += self_ns
        frame["calls"] += stacks.calls[path]
    return _sum_up(top)


def _sum_up(frame: dict[str, Any]) -> list[dict[str, Any]]:
    """The children as a list, each with its total, the longest first."""
    children: list[dict[str, Any]] = []
    for child in frame["children"].values():
        inner = _sum_up(child)
        total = child["self"] + sum(item["total"] for item in inner)
        children.append(child | {"children": inner, "total": total})
    return sorted(children, key=lambda child: -child["total"])


def _page(title: str, data: dict[str, Any]) -> str:
    """The frame with its parts put in. In a script of HTML no ``<`` may stand."""
    parts = files("fsession.sinks") / "page"
    encoded = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    short = title if len(title) <= 80 else title[:79] + "…"
    values = {
        "title": short.replace("&", "&amp;").replace("<", "&lt;"),
        "style": (parts / "page.css").read_text(encoding="utf-8"),
        "script": (parts / "page.js").read_text(encoding="utf-8"),
        "data": encoded,
    }
    page = (parts / "page.html").read_text(encoding="utf-8")
    before, *rest = page.split("{{")
    for part in rest:
        name, _, behind = part.partition("}}")
        before += values[name] + behind
    return before
