"""Task storage: a word for each map in the block of each thread; see `fsession.engine.threads`.

From Python its keys are those of the kernel's: a pidfd, of a thread that has been in a traced
function, or of this process's main thread.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import re
import weakref
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.engine.memory import Block, peek, poke
from fsession.engine.native import compile_text
from fsession.engine.threads import STORAGE, STORAGE_LIMIT, TASK, threads
from fsession.errors import KernelError

if TYPE_CHECKING:
    from fsession.engine.native import Function

__all__ = ["STORAGE_DELETE", "STORAGE_GET", "TaskStorage"]

_free: list[int] = list(range(STORAGE_LIMIT))
_libc = ctypes.CDLL(None)
_libc.free.argtypes = (ctypes.c_void_p,)

# r1 header, whose first word is the distance from a task to its word of this map, r2 the task (that
# of a thread's block), r3 a first value or 0, r4 flags. A value that was deleted is kept for the
# next one: whoever still has a pointer to it reads memory of this map.
STORAGE_GET = """
    if r2 == 0 goto none
    if r4 > 1 goto none
    r6 = *(u64 *)(r1 +0)
    r6 += r2
    r0 = *(u64 *)(r6 +0)
    if r0 == 0 goto fresh
    if r0 & 1 goto again
    exit
fresh:
    if r4 == 0 goto none
    r7 = r1
    r8 = r3
    r1 = 1
    r2 = *(u64 *)(r7 +56)
    call c:calloc
    if r0 == 0 goto none
    r9 = r0
    if r8 == 0 goto made
    r1 = r9
    r2 = r8
    r3 = *(u64 *)(r7 +48)
    call c:memcpy
made:
    r0 = 0
    r0 = atomic64_cmpxchg((u64 *)(r6 +0), r0, r9)
    if r0 == 0 goto ours
    r6 = r0
    r1 = r9
    call c:free
    r0 = r6
    r0 &= -2
    exit
ours:
    r0 = r9
    exit
again:
    if r4 == 0 goto none
    r7 = r1
    r8 = r3
    r9 = r0
    r9 &= -2
    r1 = r9
    r2 = 0
    r3 = *(u64 *)(r7 +56)
    call c:memset
    if r8 == 0 goto filled
    r1 = r9
    r2 = r8
    r3 = *(u64 *)(r7 +48)
    call c:memcpy
filled:
    store_release((u64 *)(r6 +0), r9)
    r0 = r9
    exit
none:
    r0 = 0
    exit
"""
STORAGE_DELETE = """
    r3 = -22
    if r2 == 0 goto out
    r1 = *(u64 *)(r1 +0)
    r1 += r2
    r0 = *(u64 *)(r1 +0)
    r3 = -2
    if r0 == 0 goto out
    if r0 & 1 goto out
    r2 = r0
    r2 |= 1
    r0 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r2)
    r3 = 0
out:
    r0 = r3
    exit
"""


class TaskStorage:
    """One map's words; `distance` is from a task to its word."""

    def __init__(self, what: str) -> None:
        if not _free:
            gc.collect()  # machines that are gone, with their maps
        if not _free:
            raise KernelError(what, errno.ENOMEM).hint(
                f"a process has room for {STORAGE_LIMIT} maps of task storage"
            )
        index = _free.pop()
        self._at = STORAGE + 8 * index
        self.distance = self._at - TASK
        weakref.finalize(self, _release, index)

    def find(self, pidfd: bytes, what: str) -> int | None:
        """Where the value of a task is."""
        task = _task(pidfd, what)
        return None if task is None else self._value(task)

    def store(self, header: int, pidfd: bytes, value: bytes, flags: int, what: str) -> None:
        """In the map with this header."""
        task = _task(pidfd, what)
        if flags not in (0, 1, 2):
            raise KernelError(what, errno.EINVAL)
        if task is None:
            raise KernelError(what, errno.ESRCH).hint(
                "that thread has not been in a traced function"
            )
        there = self._value(task)
        if flags and (there is None) == (flags == 2):
            raise KernelError(what, errno.EEXIST if flags == 1 else errno.ENOENT)
        data = Block(len(value), value)
        if there is None:
            there = _code()[0](header, task, data.address, 1)
        ctypes.memmove(there, data.address, len(value))

    def remove(self, header: int, pidfd: bytes, what: str) -> bool:
        """Whether there was a value."""
        task = _task(pidfd, what)
        return task is not None and not _code()[1](header, task)

    def _value(self, task: int) -> int | None:
        found = peek(task + self.distance)
        return found if found and not found & 1 else None


@cache
def _code() -> tuple[Function, Function]:
    """Get and delete, as programs have them."""
    return compile_text(STORAGE_GET, {}), compile_text(STORAGE_DELETE, {})


def _task(pidfd: bytes, what: str) -> int | None:
    """The address of the task of a pidfd; None if it never came by."""
    tid = _thread_of(int.from_bytes(pidfd, "little", signed=True), what)
    block = threads().block() if tid == _libc.gettid() else threads().block_of(tid)
    return None if block is None else block + TASK


def _release(index: int) -> None:
    """When nobody has the map any more, which programs hold."""
    for block in threads().blocks():
        found = peek(block + STORAGE + 8 * index) & -2
        poke(block + STORAGE + 8 * index, 8, 0)
        _libc.free(found)
    _free.append(index)


def _thread_of(fd: int, what: str) -> int:
    try:
        text = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii")
        os.fstat(fd)
    except OSError:
        raise KernelError(what, errno.EBADF) from None
    found = re.search(r"^Pid:\s*(-?\d+)$", text, re.M)
    if found is None:
        raise KernelError(what, errno.EBADF)
    if int(found[1]) <= 0:
        raise KernelError(what, errno.ESRCH)
    return int(found[1])
