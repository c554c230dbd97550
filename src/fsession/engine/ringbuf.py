"""A ring buffer map of the machine: the kernel's layout, read by the kernel's consumer code.

Four parts, one behind the other: a page of ours (the map's header for the code that commits), the
consumer's page, the producer's, the data, mapped twice in a row.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import select
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Self

from fsession.engine.memory import poke
from fsession.errors import KernelError
from fsession.ring import RingCore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fsession.engine.table import EngineMap

__all__ = ["PAGE_BYTES", "EngineRingReader", "RingMemory"]

PAGE_BYTES = 4096
_MAP_FIXED = 0x10
_FAILED = (1 << 64) - 1
_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_uint64
_mmap.argtypes = (ctypes.c_uint64, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
_RW = mmap.PROT_READ | mmap.PROT_WRITE


class RingMemory:
    """The memory of one map and the descriptor that wakes its reader."""

    def __init__(self, size: int, header: int) -> None:
        if size < PAGE_BYTES or size & size - 1 or mmap.PAGESIZE != PAGE_BYTES:
            raise KernelError("create ring buffer", errno.EINVAL)
        self.size = size
        self._total = 3 * PAGE_BYTES + 2 * size
        fd = os.memfd_create("ring", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, 3 * PAGE_BYTES + size)
            self.base = self._map(0, self._total, 0, fd, 0)
            self._map(self.base + 3 * PAGE_BYTES + size, size, _MAP_FIXED, fd, 3 * PAGE_BYTES)
        finally:
            os.close(fd)
        self.consumer = self.base + PAGE_BYTES
        self.data = self.base + 3 * PAGE_BYTES
        self.event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        poke(self.base, 8, header)
        for at, value in ((0, self.data), (88, self.consumer), (96, self.event)):
            poke(header + at, 8, value)

    def _map(self, at: int, size: int, flags: int, fd: int, offset: int) -> int:
        found: int = _mmap(at, size, _RW, mmap.MAP_SHARED | flags, fd, offset)
        if found == _FAILED:
            raise KernelError("mmap of a ring buffer", ctypes.get_errno())
        return found

    def core(self) -> RingCore:
        whole = (ctypes.c_char * self._total).from_address(self.base)
        view = memoryview(whole).cast("B")[PAGE_BYTES:]
        return RingCore(
            view[:PAGE_BYTES], view[PAGE_BYTES : 2 * PAGE_BYTES], view[2 * PAGE_BYTES :], self.size
        )

    def close(self) -> None:
        if self._total:
            _libc.munmap(ctypes.c_void_p(self.base), ctypes.c_size_t(self._total))
            os.close(self.event)
            self._total = 0


class EngineRingReader:
    """Reads a ring buffer map of the machine; each record is given to `callback`."""

    def __init__(self, ring: EngineMap, callback: Callable[[memoryview], None]) -> None:
        if ring.ring is None:
            raise KernelError(f"read ring buffer '{ring.name}'", errno.EINVAL)
        self._map, self._callback = ring, callback
        self._event = ring.ring.event
        self.core = ring.ring.core()

    def fileno(self) -> int:
        return self._event

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
        waiter = select.poll()
        waiter.register(self._event, select.POLLIN)
        return bool(waiter.poll(None if timeout_s is None else timeout_s * 1000))

    def read_batch(self, most: int | None = None) -> bytes:
        """All complete records at once, or `most`, for bulk decoding: see `RingCore.batch`."""
        self._drain()
        batch = self.core.batch(most)
        self._wake_for_the_rest()
        return batch

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self._drain()
            yield from (bytes(record) for record in self.core.records())
            self.wait()

    def _wake_for_the_rest(self) -> None:
        """What waits on the descriptor must wake for records that are left."""
        if self.core.pending_bytes:
            os.eventfd_write(self._event, 1)

    def _drain(self) -> None:
        with suppress(BlockingIOError):  # nothing new
            os.eventfd_read(self._event)

    @property
    def batched(self) -> int:
        """How many records `read_batch` has given out."""
        return self.core.batched

    def _consume(self, most: int | None) -> int:
        self._drain()
        count = 0
        records = self.core.records()
        try:
            for record in islice(records, most):
                count += 1
                self._callback(record)
        finally:
            records.close()
            self._wake_for_the_rest()
        return count

    def close(self) -> None:
        """The map keeps its memory and the descriptor."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
