"""Checkpoints: what was already walked from, and when a state needs no walk of its own.

A state S may be left out if an earlier state T at the same place covers it: every way of T was
safe, and whatever S can do, T could. Three things keep that both true and useful:

- *liveness*: registers that are not read before they are written do not matter (`live`, static);
  stack slots of T that no way from T has read do not matter (`Checkpoint.read`);
- *precision*: a scalar whose value no way from T depended on may be any scalar in S
  (`Checkpoint.precise`). A scalar knows the places of the last checkpoint that it was made from
  (`Reg.deps`); when its value decides something (a bound, a branch), those become precise there,
  and what they were made from in the checkpoint before, and so on;
- what a state that was left out would have read or needed is what T did: the marks of T go to the
  checkpoints before S as well, also those that come later (`followers`).

The marks of T are complete once every way from T has been walked, which in a loop is when the loop
is (`settled`). Before that, a state is left out only if T covers it without regard to marks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.verify.state import FRAME_BITS, Kind, State, reg_bit, slot_bit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsession.verify.state import Frame, Reg

__all__ = ["Checkpoint", "followed", "need", "note_read", "open_loops", "rebased", "settled"]


class Checkpoint:
    """A state that was walked from. `branches` counts the ways from it that are not finished."""

    __slots__ = (
        "branches",
        "followers",
        "hits",
        "loops",
        "misses",
        "parent",
        "precise",
        "progress",
        "read",
        "state",
    )

    def __init__(self, state: State) -> None:
        self.state = state
        self.parent = state.parent
        self.progress = state.progress
        self.branches = 1
        self.precise = 0
        self.read = 0
        self.followers: list[State] = []
        self.loops: set[Checkpoint] = set()
        self.hits = self.misses = 0


def settled(point: Checkpoint) -> bool:
    """All ways from it are walked, through loops that it is part of as well."""
    return not point.branches and not open_loops(point)


def open_loops(point: Checkpoint) -> set[Checkpoint]:
    """The entries of loops, all above `point`, that must be finished before it is settled."""
    if point.branches:
        return {point}
    if point.loops:
        point.loops = set().union(*map(open_loops, point.loops))
    return point.loops


def rebased(state: State) -> None:
    """From here on, scalars are made from what they are at the checkpoint that was just set."""
    for depth, frame in enumerate(state.frames):
        regs = frame.regs
        for number, reg in enumerate(regs):
            if reg.kind == 1:
                regs[number] = reg._replace(deps=reg_bit(depth, number))
        for number, slot in frame.stack.items():
            if slot.reg is not None and slot.reg.kind == 1:
                made = slot.reg._replace(deps=slot_bit(depth, number))
                frame.stack[number] = slot._replace(reg=made)
    state.written = 0


def need(state: State, deps: int) -> None:
    """The value of a scalar made from the places `deps` decides something: they are precise."""
    if deps:
        _mark(state.parent, deps, 0)


def note_read(state: State, bits: int) -> None:
    """The stack slots `bits` are read: what is in them since the checkpoint matters there."""
    bits &= ~state.written
    if bits:
        _mark(state.parent, 0, bits)


def followed(state: State, point: Checkpoint) -> None:
    """`state` is left out because of `point`: what that needs and reads, the state would have."""
    _mark(state.parent, _made_from(state, point.precise), point.read & ~state.written)
    entries = open_loops(point)
    if not entries:
        return
    point.followers.append(state)
    waiting, before = set(entries), state.parent
    while before is not None and waiting:
        waiting.discard(before)
        before.loops |= waiting
        before = before.parent


def _mark(point: Checkpoint | None, precise: int, read: int) -> None:
    work = [(point, precise, read)]
    while work:
        point, precise, read = work.pop()
        if point is None:
            continue
        precise &= ~point.precise
        read &= ~point.read
        if not precise and not read:
            continue
        point.precise |= precise
        point.read |= read
        for state in (point.state, *point.followers):
            made = _made_from(state, precise) if precise else 0
            work.append((state.parent, made, read & ~state.written))


def _made_from(state: State, places: int) -> int:
    """What the scalars at `places` were made from."""
    deps = 0
    for reg in _regs_at(state.frames, places):
        if reg.kind == Kind.SCALAR:
            deps |= reg.deps
    return deps


def _regs_at(frames: list[Frame], places: int) -> Iterator[Reg]:
    while places:
        bit = (places & -places).bit_length() - 1
        places &= places - 1
        depth, place = divmod(bit, FRAME_BITS)
        if depth >= len(frames):
            continue
        if place < 16:
            yield frames[depth].regs[place]
        else:
            slot = frames[depth].stack.get(place - 16)
            if slot is not None and slot.reg is not None:
                yield slot.reg
