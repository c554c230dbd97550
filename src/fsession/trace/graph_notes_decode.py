"""Notes of a graph (`fsession.trace.graph_record`), kept for the events of their calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.trace.decode import read_string
from fsession.trace.fields import STATUS, STATUS_BYTES, Form, stack_value
from fsession.trace.graph_record import NOTE, Kind
from fsession.trace.record import STRING_BYTES
from fsession.trace.values import FAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fsession.trace.signature import Parameter
    from fsession.trace.values import Unreadable, Value

__all__ = ["Notes"]

_MOST_TREES = 10_000
"""Of trees whose end was lost nothing is heard any more."""


class Notes:
    """True if there is one."""

    def __init__(self, symbol: Callable[[int], str | None]) -> None:
        self._symbol = symbol
        self._texts: dict[int, dict[int, bytes]] = {}
        self._stacks: dict[int, bytes] = {}

    def __bool__(self) -> bool:
        return bool(self._texts or self._stacks)

    def keep(self, kind: int, tree: int, order: int, record: bytes | memoryview) -> None:
        if kind == Kind.STACK:
            self._stacks[tree] = bytes(record)
        else:
            self._texts.setdefault(tree, {})[order] = bytes(record)
        for kept in (self._stacks, self._texts):
            if len(kept) > _MOST_TREES:
                del kept[next(iter(kept))]

    def texts(
        self,
        tree: int,
        order: int,
        params: Sequence[Parameter],
        words: tuple[int, ...],
        *,
        last: bool,
    ) -> tuple[str | Unreadable, ...]:
        """Of the arguments `params` of a call; () if the record was lost."""
        of_tree = self._texts.get(tree, {})
        raw = of_tree.pop(order, b"") if last else of_tree.get(order, b"")
        if not raw:
            return ()
        return tuple(
            read_string(raw, (NOTE + STRING_BYTES * place, param.length_slot), words)
            for place, param in enumerate(params)
        )

    def of_root(self, tree: int, *, last: bool) -> dict[str, Value]:
        """What is shown of a tree; `last`: it ends."""
        raw = self._stacks.get(tree)
        if last:
            self._stacks.pop(tree, None)
            self._texts.pop(tree, None)
        if raw is None:
            return {}
        (size,) = STATUS.unpack_from(raw, NOTE)
        start = NOTE + STATUS_BYTES
        frames = FAULT if size < 0 else stack_value(raw[start : start + size], self._symbol)
        return {Form.KSTACK: frames}
