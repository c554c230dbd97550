"""Notes of a graph (`fsession.trace.graph_record`), kept for the events of their calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.trace.decode import read_prints, read_string
from fsession.trace.fields import STATUS, STATUS_BYTES, Form, stack_value
from fsession.trace.graph_record import NOTE, Kind
from fsession.trace.record import STRING_BYTES
from fsession.trace.values import FAULT, LOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.trace.event import Function
    from fsession.trace.values import Unreadable, Value

__all__ = ["Notes"]

_MOST_TREES = 10_000
"""Of trees whose end was lost nothing is heard any more."""


class Notes:
    """True if there is one."""

    def __init__(self, symbol: Callable[[int], str | None]) -> None:
        self._symbol = symbol
        self._trees: dict[int, dict[tuple[int, int], bytes]] = {}

    def __bool__(self) -> bool:
        return bool(self._trees)

    def keep(self, kind: int, tree: int, order: int, record: bytes | memoryview) -> None:
        self._trees.setdefault(tree, {})[kind, order] = bytes(record)
        if len(self._trees) > _MOST_TREES:
            del self._trees[next(iter(self._trees))]

    def end(self, tree: int) -> None:
        """Its root has returned: what is left of its notes is not needed."""
        self._trees.pop(tree, None)

    def _of(self, kind: int, tree: int, order: int, *, last: bool) -> bytes:
        """A note, b"" if there is none; `last`: it is not asked for again."""
        of_tree = self._trees.get(tree, {})
        return of_tree.pop((kind, order), b"") if last else of_tree.get((kind, order), b"")

    def texts(
        self, tree: int, order: int, function: Function, words: tuple[int, ...], *, last: bool
    ) -> tuple[str | Unreadable, ...]:
        """Of the arguments of a call; () if the record was lost."""
        raw = self._of(Kind.TEXTS, tree, order, last=last)
        if not raw:
            return ()
        return tuple(
            read_string(raw, (NOTE + STRING_BYTES * place, param.length_slot), words)
            for place, param in enumerate(function.signature.strings)
        )

    def values(
        self, tree: int, order: int, function: Function, words: tuple[int, ...], *, last: bool
    ) -> dict[str, Value]:
        """What is shown of a call's arguments."""
        raw = self._of(Kind.VALUES, tree, order, last=last)
        if raw:
            return read_prints(function, raw, words, NOTE - function.layout.entry_at)
        return dict.fromkeys((field.owner or field.text for field in function.fields), LOST)

    def stack(self, tree: int, *, last: bool) -> dict[str, Value]:
        """That above a tree's root."""
        raw = self._of(Kind.STACK, tree, 0, last=last)
        if not raw:
            return {}
        (size,) = STATUS.unpack_from(raw, NOTE)
        start = NOTE + STATUS_BYTES
        frames = FAULT if size < 0 else stack_value(raw[start : start + size], self._symbol)
        return {Form.KSTACK: frames}
