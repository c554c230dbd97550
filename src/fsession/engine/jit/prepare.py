"""A program on its way to machine code: pairs fused, homes found, the targets of calls known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.engine.jit.allocate import allocated
from fsession.engine.jit.fuse import functions
from fsession.engine.jit.schedule import FRAME, scheduled
from fsession.engine.jit.shape import is_tail_call, shape_of
from fsession.frozen import frozen
from fsession.isa.cfg import goal
from fsession.isa.insn import offsets
from fsession.isa.opcode import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fsession.engine.jit.allocate import Machine
    from fsession.engine.jit.code import CallTarget
    from fsession.engine.jit.schedule import Step
    from fsession.engine.jit.shape import Shape
    from fsession.isa.insn import Insn, InsnOff

__all__ = ["TAIL_STATE", "Function", "Prepared", "prepare"]

TAIL_STATE = FRAME | 1 << 12
"""The state of a frame that has saved the count of tail calls."""


@frozen
class Function:
    shape: Shape
    steps: list[Step]


@frozen
class Prepared:
    """`targets` are those of calls of what is outside, by their slots; `tails`: there are tail
    calls, so that each function starts with a frame and `TAIL_STATE`."""

    functions: list[Function]
    targets: dict[InsnOff, int | bytes]
    tails: bool


def prepare(
    insns: Sequence[Insn], calls: CallTarget, machine: Callable[[Sequence[Insn]], Machine]
) -> Prepared:
    """`machine` says what there is for a function."""
    targets = {
        at: calls(insn)
        for at, insn in zip(offsets(insns), insns, strict=False)
        if _is_outside(insn, at)
    }
    inline = {at for at, target in targets.items() if isinstance(target, bytes)}
    tails = any(is_tail_call(insn) for insn in insns)
    found = []
    for start, body in functions(insns):
        offered = machine([insn for _, insn in body])
        lines, stack = allocated(body, offered, inline)
        shape = shape_of(start, [insn for line in lines for insn in line.insns], stack)
        eager = TAIL_STATE if tails else 0
        found.append(Function(shape, scheduled(lines, offered.groups, eager=eager)))
    return Prepared(found, targets, tails)


def _is_outside(insn: Insn, at: InsnOff) -> bool:
    if not insn.is_call or insn.opcode & Source.X or goal(insn, at) is not None:
        return False
    return not is_tail_call(insn)
