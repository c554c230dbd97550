"""Trees of which it is known at their end only whether they are wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.trace.event import Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.trace.graph_decode import GraphEvent

__all__ = ["HeldTrees"]

MOST_HELD = 500_000
"""Events of trees whose root has not ended."""


class HeldTrees:
    """Keeps the events of each tree until its root ends, and then asks `wanted` about the root.

    `dropped` counts calls that were given up, since too much was held.
    """

    def __init__(self, wanted: Callable[[Call], bool]) -> None:
        self._wanted = wanted
        self._held: dict[int, list[GraphEvent]] = {}
        self._count = 0
        self.dropped = 0

    def add(self, event: GraphEvent) -> list[GraphEvent]:
        """The events of a tree that has ended and is wanted; mostly none."""
        call = event if isinstance(event, Call) else event.call
        assert call.place is not None
        self._held.setdefault(call.place.tree, []).append(event)
        self._count += 1
        if isinstance(event, Call) and not call.place.depth:
            events = self._forget(call.place.tree)
            return events if self._wanted(call) else []
        if self._count > MOST_HELD:
            oldest = next(iter(self._held))
            self.dropped += sum(isinstance(item, Call) for item in self._forget(oldest))
        return []

    def _forget(self, tree: int) -> list[GraphEvent]:
        held = self._held.pop(tree)
        self._count -= len(held)
        return held
