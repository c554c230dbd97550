"""Memory that programs see: regions of this process with bounds, and probes of anything else.

Addresses are those of this process, so that interpreter, machine code and Python see one memory.
The interpreter asks here before every access; machine code does not.
"""

from __future__ import annotations

import ctypes
import os
from bisect import bisect_right
from threading import Lock
from typing import TYPE_CHECKING

from fsession.errors import FsessionError
from fsession.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Block", "Memory", "MemoryFault", "Region", "peek", "poke", "probe_read"]

_WORDS = {1: ctypes.c_uint8, 2: ctypes.c_uint16, 4: ctypes.c_uint32, 8: ctypes.c_uint64}


class MemoryFault(FsessionError):
    """A program touched what it must not: `size` bytes at `address`."""

    def __init__(self, address: int, size: int, verb: str) -> None:
        super().__init__(f"{verb} of {size} bytes at {address:#x}, where the program has no memory")
        self.address = address
        self.size = size


class Block:
    """Zeroed memory of a fixed size, 16-aligned, for as long as the object lives."""

    def __init__(self, size: int, data: bytes = b"") -> None:
        self.size = size
        self._raw = ctypes.create_string_buffer(size + 16)
        self.address = (ctypes.addressof(self._raw) + 15) & ~15
        self.write(data)

    def write(self, data: bytes, offset: int = 0) -> None:
        if offset < 0 or offset + len(data) > self.size:
            raise MemoryFault(self.address + offset, len(data), "write")
        ctypes.memmove(self.address + offset, data, len(data))

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        size = self.size - offset if size is None else size
        if offset < 0 or size < 0 or offset + size > self.size:
            raise MemoryFault(self.address + offset, size, "read")
        return ctypes.string_at(self.address + offset, size)

    @property
    def region(self) -> Region:
        return Region(self.address, self.address + self.size)


@frozen
class Region:
    """The addresses from `start` up to `end`."""

    start: int
    end: int
    writable: bool = True


class Memory:
    """The regions that a program may touch; they do not overlap."""

    def __init__(self, regions: Iterable[Region] = (), *, probing: bool = False) -> None:
        self._regions = {region.start: region for region in regions}
        self._starts = sorted(self._regions)
        self._probing = probing
        self._lock = Lock()

    def add(self, region: Region) -> None:
        with self._lock:
            self._regions[region.start] = region
            self._starts = sorted(self._regions)

    def remove(self, region: Region) -> None:
        with self._lock:
            self._regions.pop(region.start, None)
            self._starts = sorted(self._regions)

    def find(self, address: int, size: int) -> Region | None:
        """The region that holds all of these bytes."""
        at = bisect_right(starts := self._starts, address) - 1
        region = self._regions.get(starts[at]) if at >= 0 else None
        return region if region and address + size <= region.end else None

    def load(self, address: int, size: int) -> int:
        """A little-endian number. Outside of all regions: 0 for a machine whose loads may fault
        (the kernel's PROBE_MEM), else `MemoryFault`."""
        if self.find(address, size):
            return peek(address, size)
        if not self._probing:
            raise MemoryFault(address, size, "read")
        return int.from_bytes(probe_read(address, size) or b"", "little")

    def store(self, address: int, size: int, value: int) -> None:
        region = self.find(address, size)
        if region is None or not region.writable:
            raise MemoryFault(address, size, "write")
        poke(address, size, value)


def peek(address: int, size: int = 8) -> int:
    """The number in `size` bytes at an address that is known to be readable."""
    value: int = _WORDS[size].from_address(address).value
    return value


def poke(address: int, size: int, value: int) -> None:
    """Set `size` bytes at an address that is known to be writable."""
    _WORDS[size].from_address(address).value = value


class _Vector(ctypes.Structure):
    """``struct iovec``."""

    _fields_ = (("base", ctypes.c_uint64), ("size", ctypes.c_uint64))


_libc = ctypes.CDLL(None)
_readv = _libc.process_vm_readv
_readv.restype = ctypes.c_ssize_t
_readv.argtypes = (ctypes.c_int, *(ctypes.c_void_p, ctypes.c_ulong) * 2, ctypes.c_ulong)


def probe_read(address: int, size: int) -> bytes | None:
    """Bytes at any address, or None where there is no readable memory: never a fault."""
    out = ctypes.create_string_buffer(max(size, 1))
    here, there = _Vector(ctypes.addressof(out), size), _Vector(address & (1 << 64) - 1, size)
    got = _readv(os.getpid(), ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    return out.raw[:size] if got == size else None
