"""Where control goes: functions of a program, basic blocks, edges, what is reached.

A program is its main function and the functions behind it; a function starts at slot 0, at the
goal of a local call, or where a function reference points. All places are slots. Every walk here
is a loop over a list of work, so a long chain of jumps is no deep recursion; time grows with the
length of the program, and with the logarithm of the number of functions.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING

from fsession.errors import BadInputError
from fsession.frozen import frozen
from fsession.isa.insn import InsnOff, offsets
from fsession.isa.opcode import Class, Jmp, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.isa.insn import Insn

__all__ = ["Block", "blocks", "callees", "falls_through", "goal", "reachable", "subprograms"]

_GOTO = int(Class.JMP | Jmp.JA)
_GOTOL = int(Class.JMP32 | Jmp.JA)
_GOTOX = int(Class.JMP | Jmp.JA | Source.X)
_CLASS = 0x07
_GOING = (int(Class.JMP), int(Class.JMP32), int(Class.LD))  # a function is named by a load

Span = tuple[InsnOff, InsnOff]
"""First slot, and the slot behind the last."""


@frozen
class Block:
    """Instructions from `start` up to `end` that run one after the other.

    `successors` are the starts of the blocks of the same function that may follow: of a condition
    the next block first, then the goal of the jump. `calls` are the functions of the program that
    are called or referred to, in the order of the instructions.
    """

    start: InsnOff
    end: InsnOff
    successors: tuple[InsnOff, ...]
    calls: tuple[InsnOff, ...]


def goal(insn: Insn, at: InsnOff) -> InsnOff | None:
    """The slot that the instruction at `at` names: by a jump, a local call or a func ref."""
    if insn.opcode & _CLASS not in _GOING:
        return None
    if insn.is_jump and insn.opcode != _GOTOX:
        return InsnOff(at + 1 + insn.jump_off)
    if insn.is_local_call or insn.is_func_ref:
        return InsnOff(at + 1 + insn.func_off)
    return None


def falls_through(insn: Insn) -> bool:
    """True if the next instruction may run after this one (or after what it calls)."""
    return insn.opcode not in (_GOTO, _GOTOL, _GOTOX) and not insn.is_exit


def subprograms(insns: Sequence[Insn]) -> list[Span]:
    """The functions of a program in their order; the first is the main one.

    Raises `BadInputError` where a call, a function reference or a jump goes to no instruction, and
    where a jump leaves its function.
    """
    starts = offsets(insns)
    known = frozenset(starts[:-1])
    entries = {InsnOff(0)} if insns else set()
    jumps: list[Span] = []
    for at, insn in zip(starts, insns, strict=False):
        to = _checked_goal(insn, at, known)
        if to is None:
            continue
        if insn.is_jump:
            jumps.append((at, to))
        else:
            entries.add(to)
    bounds = [*sorted(entries), starts[-1]]
    for at, to in jumps:
        if bisect_right(bounds, at) != bisect_right(bounds, to):
            raise BadInputError(f"the jump at instruction {at} leaves its function, to {to}")
    return list(pairwise(bounds))


def _checked_goal(insn: Insn, at: InsnOff, known: frozenset[InsnOff]) -> InsnOff | None:
    if insn.opcode == _GOTOX:
        raise BadInputError(f"instruction {at} is an indirect jump (gotox): its goals are unknown")
    to = goal(insn, at)
    if to is not None and to not in known:
        raise BadInputError(f"instruction {at} goes to {to}, where no instruction starts")
    return to


def callees(insns: Sequence[Insn]) -> dict[InsnOff, tuple[InsnOff, ...]]:
    """Of each function, by its start: the functions it calls or refers to, sorted."""
    spans = subprograms(insns)
    bounds = [start for start, _ in spans]
    found: dict[InsnOff, set[InsnOff]] = {start: set() for start in bounds}
    for at, insn in zip(offsets(insns), insns, strict=False):
        if not insn.is_jump and (to := goal(insn, at)) is not None:
            found[bounds[bisect_right(bounds, at) - 1]].add(to)
    return {start: tuple(sorted(called)) for start, called in found.items()}


def blocks(insns: Sequence[Insn]) -> dict[InsnOff, Block]:
    """The basic blocks of all functions, by their start and in their order.

    Raises `BadInputError` as `subprograms` does, and where a function runs past its end.
    """
    starts = offsets(insns)
    ends = [end for _, end in subprograms(insns)]
    leaders = _leaders(insns, starts)
    found = {}
    first = 0
    for index, insn in enumerate(insns):
        if starts[index + 1] not in leaders:
            continue
        if starts[index + 1] in ends and falls_through(insn):
            raise BadInputError(f"a function runs past its end, at instruction {starts[index]}")
        found[starts[first]] = _block(insns[first : index + 1], starts[first : index + 2])
        first = index + 1
    return found


def _leaders(insns: Sequence[Insn], starts: Sequence[InsnOff]) -> set[InsnOff]:
    """Where blocks start: at functions, goals of jumps and behind jumps; and the program's end."""
    leaders = {InsnOff(0), starts[-1]}
    for index, insn in enumerate(insns):
        to = goal(insn, starts[index])
        if to is not None:
            leaders.add(to)
        if insn.is_jump or insn.is_exit:
            leaders.add(starts[index + 1])
    return leaders


def _block(insns: Sequence[Insn], starts: Sequence[InsnOff]) -> Block:
    last, end = insns[-1], starts[-1]
    successors = [end] if falls_through(last) else []
    if last.is_jump and (to := goal(last, starts[-2])) is not None and to not in successors:
        successors.append(to)
    calls = [goal(insn, at) for at, insn in zip(starts, insns, strict=False) if not insn.is_jump]
    called = tuple(to for to in calls if to is not None)
    return Block(starts[0], end, tuple(successors), called)


def reachable(insns: Sequence[Insn]) -> set[InsnOff]:
    """The instructions that control can come to, from the start of the main function."""
    every = blocks(insns)
    seen: set[InsnOff] = set()
    work = [InsnOff(0)] if every else []
    while work:
        at = work.pop()
        if at not in seen:
            seen.add(at)
            work += every[at].successors + every[at].calls
    reached = set()
    start = InsnOff(0)
    for at in offsets(insns)[:-1]:
        start = at if at in every else start
        if start in seen:
            reached.add(at)
    return reached
