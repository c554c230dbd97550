"""Records (`fsession.trace.record`) to `Call` events."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from fsession.errors import BadInputError
from fsession.trace.event import Call, Function
from fsession.trace.record import (
    HEADER,
    HEADER_BYTES,
    NOT_SAVED,
    STRING_BYTES,
    STRING_LENGTH,
    TEXT_BYTES,
    Layout,
)
from fsession.trace.values import FAULT, LOST, Unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Decoder"]

_U32 = 0xFFFF_FFFF


class Decoder:
    """Of the records of programs made for `functions`, in their order.

    `layout` is that of a multi program, whose records have room for the largest function; None:
    each function's own. `wall_offset_ns` is CLOCK_REALTIME less CLOCK_MONOTONIC.
    """

    def __init__(
        self,
        functions: Sequence[Function],
        wall_offset_ns: int,
        layout: Layout | None = None,
    ) -> None:
        self._functions = functions
        self._wall_offset_ns = wall_offset_ns
        self._slots = [_slots(function) for function in functions]
        self._strings_at = [_strings_at(function, layout) for function in functions]
        self._comms: dict[bytes, str] = {}

    def decode(self, record: bytes | memoryview) -> Call:
        """The call. The record's memory is not needed any more afterwards."""
        try:
            start, end, pid_tgid, cpu, index, comm, result = HEADER.unpack_from(record)
            function = self._functions[index]
            words = self._slots[index].unpack_from(record, HEADER_BYTES)
            at = self._strings_at[index]
            strings = tuple([_string(record, place) for place in at]) if at else ()
        except (struct.error, IndexError) as error:
            raise BadInputError(
                f"a record of {len(record)} bytes makes no sense: {error}"
            ) from None
        return Call(
            function,
            start,
            end - start,
            start + self._wall_offset_ns,
            pid_tgid >> 32,
            pid_tgid & _U32,
            self._comms.get(comm) or self._comm(comm),
            cpu,
            words,
            result,
            strings,
        )

    def _comm(self, raw: bytes) -> str:
        """Names come again and again: kept, a thousand at most."""
        name = raw.partition(b"\0")[0].decode("utf-8", "backslashreplace")
        if len(self._comms) >= 1000:
            self._comms.clear()
        self._comms[raw] = name
        return name


def _slots(function: Function) -> struct.Struct:
    return struct.Struct(f"<{function.signature.slots}Q")


def _strings_at(function: Function, layout: Layout | None) -> tuple[int, ...]:
    first = (layout or function.signature.layout).strings_at
    count = len(function.signature.strings)
    return tuple(first + STRING_BYTES * place for place in range(count))


def _string(record: bytes | memoryview, at: int) -> str | Unreadable:
    (length,) = STRING_LENGTH.unpack_from(record, at)
    if length < 0:
        return LOST if length == NOT_SAVED else FAULT
    start = at + STRING_LENGTH.size
    raw = bytes(record[start : start + min(max(length - 1, 0), TEXT_BYTES - 1)])
    string = raw.decode("utf-8", "backslashreplace")
    return string + "…" if length >= TEXT_BYTES else string
