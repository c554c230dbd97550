"""The exit of a call: its record, and the end of its frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.isa.insn import alu, atomic, ldx, mov, stx
from fsession.isa.opcode import (
    R0,
    R1,
    R2,
    R3,
    R6,
    R7,
    R8,
    R9,
    R10,
    Alu,
    Atomic,
    Jmp,
    Size,
)
from fsession.trace import graph_record as record
from fsession.trace.graph_code import (
    GRAPH_COUNTS_MAP,
    SPILL_OFF,
    check_free,
    count,
    fill_header,
    find_state,
    leave,
    reserve,
    submit,
    take,
    task_state,
)
from fsession.trace.graph_entry import PLACE_BITS
from fsession.trace.graph_level import LEVELS
from fsession.trace.graph_record import MAX_DEPTH, Frame, GraphCounts, Kind, State
from fsession.uapi import FuncId

if TYPE_CHECKING:
    from fsession.trace.code import Code
    from fsession.trace.graph_code import Making

__all__ = ["build_exit"]

_DW, _W = Size.DW, Size.W
_AT_ONCE = 2


def build_exit(code: Code, making: Making) -> None:
    """It ends at the label "out", which comes next."""
    code.label("exit of no task")
    code.emit(mov(R9, R7), alu(Alu.AND, R9, imm=LEVELS - 1))
    find_state(code, "exit of a state", R9)
    _count_abandoned(code)
    code.label("lost")
    count(code, "lost")
    code.goto("done")
    code.label("exit")
    code.emit(mov(R1, R6))
    code.kfunc("bpf_session_cookie")
    code.emit(ldx(_DW, R7, R0))
    code.jump(Jmp.JEQ, R7, "out", imm=0)
    code.helper(FuncId.ktime_get_ns)
    code.emit(stx(_DW, R10, R0, SPILL_OFF))
    code.jump(Jmp.JSET, R7, "exit of no task", imm=LEVELS - 1)
    task_state(code)
    code.label("exit of a state")
    code.emit(mov(R8, R0))
    code.jump(Jmp.JEQ, R8, "unpaired", imm=0)
    check_free(code, making)
    _take_off(code, making)
    reserve(code, record.record_bytes(making.slots), "lost")
    fill_header(code, R7)
    code.emit(ldx(_DW, R1, R10, SPILL_OFF), stx(_DW, R9, R1, record.END_NS))
    code.emit(mov(R1, R6), mov(R2, R9), alu(Alu.ADD, R2, imm=record.RESULT))
    code.helper(FuncId.get_func_ret)
    _fill_slots(code, making)
    submit(code, Kind.EXIT)
    code.label("done")
    leave(code, making)


def _take_off(code: Code, making: Making) -> None:
    """r7 = the frame of this call, which goes with those above it; else to "unpaired"."""
    code.emit(alu(Alu.RSH, R7, imm=PLACE_BITS), alu(Alu.AND, R7, imm=MAX_DEPTH - 1))
    code.emit(ldx(_W, R1, R8, State.DEPTH), alu(Alu.SUB, R1, imm=1))
    code.jump(Jmp.JNE, R1, "not on top", R7)
    code.label("on top")
    _frame(code)
    take(code, making)
    code.emit(stx(_W, R8, R7, State.DEPTH), mov(R7, R2))


def _frame(code: Code) -> None:
    """r2 = the frame at the place r7; to "unpaired" if it is another call's."""
    code.emit(mov(R2, R7), alu(Alu.LSH, R2, imm=Frame.SHIFT), alu(Alu.ADD, R2, R8))
    code.emit(ldx(_DW, R3, R2, State.FRAMES + Frame.CONTEXT))
    code.jump(Jmp.JNE, R3, "unpaired", R6)


def _count_abandoned(code: Code) -> None:
    """Calls above this one left without a return, unless it was one of those; r1 is the place of
    the last."""
    code.label("not on top")
    code.jump(Jmp.JSLT, R1, "unpaired", R7)
    _frame(code)
    code.map_value(R2, GRAPH_COUNTS_MAP, GraphCounts.offset("abandoned"))
    code.emit(alu(Alu.SUB, R1, R7), atomic(Atomic.ADD, _DW, R2, R1))
    code.goto("on top")


def _fill_slots(code: Code, making: Making) -> None:
    """The argument words, which are where the trampoline saved them; r7 is the frame."""
    if not making.slots:
        return
    if making.words is None:
        _ask_for_slots(code, making.slots)
        return
    code.emit(mov(R1, R6), alu(Alu.MOV, R2, imm=making.words))
    code.kfunc("bpf_rdonly_cast")
    code.emit(ldx(Size.B, R2, R7, State.FRAMES + Frame.SLOTS))
    for slot in range(making.slots):
        if slot % _AT_ONCE == 0:  # one that the function does not have costs less than to ask
            code.jump(Jmp.JLE, R2, "filled", imm=slot)
        code.emit(ldx(_DW, R1, R0, 8 * slot), stx(_DW, R9, R1, record.SLOTS + 8 * slot))
    code.label("filled")


def _ask_for_slots(code: Code, slots: int) -> None:
    for slot in range(slots):
        code.emit(ldx(Size.B, R0, R7, State.FRAMES + Frame.SLOTS))
        code.jump(Jmp.JLE, R0, "filled", imm=slot)
        code.emit(mov(R1, R6), alu(Alu.MOV, R2, imm=slot), mov(R3, R9))
        code.emit(alu(Alu.ADD, R3, imm=record.SLOTS + 8 * slot))
        code.helper(FuncId.get_func_arg)
    code.label("filled")
