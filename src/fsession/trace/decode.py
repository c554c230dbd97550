"""Records (`fsession.trace.record`) to `Call` events."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Protocol

from fsession.btf.model import MAX_SLOTS
from fsession.errors import BadInputError
from fsession.frozen import maker
from fsession.ring import HEADER_BYTES as RING_HEADER_BYTES
from fsession.ring import runs
from fsession.trace.event import Call, Function
from fsession.trace.printers import PRINTERS
from fsession.trace.record import (
    HEADER,
    HEADER_BYTES,
    NOT_SAVED,
    SLOT_BYTES,
    STRING_BYTES,
    STRING_LENGTH,
    TEXT_BYTES,
)
from fsession.trace.values import FAULT, LOST, Unreadable, Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    _StringAt = tuple[int, int]  # offset in the record, slot of its length or -1
    _Known = tuple[Function, int, tuple[_StringAt, ...]]  # with where in a row its words end

__all__ = ["Decoder", "Functions", "read_prints", "read_string"]

_make_call = maker(Call)
_FIELDS = len(HEADER.unpack(bytes(HEADER_BYTES)))
_U32 = 0xFFFF_FFFF
_S32_MAX = 0x7FFF_FFFF  # of a length: the upper half of an int's word is rubbish


class Functions(Protocol):
    """Functions by their index: a tuple of them, or something that makes them when asked."""

    def __getitem__(self, index: int, /) -> Function: ...


class Decoder:
    """Of the records of programs made for `functions`, which are asked for by their index.

    `functions` raises `IndexError` for a function that is none. `wall_offset_ns` is CLOCK_REALTIME
    less CLOCK_MONOTONIC.
    """

    def __init__(self, functions: Functions, wall_offset_ns: int) -> None:
        self._functions = functions
        self._wall_offset_ns = wall_offset_ns
        self._known: dict[int, _Known] = {}
        self._comms: dict[bytes, str] = {}
        self._rows: dict[int, struct.Struct] = {}

    def calls(self, span: bytes | memoryview) -> Iterator[Call]:
        """Of the records of a ring buffer's `span`, as its reader's ``read_batch()`` gives it."""
        try:
            for at, step, length, count in runs(span):
                if length >= 0:
                    yield from self._run(span, at, step, length, count)
        except (struct.error, IndexError) as error:
            raise BadInputError(f"a record makes no sense: {error}") from None

    def _run(
        self, span: bytes | memoryview, at: int, step: int, length: int, count: int
    ) -> Iterator[Call]:
        """Records of one length, one behind the other: their words are unpacked in one go."""
        known, comms, offset = self._known, self._comms, self._wall_offset_ns
        rows = self._row(length).iter_unpack(span[at : at + step * count])
        start = at + RING_HEADER_BYTES - step
        for row in rows:
            start += step
            entry, exit, pid_tgid, cpu, index, comm, result = row[:_FIELDS]
            function, behind, strings_at = known.get(index) or self._learn(index)
            if behind > len(row):
                raise struct.error(f"{length} bytes are too few for {function.signature.label}")
            words = row[_FIELDS:behind]
            strings: tuple[str | Unreadable, ...] = ()
            prints: dict[str, Value] = {}
            if strings_at or function.fields:
                record = span[start : start + length]
                strings = tuple([read_string(record, place, words) for place in strings_at])
                prints = read_prints(function, record, words)
            yield _make_call(
                function,
                entry,
                exit - entry,
                entry + offset,
                pid_tgid >> 32,
                pid_tgid & _U32,
                comms.get(comm) or self._comm(comm),
                cpu,
                words,
                result,
                strings,
                None,
                prints,
            )

    def _row(self, length: int) -> struct.Struct:
        """A record of so many bytes behind the ring's header: its own, then words as there are."""
        row = self._rows.get(length)
        if row is None:
            slots = min((length - HEADER_BYTES) // SLOT_BYTES, MAX_SLOTS)
            if slots < 0:
                raise struct.error(f"{length} bytes are too few")
            rest = length - HEADER_BYTES - SLOT_BYTES * slots + (-length & 7)
            row = struct.Struct(f"<{RING_HEADER_BYTES}x{HEADER.format[1:]}{slots}Q{rest}x")
            self._rows[length] = row
        return row

    def _learn(self, index: int) -> _Known:
        """How records of a function are read, kept from its first record on."""
        function = self._functions[index]
        layout, first = function.signature.layout, function.layout.strings_at
        strings_at = tuple(
            (first + STRING_BYTES * place, param.length_slot)
            for place, param in enumerate(function.signature.strings)
        )
        known = (function, _FIELDS + layout.slots, strings_at)
        self._known[index] = known
        return known

    def _comm(self, raw: bytes) -> str:
        """Names come again and again: kept, a thousand at most."""
        name = raw.partition(b"\0")[0].decode("utf-8", "backslashreplace")
        if len(self._comms) >= 1000:
            self._comms.clear()
        self._comms[raw] = name
        return name


def read_prints(
    function: Function, record: bytes | memoryview, words: tuple[int, ...], shift: int = 0
) -> dict[str, Value]:
    """Values by the texts of their expressions, and of printers by their arguments.

    They are `shift` bytes behind where the function's layout has them. None is what a null pointer
    points to.
    """
    prints: dict[str, Value] = {}
    parts: dict[tuple[str, str], list[Value]] = {}
    for field, read, at in zip(function.fields, function.readers, function.places, strict=True):
        if field.owner:
            parts.setdefault((field.owner, field.printer), []).append(read(record, at + shift))
        else:
            prints[field.text] = read(record, at + shift)
    shown = {owner: PRINTERS[name].show(values) for (owner, name), values in parts.items()}
    shown |= prints
    if any(isinstance(value, Unreadable) for value in shown.values()):
        params = function.signature.params
        nulls = {param.name for param in params if param.slots and not words[param.slot]}
        of_nulls = [field for field in function.fields if field.argument in nulls]
        shown |= dict.fromkeys((field.owner or field.text for field in of_nulls), None)
    return shown


def read_string(
    record: bytes | memoryview, at: _StringAt, words: tuple[int, ...]
) -> str | Unreadable:
    """Of the area at the first of `at`; the second is the word with its length, or -1."""
    (length,) = STRING_LENGTH.unpack_from(record, at[0])
    if length < 0:
        return LOST if length == NOT_SAVED else FAULT
    most = min(max(length - 1, 0), TEXT_BYTES - 1)
    if at[1] >= 0:
        most = min(most, words[at[1]] & _S32_MAX)
    start = at[0] + STRING_LENGTH.size
    string = bytes(record[start : start + most]).decode("utf-8", "backslashreplace")
    return string + "…" if length >= TEXT_BYTES and most == TEXT_BYTES - 1 else string
