"""Arrays of what descriptors stand for: programs, for tail calls; perf events: there are none.

A perf event is a thing of the kernel, and so is the buffer that its reader maps. So a perf event
array of the engine stays empty: programs are told what the kernel tells them where nobody listens.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol

from fsession.engine.memory import poke
from fsession.engine.threads import CPU
from fsession.errors import KernelError
from fsession.uapi import MapType

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.engine.memory import Block
    from fsession.engine.program import EngineProgram

__all__ = ["EVENT_OUTPUT", "FdArray", "fd_array"]

# r2 header, r3 flags: an index in 32 bits, all of them ones for that of the CPU
# (kernel/trace/bpf_trace.c: bpf_perf_event_output).
EVENT_OUTPUT = f"""
    r0 = -22
    r6 = r3
    r6 >>= 32
    if r6 != 0 goto out
    r6 = *(u32 *)(r2 +8)
    w7 = w3
    if w7 != -1 goto known
    call c:thread
    r7 = *(u64 *)(r0 +{CPU})
known:
    r0 = -7
    if r7 >= r6 goto out
    r0 = -2
out:
    exit
"""


class FdArray(Protocol):
    """`set` puts what a number stands for at a place, or nothing; whether something was there."""

    def set(self, index: int, number: int | None) -> bool: ...
    def clear(self) -> None: ...


def fd_array(
    kind: MapType, values: Block, program_of: Callable[[int], EngineProgram]
) -> FdArray | None:
    """For a map of this kind; None where values are no descriptors."""
    if kind is MapType.PROG_ARRAY:
        return _Programs(values, program_of)
    return _Events() if kind is MapType.PERF_EVENT_ARRAY else None


class _Programs:
    """Each is held; code finds the places where tail calls go in."""

    def __init__(self, values: Block, program_of: Callable[[int], EngineProgram]) -> None:
        self._values, self._program_of = values, program_of
        self._programs: dict[int, EngineProgram] = {}

    def set(self, index: int, number: int | None) -> bool:
        program = None if number is None else self._program_of(number)
        before = self._programs.pop(index, None)
        if program:
            self._programs[index] = program
            program.users += 1
        poke(self._values.address + 8 * index, 8, program.tail_entry if program else 0)
        if before:
            before.users -= 1
            before.release()
        return before is not None

    def clear(self) -> None:
        for index in list(self._programs):
            self.set(index, None)


class _Events:
    def set(self, index: int, number: int | None) -> bool:
        if number is not None:
            raise KernelError("update of a perf event array", errno.EBADF).hint(
                "the engine has no perf events"
            )
        return False

    def clear(self) -> None:
        """There is nothing."""
