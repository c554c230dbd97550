"""The consumer of a BPF ring buffer (kernel/bpf/ringbuf.c).

The map is mapped as three parts: one page whose first 8 bytes are the consumer's position (ours
to write), one page with the producer's, and the data, mapped twice in a row so that a record that
wraps is contiguous. Positions only grow; a record at position p lies at p modulo the data's size::

    +------------------------------------------+-----------------------+
    | length (30 bits) | discarded | busy      | page offset (kernel's) | data, 8-aligned
    +------------------------------------------+-----------------------+
     0                  bit 30      bit 31      4                        8

`RingCore` is pure: it works on any buffers of that form. The hosts' readers map and wait.

Memory order: the kernel publishes a record by clearing its busy bit, and moves the producer's
position before that. So the position must be read before the headers, the headers before the data,
and all data before our own position is moved on; arm64 keeps no such order by itself, and Python
has no word for it. `RingCore._order` releases and acquires a lock: a store with release and a load
with acquire of one word, which C11 and arm64 keep in order, with everything before and behind them.
It costs about 50 ns and is done once for many records, never for each.
"""

from __future__ import annotations

import struct
from _thread import allocate_lock  # threading takes 1.5 ms to import
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = ["HEADER_BYTES", "RingCore", "runs"]

HEADER_BYTES = 8
_BUSY, _DISCARDED, _LENGTH = 1 << 31, 1 << 30, (1 << 30) - 1
_HEADER = struct.Struct("<I")
_ALIKE = 8  # so many equal headers in a row make more of them likely
_MOST_AT_ONCE = 256  # records whose headers are read before their data


class RingCore:
    """Positions and records over the parts of a ring buffer.

    `consumer` and `producer` are buffers of at least 8 bytes; `data` is twice `size` bytes long,
    its second half the same memory as the first. `batched` counts the records given out by `batch`.
    """

    def __init__(
        self, consumer: memoryview, producer: memoryview, data: memoryview, size: int
    ) -> None:
        self._consumer = consumer[:8].cast("Q")
        self._producer = producer[:8].cast("Q")
        self._data = data
        self._mask = size - 1
        self.batched = 0
        self._lock = allocate_lock()
        self._lock.acquire()

    def _order(self) -> None:
        """Everything before happens before everything behind: see the head of this file."""
        self._lock.release()
        self._lock.acquire()

    @property
    def pending_bytes(self) -> int:
        """What lies between the producer and us, records still being written included."""
        return self._producer[0] - self._consumer[0]

    def records(self) -> Generator[memoryview, None, None]:
        """The records that are complete, in order. A view is good until the next is asked for.

        Space is given back to the kernel as the reading goes on. A record that was given out is
        consumed, also if the reader stops there.
        """
        position, end = self._consumer[0], self._producer[0]
        data = self._data
        try:
            while places := self._complete(position, end):
                for start, length, following in places:
                    position = following
                    if length >= 0:
                        yield data[start : start + length]
                self._release(position)
        finally:
            self._release(position)

    def _complete(self, position: int, end: int) -> list[tuple[int, int, int]]:
        """``(start, length, next position)`` of complete records; the length of discarded is -1."""
        unpack, data, mask = _HEADER.unpack_from, self._data, self._mask
        places: list[tuple[int, int, int]] = []
        self._order()
        while position < end and len(places) < _MOST_AT_ONCE:
            start = (position & mask) + HEADER_BYTES
            header = unpack(data, start - HEADER_BYTES)[0]
            if header & _BUSY:
                break
            length = header & _LENGTH
            position += HEADER_BYTES + length + (-length & 7)
            places.append((start, -1 if header & _DISCARDED else length, position))
        self._order()
        return places

    def _release(self, position: int) -> None:
        """Give the space before `position` back, before the producer is looked at again."""
        self._order()
        self._consumer[0] = position
        self._order()

    def batch(self, most: int | None = None) -> bytes:
        """All complete records as the ring has them, or `most`, headers included, copied at once.

        For bulk decoding: records lie one behind the other, each 8-aligned; those discarded have
        bit 30 of the header set. Empty if there is none.
        """
        position, end = self._consumer[0], self._producer[0]
        start = position & self._mask
        self._order()
        length, count = _complete(self._data[start : start + end - position], most)
        self._order()
        self.batched += count
        raw = bytes(self._data[start : start + length])
        self._release(position + length)
        return raw


def runs(ring: bytes | memoryview, most: int | None = None) -> Iterator[tuple[int, int, int, int]]:
    """Rows of complete records of one length, up to the first that is still being written.

    No row has more than `most`.

    Each as the offset of its first header, the bytes from a record to the next, the bytes of a
    record (-1 for discarded ones), and how many they are.
    """
    at, end, most = 0, len(ring), most or len(ring)
    unpack, limit = _HEADER.unpack_from, min(_ALIKE, most)
    while at < end:
        header = unpack(ring, at)[0]
        if header & _BUSY:
            return
        length = header & _LENGTH
        step = HEADER_BYTES + length + (-length & 7)
        count, behind = 1, at + step
        while count < limit and behind < end and unpack(ring, behind)[0] == header:
            count += 1
            behind += step
        if count == _ALIKE:
            count = _run(ring, at, step, most)
        yield at, step, -1 if header & _DISCARDED else length, count
        at += step * count


def _complete(ring: memoryview, most: int | None) -> tuple[int, int]:
    """Bytes of the complete records, or of `most`, and how many are not discarded."""
    stop = count = 0
    for at, step, length, run in runs(ring, most):
        taken = run if most is None else min(run, most - count)
        stop = at + step * taken
        count += 0 if length < 0 else taken
        if taken < run:
            break
    return min(stop, len(ring)), count


def _run(ring: bytes | memoryview, at: int, step: int, most: int) -> int:
    """How many records from `at` on have the very same header: the usual case, taken in strides.

    Strides grow as long as all in them are alike.
    """
    header, run, stride = bytes(ring[at : at + 4]), 1, 1
    most = min(most, (len(ring) - at) // step)
    while run < most:
        stride = min(stride * 4, most - run)
        start = at + run * step
        stop = start + stride * step
        for byte in range(4):
            column = bytes(ring[start + byte : stop : step])
            stride = min(stride, len(column) - len(column.lstrip(header[byte : byte + 1])))
        run += stride
        if start + stride * step < stop:
            break
    return run
