"""Dynptrs on the stack: memory with its bounds at run time, used through calls only.

A dynptr takes two slots. Of the kernel's kinds there are *local* (memory of a map's value) and
*ringbuf* (a record, a reference that must be submitted or discarded); pointers to its data hold
the same reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.frozen import frozen
from fsession.verify import stack
from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.state import Byte, Flag, Kind, Reg, Slot, pointer, slot_bit

if TYPE_CHECKING:
    from fsession.verify.equal import Comparison
    from fsession.verify.state import Frame, State
    from fsession.verify.walk import Walk

__all__ = ["Dynptr", "clone", "data", "find", "make", "release"]

_SLOTS = 2


@frozen
class Dynptr:
    """One slot of a dynptr; `part` counts its slots from the lower address.

    `id` is its own; `ref` the reference that it holds, 0 for none. `used`: something points to its
    data.
    """

    type: str
    id: int
    ref: int
    part: int
    used: bool = False

    def __str__(self) -> str:
        return "dddddddd" if self.part else f"dynptr_{self.type}(id={self.id},ref_id={self.ref})"

    def covers(self, other: Dynptr, compare: Comparison) -> bool:
        return (
            isinstance(other, Dynptr)
            and (self.type, self.part, self.used) == (other.type, other.part, other.used)
            and compare.same_id(self.id, other.id)
            and compare.same_id(self.ref, other.ref)
        )

    def overwritten(self, walk: Walk, state: State, frame: Frame, number: int) -> None:
        """Both of its slots are bytes from here on."""
        if self.ref:
            raise RefusedError(
                "cannot overwrite referenced dynptr", advice="submit or discard the record first"
            )
        if self.used:
            raise NotJudgedError("a dynptr overwritten whose data may be in use")
        first = number + self.part
        for part in range(_SLOTS):
            frame.stack[first - part] = Slot(bytes(8))


def _place(walk: Walk, state: State, number: int) -> tuple[int, int]:
    """Frame and first slot of the dynptr that register `number` points to."""
    reg = walk.readable(state, number)
    if reg.kind != Kind.STACK:
        raise RefusedError(
            f"arg#{number - 1} expected pointer to stack or const struct bpf_dynptr",
            regs=(number,),
        )
    off = reg.off + reg.range.smin
    if reg.range.mask:
        raise RefusedError(f"R{number} variable offset to a dynptr on the stack", regs=(number,))
    if off % 8:
        raise RefusedError("cannot pass in dynptr at an offset", regs=(number,))
    stack.span(walk, number, reg, 0, 8 * _SLOTS, "write to")
    return reg.aux, (-off - 1) // 8


def make(walk: Walk, state: State, number: int, type: str, ref: int = -1) -> None:
    """A dynptr where register `number` points to; `ref` -1: of a reference of its own."""
    depth, first = _place(walk, state, number)
    frame = state.frames[depth]
    for slot in (first, first - 1):
        held = frame.stack.get(slot)
        if held is not None and held.extra is not None:
            if not isinstance(held.extra, Dynptr):
                raise RefusedError("Dynptr has to be an uninitialized dynptr", regs=(number,))
            held.extra.overwritten(walk, state, frame, slot)
    if ref < 0:
        ref = walk.acquire(state, "dynptr of a record") if type == "ringbuf" else 0
    id = walk.new_id()
    for part, slot in enumerate((first, first - 1)):
        frame.stack[slot] = Slot(bytes([Byte.DYNPTR]) * 8, None, Dynptr(type, id, ref, part))
        state.written |= slot_bit(depth, slot)


def find(walk: Walk, state: State, number: int, type: str = "") -> Dynptr:
    """The dynptr that register `number` points to."""
    depth, first = _place(walk, state, number)
    held = [state.frames[depth].stack.get(slot) for slot in (first, first - 1)]
    extras = [slot.extra if slot is not None else None for slot in held]
    if any(not isinstance(e, Dynptr) or e.part != part for part, e in enumerate(extras)):
        raise RefusedError(
            f"Expected an initialized dynptr as arg #{number - 1}",
            advice="there is none at that place, or it was released or overwritten",
            regs=(number,),
        )
    found: Dynptr = extras[0]  # type: ignore[assignment]
    if type and found.type != type:
        raise RefusedError(f"Expected a dynptr of type {type} as arg #{number - 1}", regs=(number,))
    return found


def release(walk: Walk, state: State, number: int) -> None:
    """The record is given back: it, its clones and what points to its data are gone."""
    found = find(walk, state, number, "ringbuf")
    for depth, frame in enumerate(state.frames):
        for slot, held in list(frame.stack.items()):
            if isinstance(held.extra, Dynptr) and held.extra.ref == found.ref:
                frame.stack[slot] = Slot(bytes(8))
                state.written |= slot_bit(depth, slot)
    walk.release(state, found.ref)


def clone(walk: Walk, state: State, number: int, into: int) -> None:
    found = find(walk, state, number)
    make(walk, state, into, found.type, found.ref)


def data(walk: Walk, state: State, number: int, size: int, *, rdonly: bool) -> Reg:
    """`size` bytes of what the dynptr of register `number` is of, or NULL."""
    depth, first = _place(walk, state, number)
    found = find(walk, state, number)
    frame = state.frames[depth]
    for part, slot in enumerate((first, first - 1)):
        made = Dynptr(found.type, found.id, found.ref, part, used=True)
        frame.stack[slot] = frame.stack[slot]._replace(extra=made)
    flags = Flag.MAYBE_NULL | (Flag.RDONLY if rdonly else 0)
    return pointer(Kind.MEM, size, flags, walk.new_id(), found.ref)
