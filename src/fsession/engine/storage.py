"""Task storage: a word for each map in the block of each thread; see `fsession.engine.maps`.

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
from pathlib import Path

from fsession.engine.memory import peek, poke
from fsession.engine.threads import STORAGE, STORAGE_LIMIT, TASK, threads
from fsession.errors import KernelError

__all__ = ["TaskStorage"]

_free: list[int] = list(range(STORAGE_LIMIT))
_libc = ctypes.CDLL(None)
_libc.free.argtypes = (ctypes.c_void_p,)


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

    def task(self, key: bytes, what: str) -> int | None:
        """The address of the task of a pidfd; None if it never came by."""
        tid = _thread_of(int.from_bytes(key, "little", signed=True), what)
        block = threads().block() if tid == _libc.gettid() else threads().block_of(tid)
        return None if block is None else block + TASK

    def value(self, task: int) -> int | None:
        """The address of its value."""
        found = peek(task + self.distance)
        return found if found and not found & 1 else None


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
