"""What the engine keeps for each thread: a block of memory at a place machine code finds at once.

A key of the C library's thread-specific data holds the block's address; the first keys lie at a
fixed distance from the thread pointer, which is measured once. So the block is one load away, and a
counter in it is a plain increment: no call, no atomic, good in a signal handler as well. A thread
gets its block when it first calls a traced function. A thread that ends leaves its block, with the
counters, to the next new one::

    block +0   calls now inside images       +8   CPU number of the thread
          +16  tgid << 32 | pid              +24  attach cookie of the running program
          +32  1: the thread is gone         +40  next block
          +48  1: a load faulted
          +64  of each program, 32 bytes: running now, runs, missed runs
     STORAGE   of each map of task storage, 8 bytes: address of the thread's value, odd if deleted
        TASK   what a pointer to the thread's ``struct task_struct`` points to
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.engine.jit.code import place
from fsession.engine.memory import Block, peek, poke
from fsession.engine.native import architecture, compile_text
from fsession.errors import KernelError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "COOKIE",
    "CPU",
    "CPU_COUNT",
    "FAULT",
    "GONE",
    "INSIDE",
    "MISSES",
    "PID",
    "PROGRAM_LIMIT",
    "RUNNING",
    "RUNS",
    "STORAGE",
    "STORAGE_LIMIT",
    "TASK",
    "TASK_BYTES",
    "Threads",
    "slot_of",
    "threads",
]

INSIDE, CPU, PID, COOKIE, GONE, NEXT, FAULT = 0, 8, 16, 24, 32, 40, 48
_FIRST_SLOT, SLOT_BYTES = 64, 32
RUNNING, RUNS, MISSES = 0, 8, 16
PROGRAM_LIMIT = 8192
STORAGE = _FIRST_SLOT + SLOT_BYTES * PROGRAM_LIMIT
STORAGE_LIMIT = 512
TASK = STORAGE + 8 * STORAGE_LIMIT
TASK_BYTES = 1 << 14
BLOCK_BYTES = TASK + TASK_BYTES
CPU_COUNT = 64
"""Values of a per-CPU map. A thread keeps its CPU; more threads than that share them."""

_COMM_BYTES = 16  # TASK_COMM_LEN
_SEARCHED = 4096  # bytes of the C library's thread structure
_MARK = 0x5E55_10CA_11AB_1E00
_MEMBARRIER = {"x86_64": 324, "aarch64": 283}
_PRIVATE_EXPEDITED, _REGISTER = 8, 16  # include/uapi/linux/membarrier.h

_libc = ctypes.CDLL(None, use_errno=True)
_libc.pthread_self.restype = ctypes.c_uint64

# Globals of the next two: first block, number of blocks; where in a block are the task's pid, tgid
# and comm (0: nobody asks).
_START = """
    r6 = {globals:#x} ll
    r7 = *(u64 *)(r6 +0)
look:
    if r7 == 0 goto fresh
    r1 = *(u64 *)(r7 +32)
    if r1 != 1 goto next
    r0 = 1
    r1 = 0
    r0 = atomic64_cmpxchg((u64 *)(r7 +32), r0, r1)
    if r0 == 1 goto found
next:
    r7 = *(u64 *)(r7 +40)
    goto look
fresh:
    r1 = 1
    r2 = {size}
    call c:calloc
    r7 = r0
    if r7 == 0 goto none
    r1 = 1
    r1 = atomic64_fetch_add((u64 *)(r6 +8), r1)
    r1 &= {last_cpu}
    *(u64 *)(r7 +8) = r1
push:
    r0 = *(u64 *)(r6 +0)
    *(u64 *)(r7 +40) = r0
    r8 = r0
    r0 = atomic64_cmpxchg((u64 *)(r6 +0), r0, r7)
    if r0 != r8 goto push
found:
    call c:getpid
    r8 = r0
    r8 <<= 32
    call c:gettid
    w0 = w0
    r8 |= r0
    *(u64 *)(r7 +16) = r8
    *(u64 *)(r7 +0) = 0
    r1 = *(u64 *)(r6 +16)
    if r1 == 0 goto known
    r1 += r7
    *(u32 *)(r1 +0) = r8
    r1 = *(u64 *)(r6 +24)
    r1 += r7
    r8 >>= 32
    *(u32 *)(r1 +0) = r8
    r2 = *(u64 *)(r6 +32)
    r2 += r7
    r1 = 16
    call c:prctl
known:
    r1 = {key}
    r2 = r7
    call c:pthread_setspecific
none:
    r0 = r7
    exit
"""
# What the thread stored is gone with it.
_END = f"""
    r2 = r1
    r2 += {STORAGE}
    r3 = {STORAGE_LIMIT}
next:
    r4 = *(u64 *)(r2 +0)
    if r4 == 0 goto none
    r4 |= 1
    *(u64 *)(r2 +0) = r4
none:
    r2 += 8
    r3 += -1
    if r3 != 0 goto next
    r4 = 1
    store_release((u64 *)(r1 +32), r4)
    r0 = 0
    exit
"""


def slot_of(program: int) -> int:
    """Where a thread's block has the numbers of a program."""
    return _FIRST_SLOT + SLOT_BYTES * program


class Threads:
    """All blocks of this process."""

    def __init__(self) -> None:
        self._globals = Block(40)
        self._layout: tuple[int, int, int] | None = None
        self._ended = compile_text(_END, {})
        key = ctypes.c_uint32()
        if _libc.pthread_key_create(ctypes.byref(key), ctypes.c_void_p(self._ended.address)):
            raise KernelError("pthread_key_create", 11)
        self.offset = _measure(key.value)
        text = _START.format(
            globals=self._globals.address,
            size=BLOCK_BYTES,
            last_cpu=CPU_COUNT - 1,
            key=key.value,
        )
        self.start = compile_text(text, {})
        self.load = architecture().thread_pointer_load(architecture().REGISTERS[0], self.offset)
        self._barrier = _membarrier(_REGISTER) == 0
        os.register_at_fork(after_in_child=self._after_fork)

    def block(self) -> int:
        """The calling thread's block."""
        return peek(_thread_pointer() + self.offset) or self.start()

    def blocks(self) -> Iterator[int]:
        at = peek(self._globals.address)
        while at:
            yield at
            at = peek(at + NEXT)

    def sum(self, program: int, field: int) -> int:
        """A program's `RUNS` or `MISSES` over all threads that ever were."""
        return sum(peek(block + slot_of(program) + field) for block in self.blocks())

    def clear(self, program: int) -> None:
        """Make a program's numbers 0, when nothing runs it any more."""
        for block in self.blocks():
            for field in (RUNNING, RUNS, MISSES):
                poke(block + slot_of(program) + field, 8, 0)

    def describe_task(self, pid: int, tgid: int, comm: int) -> bool:
        """Fill in these members of each task; False if they lie elsewhere for others."""
        layout = pid, tgid, comm
        if self._layout is None:
            for block in self.blocks():
                self._fill_task(block, layout)
            for at, offset in ((24, tgid), (32, comm), (16, pid)):
                poke(self._globals.address + at, 8, TASK + offset)
            self._layout = layout
        return self._layout == layout

    def _fill_task(self, block: int, layout: tuple[int, int, int]) -> None:
        """As a new thread does for itself."""
        word = peek(block + PID)
        pid, tgid, comm = (block + TASK + offset for offset in layout)
        poke(pid, 4, word & 0xFFFF_FFFF)
        poke(tgid, 4, word >> 32)
        ctypes.memmove(comm, _comm_of(word & 0xFFFF_FFFF), _COMM_BYTES)

    def block_of(self, tid: int) -> int | None:
        """Of a thread that is there and has called a traced function."""
        found = (
            block
            for block in self.blocks()
            if peek(block + PID) & 0xFFFF_FFFF == tid and not peek(block + GONE)
        )
        return next(found, None)

    def barrier(self) -> bool:
        """All threads see what this one wrote; False if the kernel can't."""
        return self._barrier and _membarrier(_PRIVATE_EXPEDITED) == 0

    def _after_fork(self) -> None:
        """Only the forking thread is left; its id has changed."""
        mine = peek(_thread_pointer() + self.offset)
        for block in self.blocks():
            if block == mine:
                poke(block + PID, 8, os.getpid() << 32 | _libc.gettid())
                if self._layout:
                    self._fill_task(block, self._layout)
            else:
                poke(block + INSIDE, 8, 0)
                poke(block + GONE, 8, 1)


@cache
def threads() -> Threads:
    """The one of this process."""
    return Threads()


@cache
def _pointer_function() -> object:
    image = place(architecture().read_thread_pointer())
    return ctypes.CFUNCTYPE(ctypes.c_uint64)(image.address)


def _thread_pointer() -> int:
    result: int = _pointer_function()()  # type: ignore[operator]
    return result


def _measure(key: int) -> int:
    """Where the value of `key` lies, from the thread pointer."""
    _libc.pthread_setspecific(key, ctypes.c_void_p(_MARK))
    start = _libc.pthread_self()
    found = next((at for at in range(0, _SEARCHED, 8) if peek(start + at) == _MARK), None)
    _libc.pthread_setspecific(key, None)
    if found is None:
        raise UnsupportedError("thread-specific data of this C library")
    return int(start + found - _thread_pointer())


def _comm_of(tid: int) -> bytes:
    try:
        name = Path(f"/proc/self/task/{tid}/comm").read_bytes()
    except OSError:
        name = b""
    return name.rstrip(b"\n")[: _COMM_BYTES - 1].ljust(_COMM_BYTES, b"\0")


def _membarrier(command: int) -> int:
    result: int = _libc.syscall(_membarrier_number(), command, 0, 0)
    return result


@cache
def _membarrier_number() -> int:
    return _MEMBARRIER[os.uname().machine]
