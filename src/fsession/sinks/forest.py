"""Trees of calls, put together from calls that come one by one, children before parents.

A call without a `Place` is a tree by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fsession.trace.event import Call

__all__ = ["LOST_PARENT", "Forest", "Tree"]

LOST_PARENT = "[lost]"
"""Stands for a call whose record is missing: it was lost, or the call had not returned yet."""

_MOST_HELD = 200_000


class Tree:
    """Calls of one root in the order of their entries, so that parents come before children."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls = sorted(calls, key=_order)
        self._index = {_order(call): at for at, call in enumerate(self.calls)}

    @property
    def root(self) -> Call | None:
        """None if its record is missing."""
        first = self.calls[0]
        return first if _order(first) == 0 else None

    def parent_of(self, call: Call) -> Call | None:
        """The call that made `call`; None for the root, and if its record is missing."""
        at = self._index.get(call.place.parent) if call.place else None
        return None if at is None else self.calls[at]

    def self_ns(self) -> list[int]:
        """The time that each call spent outside of the calls it made, as far as those are known."""
        own = [call.duration_ns for call in self.calls]
        for call in self.calls:
            at = self._index.get(call.place.parent) if call.place else None
            if at is not None:
                own[at] -= call.duration_ns
        return [max(0, left) for left in own]

    def paths(self) -> Iterator[tuple[str, ...]]:
        """Labels from the root to each call, in the order of `calls`."""
        known: list[tuple[str, ...]] = []
        for call in self.calls:
            parent = self._index.get(call.place.parent) if call.place else None
            if parent is not None and parent < len(known):
                above = known[parent]
            else:
                above = (LOST_PARENT,) if _order(call) else ()
            known.append((*above, call.label))
        return iter(known)


def _order(call: Call) -> int:
    return call.place.order if call.place else 0


class Forest:
    """Holds the calls of trees whose root has not returned yet, `most` at most.

    Beyond that the oldest tree is given out without its root: memory does not grow with the run.
    """

    def __init__(self, most: int = _MOST_HELD) -> None:
        self._most = most
        self._held = 0
        self._open: dict[int, list[Call]] = {}

    def add(self, call: Call) -> Tree | None:
        """The tree that `call` ends, if it ends one."""
        place = call.place
        if place is None:
            return Tree([call])
        if place.order == 0:
            return Tree([*self._take(place.tree), call])
        self._open.setdefault(place.tree, []).append(call)
        self._held += 1
        return Tree(self._take(next(iter(self._open)))) if self._held > self._most else None

    def rest(self) -> Iterator[Tree]:
        """Trees that have no root: its record was lost, or it had not returned at the end."""
        while self._open:
            yield Tree(self._take(next(iter(self._open))))

    def _take(self, tree: int) -> list[Call]:
        calls = self._open.pop(tree, [])
        self._held -= len(calls)
        return calls
