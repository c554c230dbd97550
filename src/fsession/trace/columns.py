"""Records to columns, all at once, with numpy: for those who count millions of calls.

numpy is an extra (``fsession[numpy]``); nothing else of the package needs it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from fsession.errors import BadInputError
from fsession.trace.record import (
    COMM,
    COMM_BYTES,
    CPU,
    END_NS,
    FUNCTION,
    HEADER_BYTES,
    PID_TGID,
    RET,
    SLOT_BYTES,
    START_NS,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["to_columns"]

# The header of a record in the ring (kernel/bpf/ringbuf.c): its length and two flags, 8 bytes.
_RING_BYTES = 8
_DISCARDED, _LENGTH = 1 << 30, (1 << 30) - 1
_LEAST = _RING_BYTES + HEADER_BYTES


def to_columns(span: bytes | memoryview, slots: int = 0) -> dict[str, NDArray[np.generic]]:
    """Of the records of a ring buffer's `span`, as ``read_batch()`` of its reader gives them.

    Columns: ``start_ns``, ``duration_ns``, ``pid``, ``tid``, ``cpu``, ``function`` (its index),
    ``comm`` (bytes), ``ret`` (the word) and for each of the first `slots` argument words ``slot0``,
    …; a record without that word has 0. Raises `BadInputError` for bytes that are no such span.
    """
    words = _words(span)
    rows = _even_rows(words, span)
    if rows is None:
        rows = _walked_rows(words, span, slots)
    return _columns(rows, slots)


def _words(span: bytes | memoryview) -> NDArray[np.uint64]:
    if len(span) % 8:
        raise BadInputError("a ring buffer span is not a whole number of words", len(span))
    return np.frombuffer(span, dtype="<u8")


def _even_rows(words: NDArray[np.uint64], span: bytes | memoryview) -> NDArray[np.uint64] | None:
    """The span as a matrix, a record each row, if all records are alike: the usual case."""
    if not len(words):
        return words.reshape(0, _LEAST // 8)
    length = int(words[0]) & 0xFFFF_FFFF
    step = _step(length)
    heads = np.frombuffer(span, dtype="<u4")[:: step // 4]
    if len(span) % step or length > _LENGTH or step < _LEAST or not (heads == length).all():
        return None
    return words.reshape(-1, step // 8)


def _walked_rows(
    words: NDArray[np.uint64], span: bytes | memoryview, slots: int
) -> NDArray[np.uint64]:
    """Records of different lengths: copied to rows of one width, filled up with 0."""
    starts, lengths = _walk(span)
    width = (_LEAST + SLOT_BYTES * slots) // 8
    columns = np.arange(width, dtype=np.int64)
    at = np.array(starts, dtype=np.int64)[:, None] // 8 + columns
    there = columns < (np.array(lengths, dtype=np.int64)[:, None] + _RING_BYTES) // 8
    return np.where(there, words[np.minimum(at, len(words) - 1)], np.uint64(0))


def _walk(span: bytes | memoryview) -> tuple[list[int], list[int]]:
    """Offset and length of each record that was not discarded."""
    starts: list[int] = []
    lengths: list[int] = []
    unpack, end, at = struct.Struct("<I").unpack_from, len(span), 0
    while at < end:
        (head,) = unpack(span, at)
        length = head & _LENGTH
        if not head & _DISCARDED:
            if length < HEADER_BYTES or at + _step(length) > end:
                raise BadInputError(f"a record of {length} bytes makes no sense", at)
            starts.append(at)
            lengths.append(length)
        at += _step(length)
    return starts, lengths


def _step(length: int) -> int:
    """From a record of the ring to the next, in bytes."""
    return _RING_BYTES + length + (-length & 7)


def _names(words: NDArray[np.uint64]) -> NDArray[np.bytes_]:
    """Names of threads; what Linux 6.1 leaves behind their NUL is none of them."""
    letters = words.view(np.uint8)
    ended = np.logical_or.accumulate(letters == 0, axis=1)
    return np.where(ended, np.uint8(0), letters).view(f"S{COMM_BYTES}").reshape(-1)


def _columns(rows: NDArray[np.uint64], slots: int) -> dict[str, NDArray[np.generic]]:
    def word(offset: int) -> NDArray[np.uint64]:
        return rows[:, (_RING_BYTES + offset) // 8]

    start, half, low = word(START_NS), np.uint64(32), np.uint64(0xFFFF_FFFF)
    first = (_RING_BYTES + COMM) // 8
    comm = _names(np.ascontiguousarray(rows[:, first : first + COMM_BYTES // 8]))
    out: dict[str, NDArray[np.generic]] = {
        "start_ns": start.copy(),
        "duration_ns": word(END_NS) - start,
        "pid": (word(PID_TGID) >> half).astype(np.uint32),
        "tid": (word(PID_TGID) & low).astype(np.uint32),
        "cpu": (word(CPU) & low).astype(np.uint32),
        "function": (word(FUNCTION) >> half).astype(np.uint32),
        "comm": comm,
        "ret": word(RET).copy(),
    }
    for slot in range(slots):
        at = (_RING_BYTES + HEADER_BYTES) // 8 + slot
        have = at < rows.shape[1]
        out[f"slot{slot}"] = rows[:, at].copy() if have else np.zeros(len(rows), np.uint64)
    return out
