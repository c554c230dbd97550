"""Loops that the kernel itself ends: numbers that change in each round are forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.verify.ranges import UNKNOWN
from fsession.verify.state import Kind, Reg, reg_bit, slot_bit

if TYPE_CHECKING:
    from fsession.verify.prune import Checkpoint
    from fsession.verify.state import State

__all__ = ["widen"]


def widen(state: State, other: State) -> None:
    """Forget of `other`, which starts a loop once more, the numbers that change each time and
    that nothing needed so far: the loop then comes to an end sooner."""
    point = _seen_before(state)
    if point is None:
        return
    for depth, (before, now) in enumerate(zip(point.state.frames, other.frames, strict=False)):
        for number, (old, new) in enumerate(zip(before.regs, now.regs, strict=True)):
            if _changes(point, old, new, reg_bit(depth, number)):
                now.regs[number] = Reg(Kind.SCALAR, UNKNOWN)
        for number, slot in before.stack.items():
            held = now.stack.get(number)
            if held is None or slot.reg is None or held.reg is None:
                continue
            if slot.bytes == held.bytes == b"\x01" * 8 and _changes(
                point, slot.reg, held.reg, slot_bit(depth, number)
            ):
                now.stack[number] = held._replace(reg=Reg(Kind.SCALAR, UNKNOWN))


def _seen_before(state: State) -> Checkpoint | None:
    """The last checkpoint of this way at this instruction, before the newest."""
    point = state.parent
    point = point.parent if point is not None and point.state.at == state.at else point
    while point is not None:
        if point.state.at == state.at and len(point.state.frames) == len(state.frames):
            return point
        point = point.parent
    return None


def _changes(point: Checkpoint, old: Reg, new: Reg, place: int) -> bool:
    return (
        old.kind == Kind.SCALAR == new.kind and old.range != new.range and not point.precise & place
    )
