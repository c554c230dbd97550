"""Folded stacks: ``icmp_rcv;icmp_echo;icmp_reply 12345``, one line for each stack, as flame graph
tools read them. The number is the time spent in the last function itself, in nanoseconds.

Calls that are not of a graph are stacks of one function.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TextIO

from fsession.sinks.forest import Forest, Tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.trace.event import Call, Summary

__all__ = ["FoldedSink", "Stacks"]


class Stacks:
    """Time by stack, as calls come; grows with the number of different stacks only."""

    def __init__(self) -> None:
        self.self_ns: Counter[tuple[str, ...]] = Counter()
        self.calls: Counter[tuple[str, ...]] = Counter()

    def add(self, tree: Tree) -> None:
        for path, own in zip(tree.paths(), tree.self_ns(), strict=True):
            self.self_ns[path] += own
            self.calls[path] += 1


class FoldedSink:
    """Writes to `out` when the trace ends."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._forest = Forest()
        self._stacks = Stacks()

    def begin(self) -> None:
        pass

    def write(self, calls: Sequence[Call]) -> None:
        for call in calls:
            if tree := self._forest.add(call):
                self._stacks.add(tree)

    def end(self, summary: Summary) -> None:
        for tree in self._forest.rest():
            self._stacks.add(tree)
        lines = sorted((";".join(path), own) for path, own in self._stacks.self_ns.items())
        self._out.write("".join(f"{path} {own}\n" for path, own in lines))
        self._out.flush()
