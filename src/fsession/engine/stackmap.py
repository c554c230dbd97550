"""Maps of stack traces, which ``bpf_get_stackid`` fills: a stack's id is a bucket, by its hash.

An entry: next free entry's address; hash (u32) and bytes (u32) of the stack; the stack, the rest
of which is 0. A bucket is an entry's address, or 0. One entry more than the map has is spare: a
stack is written there before it is looked for.
"""

from __future__ import annotations

import ctypes
import errno
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from fsession.engine.map_parts import LOCK, UNLOCK
from fsession.engine.memory import Block, peek, poke
from fsession.engine.native import compile_text
from fsession.engine.threads import threads
from fsession.errors import KernelError
from fsession.uapi import MapFlag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsession.engine.native import Function
    from fsession.spec import MapSpec

__all__ = ["StackTraces", "check_stack_map"]

_HEAD_BYTES = 16
_DEEPEST = 127  # kernel.perf_event_max_stack
_FREE, _SPARE = 96, 104  # in the map's header
_KNOWN_FLAGS = MapFlag.NUMA_NODE | MapFlag.RDONLY | MapFlag.WRONLY


class StackTraces:
    """The memory of such a map."""

    def __init__(self, spec: MapSpec) -> None:
        self._value_size = spec.value_size
        step = _HEAD_BYTES + spec.value_size
        self.buckets = Block(8 << (spec.max_entries - 1).bit_length())
        self._entries = Block(step * (spec.max_entries + 1))
        first = self._entries.address
        for at in range(1, spec.max_entries):
            poke(first + step * at, 8, first + step * (at + 1))
        self.words = {_SPARE: first, _FREE: first + step}

    @property
    def values(self) -> Block:
        return self._entries

    def __len__(self) -> int:
        """How many ids there can be."""
        return self.buckets.size // 8

    def ids(self) -> Iterator[int]:
        return (id for id in range(len(self)) if peek(self._bucket(id)))

    def get(self, header: int, id: int) -> bytes | None:
        with _locked(header):
            entry = peek(self._bucket(id)) if id < len(self) else 0
            return ctypes.string_at(entry + _HEAD_BYTES, self._value_size) if entry else None

    def remove(self, header: int, id: int, what: str) -> bool:
        """Whether it was there."""
        if id >= len(self):
            raise KernelError(what, errno.E2BIG)
        with _locked(header):
            entry = peek(self._bucket(id))
            if entry:
                poke(self._bucket(id), 8, 0)
                poke(entry, 8, peek(header + _FREE))
                poke(header + _FREE, 8, entry)
            return bool(entry)

    def _bucket(self, id: int) -> int:
        return self.buckets.address + 8 * id


@contextmanager
def _locked(header: int) -> Iterator[None]:
    lock, unlock = _code()
    if lock(header):
        raise KernelError("lock map", errno.EBUSY)
    try:
        yield
    finally:
        unlock(header)


@cache
def _code() -> tuple[Function, Function]:
    return compile_text(LOCK, {"thread": threads().load}), compile_text(UNLOCK, {})


def check_stack_map(spec: MapSpec, what: str) -> None:
    """As stack_map_alloc."""
    if spec.flags & MapFlag.STACK_BUILD_ID:
        raise KernelError(what, errno.EOPNOTSUPP).hint("the engine's stacks have no build ids")
    sound = spec.max_entries and spec.key_size == 4 and not spec.flags & ~_KNOWN_FLAGS
    if not sound or spec.value_size % 8 or not 1 <= spec.value_size // 8 <= _DEEPEST:
        raise KernelError(what, errno.EINVAL)
