"""The consumer of a BPF ring buffer (kernel/bpf/ringbuf.c).

The map is mapped as three parts: one page whose first 8 bytes are the consumer's position (ours
to write), one page with the producer's, and the data, mapped twice in a row so that a record that
wraps is contiguous. Positions only grow; a record at position p lies at p modulo the data's size::

    +------------------------------------------+-----------------------+
    | length (30 bits) | discarded | busy      | page offset (kernel's) | data, 8-aligned
    +------------------------------------------+-----------------------+
     0                  bit 30      bit 31      4                        8

`RingCore` is pure: it works on any buffers of that form. `KernelRingReader` maps and waits.

Memory order: the kernel publishes a record by clearing its busy bit, and moves the producer's
position before. Python reads each as one aligned word, in program order; on arm64 the reads of the
data could be satisfied before the read of the header only within one core's speculation across the
interpreter's own branches and stores, so `_fence` orders them with an atomic operation of the
interpreter (acquiring a lock) before the data of a batch is read.
"""

from __future__ import annotations

import mmap
import select
import struct
import threading
from typing import TYPE_CHECKING, Self

from fsession.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from fsession.host import Fd, Map

__all__ = ["HEADER_BYTES", "KernelRingReader", "RingCore"]

HEADER_BYTES = 8
_BUSY, _DISCARDED, _LENGTH = 1 << 31, 1 << 30, (1 << 30) - 1
_HEADER = struct.Struct("<I")


class RingCore:
    """Positions and records over the parts of a ring buffer.

    `consumer` and `producer` are buffers of at least 8 bytes; `data` is twice `size` bytes long,
    its second half the same memory as the first.
    """

    def __init__(
        self, consumer: memoryview, producer: memoryview, data: memoryview, size: int
    ) -> None:
        self._consumer = consumer[:8].cast("Q")
        self._producer = producer[:8].cast("Q")
        self._data = data
        self._mask = size - 1
        self._fence = threading.Lock()

    @property
    def pending_bytes(self) -> int:
        """What lies between the producer and us, records still being written included."""
        return self._producer[0] - self._consumer[0]

    def records(self) -> Iterator[memoryview]:
        """The records that are complete, in order. A view is good until the next is asked for."""
        position, end = self._consumer[0], self._producer[0]
        unpack, data, mask = _HEADER.unpack_from, self._data, self._mask
        try:
            while position < end:
                start = position & mask
                with self._fence:
                    header = unpack(data, start)[0]
                if header & _BUSY:
                    return
                length = header & _LENGTH
                following = position + HEADER_BYTES + length + (-length & 7)
                if not header & _DISCARDED:
                    yield data[start + HEADER_BYTES : start + HEADER_BYTES + length]
                position = following
        finally:
            self._consumer[0] = position

    def batch(self) -> bytes:
        """All complete records as the ring has them, headers included, copied at once.

        For bulk decoding: records lie one behind the other, each 8-aligned; those discarded have
        bit 30 of the header set. Empty if there is none.
        """
        position, end = self._consumer[0], self._producer[0]
        start = position & self._mask
        length = _complete_bytes(self._data[start : start + end - position])
        with self._fence:
            raw = bytes(self._data[start : start + length])
        self._consumer[0] = position + length
        return raw


def _complete_bytes(ring: memoryview) -> int:
    """Bytes up to the first record that is still being written: a walk from header to header."""
    at, end = 0, len(ring)
    while at < end:
        header = _HEADER.unpack_from(ring, at)[0]
        if header & _BUSY:
            return at
        step = HEADER_BYTES + (header & _LENGTH) + (-header & 7)
        at += step * _run(ring, at, step)
    return min(at, end)


def _run(ring: memoryview, at: int, step: int) -> int:
    """How many records from `at` on have the very same header: the usual case, taken in strides.

    Strides grow as long as all in them are alike, so that records of mixed sizes cost no more
    than a walk.
    """
    header, run, stride = bytes(ring[at : at + 4]), 1, 1
    most = (len(ring) - at) // step
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


class KernelRingReader:
    """Reads a ring buffer map of the kernel; each record is given to `callback`.

    A context manager; `fileno` is the map's, for use in an event loop.
    """

    def __init__(self, ring: Map, callback: Callable[[memoryview], None]) -> None:
        self._map_fd = ring.fd
        self._callback = callback
        page, size = mmap.PAGESIZE, ring.max_entries
        self._consumer = mmap.mmap(ring.fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._rest = mmap.mmap(
            ring.fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page
        )
        views = memoryview(self._rest)
        self.core = RingCore(memoryview(self._consumer), views[:page], views[page:], size)
        self._epoll: select.epoll | None = select.epoll()
        self._epoll.register(ring.fd, select.EPOLLIN)

    def fileno(self) -> Fd:
        return self._map_fd

    def poll(self, timeout_s: float | None = None) -> int:
        """Give each complete record to the callback; how many. Waits for the first of them."""
        count = self._consume()
        if count or timeout_s == 0:
            return count
        self.wait(timeout_s)
        return self._consume()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until records are there; False if the time ran out."""
        if self._epoll is None:
            raise ValueError("the ring reader is closed")
        try:
            return bool(self._epoll.poll(timeout_s))
        except OSError as error:
            raise KernelError("epoll_wait", error.errno or 0) from error

    def read_batch(self) -> bytes:
        """All complete records at once, for bulk decoding: see `RingCore.batch`."""
        return self.core.batch()

    def __iter__(self) -> Iterator[bytes]:
        """Copies of the records, for ever; waits for each."""
        while True:
            yield from (bytes(record) for record in self.core.records())
            self.wait()

    def _consume(self) -> int:
        count, callback = 0, self._callback
        for record in self.core.records():
            callback(record)
            count += 1
        return count

    def close(self) -> None:
        if self._epoll is None:
            return
        self._epoll.close()
        self._epoll = None
        del self.core
        # A record view that a caller still holds keeps the mapping until it is dropped.
        for part in (self._consumer, self._rest):
            try:
                part.close()
            except BufferError:
                continue

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
