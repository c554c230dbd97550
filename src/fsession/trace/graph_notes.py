"""What a graph's program sends beside its calls: texts and values of arguments, the stack above a
root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.isa.insn import alu, ldx, mov, st, stx
from fsession.isa.opcode import R0, R1, R2, R3, R4, R6, R7, R8, R9, R10, Alu, Jmp, Size
from fsession.trace import graph_record as record
from fsession.trace.fields import STACK_BYTES, STATUS_BYTES
from fsession.trace.graph_code import KEY_OFF, SPILL_OFF, count, reserve, submit
from fsession.trace.graph_record import NOTE, TEXT_BITS, Frame, Kind, State
from fsession.trace.record import STRING_BYTES, STRING_LENGTH, TEXT_BYTES
from fsession.uapi import FuncId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.trace.code import Code
    from fsession.trace.graph_code import Making

__all__ = ["send_stack", "send_texts", "send_values"]

_DW, _W = Size.DW, Size.W


def send_texts(code: Code, making: Making) -> None:
    """At "texts": those that the arguments of the call with the frame r9 point to."""
    code.label("texts")
    code.emit(mov(R7, R9))
    reserve(code, NOTE + STRING_BYTES * making.texts, "texts lost")
    code.emit(ldx(_W, R1, R7, State.FRAMES + Frame.ORDER), stx(_W, R9, R1, record.ORDER))
    code.emit(ldx(_DW, R1, R8, State.TREE), stx(_DW, R9, R1, record.TREE))
    for place in range(making.texts):
        code.emit(ldx(Size.H, R2, R7, State.FRAMES + Frame.TEXTS))
        code.emit(alu(Alu.RSH, R2, imm=TEXT_BITS * place))
        code.emit(alu(Alu.AND, R2, imm=(1 << TEXT_BITS) - 1))
        code.jump(Jmp.JEQ, R2, "texts read", imm=0)
        code.emit(alu(Alu.SUB, R2, imm=1), st(_DW, R10, KEY_OFF, 0))
        code.emit(mov(R1, R6), mov(R3, R10), alu(Alu.ADD, R3, imm=KEY_OFF))
        code.helper(FuncId.get_func_arg)
        _read(code, NOTE + STRING_BYTES * place, f"text {place}")
    code.label("texts read")
    submit(code, Kind.TEXTS)
    code.label("texts done")
    code.emit(mov(R9, R7))
    code.goto("texts sent")
    code.label("texts lost")
    count(code, "lost_entries")
    code.goto("texts done")


def _read(code: Code, area: int, name: str) -> None:
    """A text into its area of the record r9: the kernel's, or else a process's. See
    `fsession.trace.body`."""
    for helper in (FuncId.probe_read_kernel_str, FuncId.probe_read_user_str):
        code.emit(mov(R1, R9), alu(Alu.ADD, R1, imm=area + STRING_LENGTH.size))
        code.emit(alu(Alu.MOV, R2, imm=TEXT_BYTES), ldx(_DW, R3, R10, KEY_OFF))
        code.helper(helper)
        code.emit(stx(_DW, R9, R0, area))
        code.jump(Jmp.JSGE, R0, name, imm=0)
    code.emit(ldx(_DW, R1, R10, KEY_OFF))
    code.jump(Jmp.JEQ, R1, name, imm=0)
    count(code, "faulted")
    code.label(name)


def send_values(code: Code, making: Making) -> None:
    """At "values": those of the call with the frame r9, by the function that is made for them."""
    code.label("values")
    code.emit(mov(R1, R6), ldx(_DW, R2, R8, State.TREE))
    code.emit(ldx(_W, R3, R9, State.FRAMES + Frame.ORDER))
    code.emit(ldx(_W, R4, R9, State.FRAMES + Frame.FUNCTION))
    parts = {index: number for number, part in enumerate(making.values) for index in part.indices}
    runs = [(0, parts.get(0))]
    for index in range(1, max(parts) + 2):
        if parts.get(index) != runs[-1][1]:
            runs.append((index, parts.get(index)))
    _choose(code, runs)
    for number in range(len(making.values)):
        code.label(f"values {number}")
        code.call(f"function of values {number}")
        code.goto("values sent")


def _choose(code: Code, runs: Sequence[tuple[int, int | None]]) -> None:
    """Go to the values of the function with the index r4; `runs` say from which index on which."""
    if len(runs) == 1:
        number = runs[0][1]
        code.goto("values sent" if number is None else f"values {number}")
        return
    middle = len(runs) // 2
    below = f"below {runs[middle][0]}"
    code.jump(Jmp.JLT, R4, below, imm=runs[middle][0])
    _choose(code, runs[middle:])
    code.label(below)
    _choose(code, runs[:middle])


def send_stack(code: Code) -> None:
    """The kernel's stack above the root that begins the tree of the state r8."""
    code.emit(stx(_DW, R10, R9, SPILL_OFF))
    reserve(code, NOTE + STATUS_BYTES + STACK_BYTES, "stack lost")
    code.emit(ldx(_DW, R1, R8, State.TREE), stx(_DW, R9, R1, record.TREE))
    code.emit(st(_W, R9, record.ORDER, 0))
    code.emit(mov(R1, R6), mov(R2, R9), alu(Alu.ADD, R2, imm=NOTE + STATUS_BYTES))
    code.emit(alu(Alu.MOV, R3, imm=STACK_BYTES), alu(Alu.MOV, R4, imm=0))
    code.helper(FuncId.get_stack)
    code.emit(alu(Alu.LSH, R0, imm=32), alu(Alu.ARSH, R0, imm=32), stx(_DW, R9, R0, NOTE))
    submit(code, Kind.STACK)
    code.goto("stack sent")
    code.label("stack lost")
    count(code, "lost_entries")
    code.label("stack sent")
    code.emit(ldx(_DW, R9, R10, SPILL_OFF))
