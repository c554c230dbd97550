"""The order of a function's code, and where its registers are saved: as late as can be.

A *state* is what is done so far of the frame: bit 0 when there is one, bit 6 when r6 is saved. An
instruction that needs more is preceded by that. Where ways come together in different states, what
follows is there once for each, as states only grow; a function that would become much longer by
that does everything at its start. Before, and after::

    r2 = *(u64 *)(r1 +8)                r2 = *(u64 *)(r1 +8)
    if r2 != 53 goto end                if r2 != 53 goto end in state 0
    call 5                              (the frame) call 5
    end:                                r0 = 0; (the frame is left) exit
    r0 = 0                              end in state 0:
    exit                                r0 = 0; exit
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from fsession.engine.check import written
from fsession.engine.jit.shape import MAY_GOTO
from fsession.frozen import frozen
from fsession.isa.cfg import falls_through, goal
from fsession.isa.opcode import R6, R10

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.engine.jit.allocate import Line
    from fsession.isa.insn import Insn, InsnOff

__all__ = ["FRAME", "Step", "scheduled"]

FRAME = 1
_GROWTH, _FEW = 1.5, 24


@frozen
class Step:
    """A line of code between two states; `then`: a jump behind it, to a line in its new state."""

    line: Line
    before: int
    after: int
    then: InsnOff | None = None


def scheduled(lines: Sequence[Line], groups: Sequence[int], *, eager: int = 0) -> list[Step]:
    """The steps of a function. What is done together are the bits of one of `groups`; `eager` is
    done at the start in any case."""
    needs = [_whole(_needs(line), groups) for line in lines]
    eager = _whole(eager, groups)
    steps = _walk(lines, [needs[0] | eager, *needs[1:]])
    if len(steps) <= _GROWTH * len(lines) + _FEW:
        return steps
    everything = eager
    for need in needs:
        everything |= need
    return _walk(lines, [everything, *needs[1:]])


def _whole(state: int, groups: Sequence[int]) -> int:
    for group in groups:
        state |= group if state & group else 0
    return state


def _needs(line: Line) -> int:
    found = 0
    for insn in line.insns:
        for register in written(insn):
            if R6 <= register < R10:
                found |= FRAME | 1 << register
        if insn.is_call or insn.opcode == MAY_GOTO or _uses_stack(insn):
            found |= FRAME
    return found


def _uses_stack(insn: Insn) -> bool:
    return R10 in (insn.dst, insn.src) and not insn.is_lddw


def _walk(lines: Sequence[Line], needs: Sequence[int]) -> list[Step]:
    """From the start, each way to its end, those that come earlier in the program first."""
    places = {line.at: number for number, line in enumerate(lines)}
    steps: list[Step] = []
    done: set[tuple[int, int]] = set()
    todo = [(0, 0)]
    while todo:
        number, state = heappop(todo)
        while (number, state) not in done:
            done.add((number, state))
            line, after = lines[number], state | needs[number]
            last = line.insns[-1] if line.insns else None
            aim = goal(last, line.at) if last and last.is_jump else None
            if aim is not None:
                heappush(todo, (places[aim], after))
            if last and not falls_through(last):
                steps.append(Step(line, state, after))
                break
            seen = (number + 1, after) in done
            steps.append(Step(line, state, after, lines[number + 1].at if seen else None))
            number, state = number + 1, after
    return steps
