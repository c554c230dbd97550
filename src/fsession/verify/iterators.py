"""Iterators on the stack: made by ``bpf_iter_X_new``, stepped by ``_next``, ended by
``_destroy``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fsession.frozen import frozen
from fsession.verify import stack
from fsession.verify.problem import RefusedError
from fsession.verify.state import Byte, Kind, Slot, slot_bit

if TYPE_CHECKING:
    from fsession.verify.equal import Comparison
    from fsession.verify.state import Frame, Reg, State
    from fsession.verify.walk import Walk

__all__ = [
    "Iterator",
    "destroy",
    "find",
    "is_rcu",
    "leave_rcu",
    "new",
    "reference",
    "set_active",
]


@frozen
class Iterator:
    """One slot of an iterator of struct `type`; `part` counts its slots. `ref` must be released.

    `rcu`: of an RCU section; `lost`: that is over.
    """

    type: str
    ref: int
    part: int
    rcu: bool = False
    lost: bool = False
    active: bool = False
    drained: bool = False

    def __str__(self) -> str:
        state = "drained" if self.drained else "active" if self.active else "new"
        return f"{self.type}(ref_id={self.ref},state={state})" if not self.part else "iiiiiiii"

    def covers(self, other: Iterator, compare: Comparison) -> bool:
        return (
            isinstance(other, Iterator)
            and replace(self, ref=0) == replace(other, ref=0)
            and compare.same_id(self.ref, other.ref)
        )

    def overwritten(self, walk: Walk, state: State, frame: Frame, number: int) -> None:
        """The iterator is lost; its reference is not, and so can't be released any more."""
        frame.stack[number] = Slot(bytes([Byte.MISC]) * 8)


def _slots(walk: Walk, state: State, number: int, reg: Reg, size: int) -> tuple[int, list[int]]:
    if reg.kind != Kind.STACK:
        raise RefusedError(f"arg#{number - 1} expected pointer to an iterator on stack")
    off = reg.off + reg.range.smin
    if reg.range.mask or off % 8:
        raise RefusedError("cannot pass in iter at an offset")
    stack.span(walk, number, reg, 0, size, "write to")
    first = (-off - 1) // 8
    return reg.aux, [first - part for part in range(size // 8)]


def new(walk: Walk, state: State, number: int, type: str, size: int, *, rcu: bool = False) -> None:
    """A fresh iterator where register `number` points to."""
    depth, slots = _slots(walk, state, number, state.frame.regs[number], size)
    frame = state.frames[depth]
    for slot in slots:
        held = frame.stack.get(slot)
        if held is not None and held.extra is not None:
            raise RefusedError(
                f"expected uninitialized {type} as arg #{number - 1}",
                advice="there is an iterator or dynptr already",
            )
    ref = walk.acquire(state, type)
    for part, slot in enumerate(slots):
        made = Iterator(type, ref, part, rcu, active=True)  # as the kernel: as after an element
        frame.stack[slot] = Slot(bytes([Byte.ITER]) * 8, None, made)
        state.written |= slot_bit(depth, slot)


def find(walk: Walk, state: State, number: int, type: str, size: int) -> tuple[int, list[int]]:
    """Frame and slots of the iterator that register `number` points to."""
    depth, slots = _slots(walk, state, number, state.frame.regs[number], size)
    frame = state.frames[depth]
    for part, slot in enumerate(slots):
        held = frame.stack.get(slot)
        extra = held.extra if held is not None else None
        if not isinstance(extra, Iterator) or extra.type != type or extra.part != part:
            raise RefusedError(f"expected an initialized {type} as arg #{number - 1}")
        if extra.lost:
            raise RefusedError(
                f"expected an RCU CS when using bpf_{type}",
                advice="the RCU section in which it was made is over",
            )
    return depth, slots


def is_rcu(state: State, depth: int, slots: list[int]) -> bool:
    """Whether what the iterator gives is good for its RCU section only."""
    return bool(state.frames[depth].stack[slots[0]].extra.rcu)


def reference(state: State, depth: int, slots: list[int]) -> int:
    return int(state.frames[depth].stack[slots[0]].extra.ref)


def leave_rcu(state: State) -> None:
    """The RCU section is over: iterators of it can't be used any more."""
    for frame in state.frames:
        for number, held in frame.stack.items():
            if isinstance(held.extra, Iterator) and held.extra.rcu:
                frame.stack[number] = held._replace(extra=replace(held.extra, lost=True))


def set_active(state: State, depth: int, slots: list[int], *, active: bool, drained: bool) -> None:
    """What the last step said: there was an element (active), or there are no more (drained)."""
    frame = state.frames[depth]
    for slot in slots:
        held = frame.stack[slot]
        old = held.extra
        made = replace(old, active=active, drained=drained)
        frame.stack[slot] = Slot(held.bytes, None, made)
        state.written |= slot_bit(depth, slot)


def destroy(walk: Walk, state: State, depth: int, slots: list[int]) -> None:
    frame = state.frames[depth]
    ref = frame.stack[slots[0]].extra.ref
    for slot in slots:
        frame.stack[slot] = Slot(bytes(8))
        state.written |= slot_bit(depth, slot)
    walk.release(state, ref)
