"""Records of a graph (`fsession.trace.graph_record`) to events."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from fsession.errors import BadInputError
from fsession.frozen import frozen
from fsession.ring import HEADER_BYTES as RING_HEADER_BYTES
from fsession.ring import runs
from fsession.trace.event import Call, Place
from fsession.trace.graph_notes_decode import Notes
from fsession.trace.graph_record import HEADER, KIND, NO_PARENT, NOTE_HEAD, SLOTS, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fsession.trace.decode import Functions
    from fsession.trace.event import Function
    from fsession.trace.values import Unreadable, Value

__all__ = ["Begun", "GraphDecoder", "GraphEvent"]

_U32 = 0xFFFF_FFFF


@frozen
class Begun:
    """A call that is under way and has made another; its end is yet to come.

    `call` has neither a duration nor a result that mean anything.
    """

    call: Call


GraphEvent = Begun | Call


class GraphDecoder:
    """Of the records of a program made for `functions`, which are asked for by their index.

    `wall_offset_ns` is CLOCK_REALTIME less CLOCK_MONOTONIC.
    """

    def __init__(
        self,
        functions: Functions,
        wall_offset_ns: int,
        symbol: Callable[[int], str | None] = lambda _: None,
    ) -> None:
        self._functions = functions
        self._wall_offset_ns = wall_offset_ns
        self._known: dict[int, tuple[Function, struct.Struct]] = {}
        self._comms: dict[bytes, str] = {}
        self._notes = Notes(symbol)

    def events(self, span: bytes | memoryview) -> Iterator[GraphEvent]:
        """Of the records of a ring buffer's `span`, as its reader's ``read_batch()`` gives it."""
        for at, step, length, count in runs(span):
            first = at + RING_HEADER_BYTES
            if length >= 0:
                for start in range(first, first + step * count, step):
                    event = self.decode(span[start : start + length])
                    if event is not None:
                        yield event

    def decode(self, record: bytes | memoryview) -> GraphEvent | None:
        """The event; None for a note, which is kept for the event that follows.

        The record's memory is not needed any more afterwards.
        """
        try:
            if record[KIND] > Kind.EXIT:  # it may be shorter than a call's
                tree, order = NOTE_HEAD.unpack_from(record)
                self._notes.keep(record[KIND], tree, order, record)
                return None
            fields = HEADER.unpack_from(record)
            tree, order, parent, begun, depth, kind, start, end, pid_tgid, cpu, index = fields[:11]
            function, slots = self._known.get(index) or self._learn(index)
            words = slots.unpack_from(record, SLOTS)
            is_exit = kind == Kind.EXIT
            strings, prints = self._noted(function, words, tree, order, last=is_exit)
        except (struct.error, IndexError) as error:
            raise BadInputError(
                f"a record of {len(record)} bytes makes no sense: {error}"
            ) from None
        above = -1 if parent == NO_PARENT else parent
        call = Call(
            function,
            start,
            end - start if is_exit else 0,
            start + self._wall_offset_ns,
            pid_tgid >> 32,
            pid_tgid & _U32,
            self._comms.get(fields[11]) or self._comm(fields[11]),
            cpu,
            words,
            fields[12],
            strings,
            prints=prints,
            place=Place(tree, order, above, depth, begun),
        )
        return call if is_exit else Begun(call)

    def _noted(
        self, function: Function, words: tuple[int, ...], tree: int, order: int, *, last: bool
    ) -> tuple[tuple[str | Unreadable, ...], dict[str, Value]]:
        """Texts of the arguments, and what is shown of them and of the tree; `last`: nothing
        follows on it."""
        strings: tuple[str | Unreadable, ...] = ()
        prints: dict[str, Value] = {}
        notes = self._notes
        if function.fields:
            prints = notes.values(tree, order, function, words, last=last)
        if notes:
            if function.signature.strings:
                strings = notes.texts(tree, order, function, words, last=last)
            if not order:
                prints = {**notes.stack(tree, last=last), **prints}
                if last:
                    notes.end(tree)
        return strings, prints

    def _learn(self, index: int) -> tuple[Function, struct.Struct]:
        """How records of a function are read, kept from its first record on."""
        function = self._functions[index]
        known = (function, struct.Struct(f"<{function.signature.shape.slots}Q"))
        self._known[index] = known
        return known

    def _comm(self, raw: bytes) -> str:
        """Names come again and again: kept, a thousand at most."""
        name = raw.partition(b"\0")[0].decode("utf-8", "backslashreplace")
        if len(self._comms) >= 1000:
            self._comms.clear()
        self._comms[raw] = name
        return name
