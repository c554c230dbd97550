"""Reads and writes of the stack: what lies in each of its bytes.

Slots of 8 bytes count from the frame's top; byte ``i`` of a slot is the one at
``-8 * (slot + 1) + i`` from r10. A register stored whole comes back whole; a scalar stored in its
low bytes comes back from them; all else is bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.verify.problem import RefusedError
from fsession.verify.prune import need, note_read
from fsession.verify.ranges import UNKNOWN, Range, low_half, unsigned_range
from fsession.verify.state import (
    SLOT_BYTES,
    STACK_BYTES,
    ZERO,
    Byte,
    Kind,
    Reg,
    Slot,
    scalar,
    slot_bit,
)

if TYPE_CHECKING:
    from fsession.verify.state import Frame, State
    from fsession.verify.walk import Walk

__all__ = ["read_fixed", "read_variable", "span", "use_memory", "write_fixed", "write_variable"]

_MISC8, _ZERO8, _SPILL8 = bytes([Byte.MISC] * 8), bytes([Byte.ZERO] * 8), bytes([Byte.SPILL] * 8)
_EMPTY = bytes(8)


def span(walk: Walk, number: int, reg: Reg, off: int, size: int, doing: str) -> tuple[int, int]:
    """The lowest and the highest place the access may start at; both inside the stack."""
    low, high = reg.range.smin + reg.off + off, reg.range.smax + reg.off + off
    if abs(low) > 1 << 29 or abs(high) > 1 << 29:
        raise RefusedError(
            f"invalid unbounded variable-offset {doing} stack R{number}",
            advice="bound the index before it is added to the stack's address",
            regs=(number,),
        )
    if low < -STACK_BYTES or high + max(size, 1) > 0:
        kind = "invalid" if low == high else "invalid variable-offset"
        where = f"off={low} " if low == high else f"off={off} "
        raise RefusedError(
            f"{kind} {doing} stack R{number} {where}size={size}",
            advice=f"the stack is the {STACK_BYTES} bytes below r10",
            regs=(number,),
        )
    walk.use_stack(reg.aux, -low)
    return low, high


def _place(off: int) -> tuple[int, int]:
    """Slot and byte in it of an offset from r10."""
    return (-off - 1) // SLOT_BYTES, off % SLOT_BYTES


def write_fixed(walk: Walk, state: State, depth: int, off: int, size: int, reg: Reg) -> None:
    """Store `reg` (or its low `size` bytes) at one place."""
    frame = state.frames[depth]
    number, at = _place(off)
    if reg.is_pointer and size == SLOT_BYTES and not at:
        if reg.kind == Kind.STACK and reg.aux > depth:
            raise RefusedError("cannot spill pointers to stack into stack frame of the caller")
        _forget_extra(walk, state, frame, number)
        frame.stack[number] = Slot(_SPILL8, reg)
        state.written |= slot_bit(depth, number)
        return
    if reg.is_pointer and size != SLOT_BYTES:
        raise RefusedError("invalid size of register spill", advice="store all 8 bytes of it")
    if reg.is_scalar and not at and _keeps(walk, reg, size):
        _forget_extra(walk, state, frame, number)
        _spill_scalar(state, depth, number, size, reg)
        return
    kind = Byte.ZERO if reg.is_scalar and reg.range == ZERO else Byte.MISC
    if kind == Byte.ZERO:
        need(state, reg.deps)
    _put_bytes(walk, state, depth, off, size, kind)


def _keeps(walk: Walk, reg: Reg, size: int) -> bool:
    return size == SLOT_BYTES or walk.limits.partial_spills


def _spill_scalar(state: State, depth: int, number: int, size: int, reg: Reg) -> None:
    """The low bytes hold the register; the ones above stay what they were, as bytes."""
    frame = state.frames[depth]
    if size == SLOT_BYTES:
        frame.stack[number] = Slot(_SPILL8, reg)
        state.written |= slot_bit(depth, number)
        return
    if reg.range.umax >> 8 * size:  # what comes back will be another number
        reg = reg._replace(id=0)
    before = _as_bytes(frame.stack.get(number))
    frame.stack[number] = Slot(_SPILL8[:size] + before[size:], reg)


def _cut(reg: Reg, size: int) -> Range:
    full = (1 << 8 * size) - 1
    if size == 4:
        return low_half(reg.range)
    bits = reg.range
    if not bits.mask & full:
        return unsigned_range(bits.value & full, bits.value & full)
    return unsigned_range(0, full)


def _as_bytes(slot: Slot | None) -> bytes:
    """What the bytes are once the slot is no whole spill any more."""
    if slot is None:
        return _EMPTY
    return slot.bytes.replace(bytes([Byte.SPILL]), bytes([Byte.MISC]))


def _forget_extra(walk: Walk, state: State, frame: Frame, number: int) -> None:
    slot = frame.stack.get(number)
    if slot is not None and slot.extra is not None:
        slot.extra.overwritten(walk, state, frame, number)


def _put_bytes(walk: Walk, state: State, depth: int, off: int, size: int, kind: Byte) -> None:
    frame = state.frames[depth]
    end = off + size
    while off < end:
        number, at = _place(off)
        count = min(SLOT_BYTES - at, end - off)
        _forget_extra(walk, state, frame, number)
        if count == SLOT_BYTES:
            frame.stack[number] = Slot(bytes([kind]) * 8)
            state.written |= slot_bit(depth, number)
        else:
            before = _as_bytes(frame.stack.get(number))
            made = before[:at] + bytes([kind]) * count + before[at + count :]
            frame.stack[number] = Slot(made)
        off += count


def write_variable(walk: Walk, state: State, depth: int, low: int, high: int, size: int) -> None:
    """Store something somewhere in ``low .. high + size``: any byte of it may be overwritten.

    What was a zero is a zero or something else now, a spilled register bytes. Nothing is sure to
    be overwritten, so the slots count as not written.
    """
    frame = state.frames[depth]
    for off in range(low, high + size):
        number, at = _place(off)
        slot = frame.stack.get(number)
        if slot is not None and slot.extra is not None:
            raise RefusedError("variable-offset write to a dynptr or iterator on the stack")
        before = _as_bytes(slot)
        if before[at] == Byte.INVALID and not walk.limits.uninit_stack:
            raise RefusedError(
                f"uninit stack in range of var-offset write prohibited off {low}",
                advice="initialise that part of the stack first",
            )
        frame.stack[number] = Slot(before[:at] + bytes([Byte.MISC]) + before[at + 1 :])


def read_fixed(walk: Walk, state: State, depth: int, off: int, size: int) -> Reg:
    """What a load from one place gives."""
    frame = state.frames[depth]
    number, at = _place(off)
    slot = frame.stack.get(number)
    note_read(state, slot_bit(depth, number))
    if slot is not None and slot.extra is not None:
        raise RefusedError(f"invalid read from stack off {off}+0 size {size}")
    if slot is not None and slot.reg is not None:
        if slot.bytes == _SPILL8 and size == SLOT_BYTES:
            return slot.reg
        if slot.reg.is_pointer:
            raise RefusedError("invalid size of register fill", advice="load all 8 bytes of it")
        if not at and all(kind == Byte.SPILL for kind in slot.bytes[:size]):
            return scalar(_cut(slot.reg, size), slot.reg.deps)
    return _read_bytes(walk, state, depth, off, size)


def _read_bytes(walk: Walk, state: State, depth: int, off: int, size: int) -> Reg:
    zeros = 0
    deps = 0
    for place in range(off, off + size):
        number, at = _place(place)
        slot = state.frames[depth].stack.get(number)
        note_read(state, slot_bit(depth, number))
        kind = slot.bytes[at] if slot is not None else Byte.INVALID
        if slot is not None and slot.extra is not None:
            raise RefusedError(f"invalid read from stack off {off}+{place - off} size {size}")
        if kind == Byte.INVALID and not walk.limits.uninit_stack:
            raise RefusedError(
                f"invalid read from stack off {off}+{place - off} size {size}",
                advice="write to that place of the stack before it is read",
            )
        if kind == Byte.SPILL:
            assert slot is not None
            assert slot.reg is not None
            if slot.reg.is_pointer:
                kind = Byte.MISC
            else:
                deps |= slot.reg.deps
                zeros += slot.reg.range == ZERO
        zeros += kind == Byte.ZERO
    return scalar(ZERO if zeros == size else _bytes_range(size), deps)


def _bytes_range(size: int) -> Range:
    return UNKNOWN if size == SLOT_BYTES else unsigned_range(0, (1 << 8 * size) - 1)


def read_variable(walk: Walk, state: State, depth: int, low: int, high: int, size: int) -> Reg:
    """What a load from somewhere in ``low .. high + size`` gives: nothing is known of it."""
    use_memory(walk, state, depth, low, high + size - low, write=False)
    return scalar(_bytes_range(size))


def use_memory(walk: Walk, state: State, depth: int, off: int, size: int, *, write: bool) -> None:
    """Give ``size`` bytes at `off` to something that reads them, and with `write` may write."""
    frame = state.frames[depth]
    for place in range(off, off + size):
        number, at = _place(place)
        slot = frame.stack.get(number)
        note_read(state, slot_bit(depth, number))
        kind = slot.bytes[at] if slot is not None else Byte.INVALID
        if slot is not None and slot.extra is not None:
            raise RefusedError(f"invalid read from stack off {off}+{place - off} size {size}")
        if kind == Byte.INVALID and not walk.limits.uninit_stack:
            raise RefusedError(
                f"invalid indirect read from stack off {off}+{place - off} size {size}",
                advice="write to that part of the stack before it is given away",
            )
        if write:
            before = _as_bytes(slot)
            frame.stack[number] = Slot(before[:at] + bytes([Byte.MISC]) + before[at + 1 :])
