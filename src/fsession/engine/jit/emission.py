"""The walk over a program while it becomes machine code: the same on every architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fsession.engine.jit.allocate import Line
from fsession.engine.jit.code import Buffer, Fault
from fsession.isa.insn import InsnOff

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.engine.jit.prepare import Prepared
    from fsession.engine.jit.shape import Shape
    from fsession.isa.insn import Insn

__all__ = ["Emission", "Translator", "emit"]


class Emission:
    """The code so far, and what is known at each moment: the line that is translated, the state of
    the frame behind it."""

    def __init__(self, patch: Callable[[bytearray, int, int], None]) -> None:
        self.code = Buffer(patch)
        self.line, self.state = Line(InsnOff(0), ()), 0
        self.faults: list[Fault] = []
        self.targets: dict[InsnOff, int | bytes] = {}
        self.tails = False

    def goal(self, at: int) -> object:
        """The label of the instruction at `at` in the state of the moment."""
        return (at, self.state)


class Translator(Protocol):
    """What an architecture does of it; `jump` goes to a label."""

    jump: bytes

    def begin(self, shape: Shape) -> None: ...
    def extend_frame(self, new: int) -> None: ...
    def translate(self, insn: Insn, at: int) -> None: ...


def emit(program: Prepared, out: Emission, to: Translator) -> dict[int, int]:
    """The code of all functions; their entries, offsets by their slots."""
    entries = {}
    out.targets, out.tails = program.targets, program.tails
    for function in program.functions:
        entries[function.shape.start] = len(out.code)
        to.begin(function.shape)
        for step in function.steps:
            out.line, out.state = step.line, step.after
            out.code.label((step.line.at, step.before))
            to.extend_frame(step.after & ~step.before)
            for insn in step.line.insns:
                to.translate(insn, step.line.at)
            if step.then is not None:
                out.code.emit_to(out.goal(step.then), to.jump)
    return entries
