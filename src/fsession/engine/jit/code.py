"""Machine code while it is made: bytes, labels, fix-ups; and the memory it is executed in.

No page is ever writable and executable at once: code is written to fresh memory, which then becomes
read-only and executable.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

from fsession.errors import InternalError, KernelError
from fsession.frozen import frozen

if TYPE_CHECKING:
    from fsession.isa.insn import Insn

__all__ = ["Buffer", "CallTarget", "Code", "Fault", "Image", "clear_cache", "place", "write_code"]

CallTarget = Callable[["Insn"], "int | bytes"]
"""What a call of a helper or kfunc becomes: a call of this address, or these bytes."""

_PAGE = mmap.PAGESIZE
_NEAR_STEP = 1 << 20
_NOREPLACE = 0x100000  # MAP_FIXED_NOREPLACE, include/uapi/asm-generic/mman-common.h
_ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_FAILED = (1 << 64) - 1
_MREMAP_FIXED = 3  # MREMAP_MAYMOVE | MREMAP_FIXED
_writing = Lock()
_last_near = 1 << 62

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_uint64
_libc.mmap.argtypes = (ctypes.c_uint64, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
_libc.mprotect.argtypes = (ctypes.c_uint64, ctypes.c_size_t, ctypes.c_int)
_libc.mremap.restype = ctypes.c_uint64
_libc.mremap.argtypes = (ctypes.c_uint64, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int)
_libc.munmap.argtypes = (ctypes.c_uint64, ctypes.c_size_t)


@frozen
class Fault:
    """A load that may fault: the code at `at` is left for `next`, register number `reg` is 0.

    Offsets are bytes from the start of the code; `reg` is the machine's number.
    """

    at: int
    next: int
    reg: int


@frozen
class Code:
    """Finished, position-independent code. `entries` are the offsets of the functions by their
    slot; `tail_entry` is where a tail call goes in."""

    data: bytes
    entries: dict[int, int]
    tail_entry: int = 0
    faults: tuple[Fault, ...] = ()
    straighten: Callable[[bytearray, int], None] | None = None
    """Told where the code is to be, makes calls of what is near go there without a detour."""

    def at(self, address: int) -> bytes:
        """The code for this place; `data` does for any."""
        data = bytearray(self.data)
        if self.straighten:
            self.straighten(data, address)
        return bytes(data)


class Buffer:
    """Code being written. `patch` puts a distance into the bytes before a place."""

    def __init__(self, patch: Callable[[bytearray, int, int], None]) -> None:
        self.data = bytearray()
        self._patch = patch
        self._labels: dict[object, int] = {}
        self._fixes: list[tuple[int, object]] = []
        self._literals: dict[object, int] = {}
        self._fresh = 0

    def __len__(self) -> int:
        return len(self.data)

    def emit(self, data: bytes) -> None:
        self.data += data

    def new_label(self) -> object:
        self._fresh += 1
        return ("local", self._fresh)

    def label(self, name: object) -> None:
        """`name` is here."""
        self._labels[name] = len(self.data)

    def emit_to(self, name: object, data: bytes) -> None:
        """An instruction whose distance to the label is filled in at the end."""
        self.data += data
        self._fixes.append((len(self.data), name))

    def literal(self, value: int) -> object:
        """The label of a word of 8 bytes behind the code."""
        name = ("literal", value)
        self._literals[name] = value
        return name

    def offset(self, name: object) -> int:
        return self._labels[name]

    def finish(self) -> bytes:
        self.data += bytes(-len(self.data) % 8 if self._literals else 0)
        for name, value in self._literals.items():
            self.label(name)
            self.data += value.to_bytes(8, "little")
        for at, name in self._fixes:
            if name not in self._labels:
                raise InternalError(f"no label {name!r} in the code")
            self._patch(self.data, at, self._labels[name] - at)
        self._fixes = []
        return bytes(self.data)


class Image:
    """Code in executable memory, until it is closed."""

    def __init__(self, address: int, size: int) -> None:
        self.address, self.size = address, size
        self.holds: tuple[object, ...] = ()  # what the code points to
        self.before_close: Callable[[], None] | None = None

    def entry(self, code: Code, slot: int = 0) -> int:
        """Address of the function at `slot`."""
        return self.address + code.entries[slot]

    @property
    def end(self) -> int:
        return self.address + self.size

    def close(self) -> None:
        size, self.size, self.holds = self.size, 0, ()
        if size:
            if self.before_close:
                self.before_close()
            _libc.munmap(self.address, size)


def place(code: bytes | Code, near: int = 0, reach: int = 1 << 30) -> Image:
    """Code in memory of its own; with `near`, at most `reach` bytes from that address."""
    data = code if isinstance(code, bytes) else code.data
    size = max(len(data) + -len(data) % _PAGE, _PAGE)
    address = _map_near(near, size, reach) if near else _map(0, size, 0)
    if address is None:
        raise KernelError(f"no free memory within {reach:#x} of {near:#x}", 12)
    ctypes.memmove(address, code if isinstance(code, bytes) else code.at(address), len(data))
    if _libc.mprotect(address, size, mmap.PROT_READ | mmap.PROT_EXEC):
        error = ctypes.get_errno()
        _libc.munmap(address, size)
        raise KernelError("mprotect of code", error)
    clear_cache(address, len(data))
    return Image(address, size)


def write_code(address: int, data: bytes) -> None:
    """Change finished code, by the process's memory file: the page stays as it is, and what lies in
    one word of 8 bytes is changed at once. Where the kernel forbids that, the page is replaced."""
    start = address & -8
    if address + len(data) <= start + 8:
        word = bytearray(ctypes.string_at(start, 8))
        word[address - start : address - start + len(data)] = data
        address, data = start, bytes(word)
    with _writing:
        fd = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
        try:
            os.pwrite(fd, data, address)
        except OSError:  # since Linux 6.12 it may be (proc_mem.force_override)
            _replace_pages(address, data)
        finally:
            os.close(fd)
    clear_cache(address, len(data))


def _replace_pages(address: int, data: bytes) -> None:
    """A changed copy takes the place of the pages: a thread that comes by meanwhile waits."""
    page = address & -_PAGE
    size = address + len(data) - page
    size += -size % _PAGE
    copy = _map(0, size, 0)
    assert copy is not None
    ctypes.memmove(copy, page, size)
    ctypes.memmove(copy + address - page, data, len(data))
    if _libc.mprotect(copy, size, mmap.PROT_READ | mmap.PROT_EXEC):
        raise KernelError("mprotect of code", ctypes.get_errno())
    clear_cache(copy, size)
    if _libc.mremap(copy, size, size, _MREMAP_FIXED, ctypes.c_uint64(page)) == _FAILED:
        raise KernelError("mremap of code", ctypes.get_errno())


def _map(address: int, size: int, flags: int) -> int | None:
    found: int = _libc.mmap(
        address, size, mmap.PROT_READ | mmap.PROT_WRITE, _ANONYMOUS | flags, -1, 0
    )
    if found == _FAILED:
        if flags:
            return None
        raise KernelError("mmap of code", ctypes.get_errno())
    if flags and found != address:  # a kernel before 4.17 takes the address for a wish
        _libc.munmap(found, size)
        return None
    return found


def _map_near(near: int, size: int, reach: int) -> int | None:
    """Free memory close to `near`: behind the last that was found, if that is close; else further
    away step by step, in both directions."""
    global _last_near
    if abs(_last_near - near) < reach - size and (found := _map(_last_near, size, _NOREPLACE)):
        _last_near = found + size
        return found
    base = near & -_PAGE
    for distance in range(_NEAR_STEP, reach - size - _PAGE, _NEAR_STEP):
        for address in (base + distance, base - distance - size & -_PAGE):
            if address > 1 << 16 and (found := _map(address, size, _NOREPLACE)):
                _last_near = found + size
                return found
    return None


def clear_cache(address: int, size: int) -> None:
    """Make the instruction cache see new code; x86_64 needs nothing."""
    if os.uname().machine == "aarch64":
        ctypes.CDLL("libgcc_s.so.1").__clear_cache(
            ctypes.c_void_p(address), ctypes.c_void_p(address + size)
        )
