"""A ring buffer map of the kernel: mapped, waited for, read by `fsession.ring`."""

from __future__ import annotations

import mmap
import select
from itertools import islice
from typing import TYPE_CHECKING, Self

from fsession.errors import KernelError
from fsession.ring import RingCore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from fsession.host import Fd, Map

__all__ = ["KernelRingReader"]


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

    def poll(self, timeout_s: float | None = None, most: int | None = None) -> int:
        """Give each complete record, or `most` of them, to the callback; how many. Waits for the
        first of them."""
        count = self._consume(most)
        if count or timeout_s == 0:
            return count
        self.wait(timeout_s)
        return self._consume(most)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until records are there; False if the time ran out."""
        if self._epoll is None:
            raise ValueError("the ring reader is closed")
        try:
            return bool(self._epoll.poll(timeout_s))
        except OSError as error:
            raise KernelError("epoll_wait", error.errno or 0) from error

    def read_batch(self, most: int | None = None) -> bytes:
        """All complete records at once, or `most`, for bulk decoding: see `RingCore.batch`."""
        return self.core.batch(most)

    @property
    def batched(self) -> int:
        """How many records `read_batch` has given out."""
        return self.core.batched

    def __iter__(self) -> Iterator[bytes]:
        """Copies of the records, for ever; waits for each."""
        while True:
            yield from (bytes(record) for record in self.core.records())
            self.wait()

    def _consume(self, most: int | None) -> int:
        count, callback = 0, self._callback
        records = self.core.records()
        try:
            for record in islice(records, most):
                count += 1
                callback(record)
        finally:
            records.close()  # at once, also if the callback raised and its frames live on
        return count

    def close(self) -> None:
        if self._epoll is None:
            return
        self._epoll.close()
        self._epoll = None
        del self.core, self._callback  # a callback of its owner would keep both alive
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
