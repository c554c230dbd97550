"""The entry of a call: its frame, the tree it begins, the record of the call above it.

The function's attach cookie (`fsession.trace.graph_record.graph_cookie`) is in r7, later the
session's cookie: the place of the frame, and the level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.isa.insn import alu, atomic, lddw, ldx, mov, st, stx
from fsession.isa.opcode import (
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
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
    RootFilters,
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
from fsession.trace.graph_level import LEVEL_BITS, load_level, number_level
from fsession.trace.graph_notes import send_stack, send_texts, send_values
from fsession.trace.graph_record import (
    MAX_DEPTH,
    ROOT_BIT,
    SENT_BIT,
    Frame,
    GraphCounts,
    Kind,
    State,
)
from fsession.uapi import FuncId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.trace.code import Code
    from fsession.trace.graph_code import Making, Part

__all__ = ["PLACE_BITS", "THERE", "build_entry"]

THERE = 1 << LEVEL_BITS
"""In a session's cookie: it has a frame. Below it is the level."""

PLACE_BITS = LEVEL_BITS + 1
"""The place of the frame is above these bits of a session's cookie."""

_UNWOUND_AT_ONCE = 4
_CREATE = 1  # BPF_LOCAL_STORAGE_GET_F_CREATE
_COMM_BYTES = 16
_DW, _W = Size.DW, Size.W
_NEW = State.FRAMES  # of the frame that is made; r3 is the place
_TOP = State.FRAMES - Frame.BYTES  # of the one above it


def build_entry(code: Code, making: Making) -> None:
    code.emit(mov(R1, R6))
    code.helper(FuncId.get_attach_cookie)
    code.emit(mov(R7, R0))
    load_level(code, making.level, "entry of no task")
    task_state(code)
    code.label("entry")
    code.emit(mov(R8, R0))
    code.jump(Jmp.JEQ, R8, "no state", imm=0)
    check_free(code, making)
    code.emit(ldx(_W, R2, R8, State.DEPTH))
    code.jump(Jmp.JEQ, R2, "begin", imm=0)
    _nest(code, making)
    code.label("push")
    _push(code, making)
    _left(code, making)
    _send_entry(code, making)
    _begin(code, making)
    if making.texts:
        send_texts(code, making)
    if making.values:
        send_values(code, making)
    code.label("entry of no task")
    number_level(code)
    find_state(code, "entry", R9)


def _nest(code: Code, making: Making) -> None:
    """A call below another; r2 is the depth, not 0. Keeps r2, r3 is the place of its frame."""
    code.jump(Jmp.JGE, R2, "deep", imm=MAX_DEPTH)
    take(code, making)
    code.emit(alu(Alu.MOV, R5, imm=0))
    code.label("nest")
    _place(code)
    code.emit(ldx(_DW, R4, R3, _TOP + Frame.CONTEXT))
    code.emit(alu(Alu.SUB, R4, R1), alu(Alu.SUB, R4, imm=1))
    code.jump(Jmp.JGE, R4, "left", imm=making.stack_bytes)
    code.label("nested")
    code.emit(ldx(Size.B, R1, R3, _TOP + Frame.SENT))
    code.jump(Jmp.JSET, R1, "push", imm=1 << SENT_BIT)
    code.goto("send entry")


def _place(code: Code) -> None:
    """r3: the place of a frame at depth r2, for this call; r1 its address, as a number."""
    code.emit(mov(R3, R2), alu(Alu.LSH, R3, imm=Frame.SHIFT), alu(Alu.ADD, R3, R8))
    code.emit(stx(_DW, R3, R6, _NEW + Frame.CONTEXT), ldx(_DW, R1, R3, _NEW + Frame.CONTEXT))


def _push(code: Code, making: Making) -> None:
    """A frame for this call; its place goes into the session's cookie."""
    code.emit(ldx(_W, R1, R3, _TOP + Frame.ORDER), stx(_W, R3, R1, _NEW + Frame.PARENT))
    code.emit(ldx(_W, R1, R8, State.NEXT_ORDER), stx(_W, R3, R1, _NEW + Frame.ORDER))
    code.emit(alu(Alu.ADD, R1, imm=1), stx(_W, R8, R1, State.NEXT_ORDER))
    code.emit(stx(_DW, R3, R7, _NEW + Frame.FUNCTION))
    code.emit(mov(R7, R2), alu(Alu.LSH, R7, imm=PLACE_BITS), alu(Alu.OR, R7, R9))
    code.emit(alu(Alu.OR, R7, imm=THERE), mov(R9, R3))
    code.emit(alu(Alu.ADD, R2, imm=1), stx(_W, R8, R2, State.DEPTH), mov(R1, R6))
    code.kfunc("bpf_session_cookie")
    code.emit(stx(_DW, R0, R7))
    if making.texts:
        code.emit(ldx(Size.H, R1, R9, _NEW + Frame.TEXTS))
        code.jump(Jmp.JNE, R1, "texts", imm=0)
        code.label("texts sent")
    if making.values:
        code.goto("values")
        code.label("values sent")
    leave(code, making)
    code.helper(FuncId.ktime_get_ns)
    code.emit(stx(_DW, R9, R0, _NEW + Frame.START_NS))
    code.goto("out")


def _left(code: Code, making: Making) -> None:
    """The call on top is not one that this one is below of; r4 is how far below the top.

    A task has one stack: what lies far away from it is an interrupt's, or an exception's, where the
    count of interrupts is not up yet, or no more.
    """
    code.label("left")
    code.emit(alu(Alu.ADD, R4, imm=making.stack_bytes))
    code.jump(Jmp.JLT, R4, "over", imm=making.stack_bytes)
    code.jump(Jmp.JEQ, R9, "nested", imm=0)
    code.label("over")
    _unwind(code, making)


def _unwind(code: Code, making: Making) -> None:
    """Take off the frame on top, whose call is over; r2 is the depth.

    After some of them, which r5 counts, all: the tree is over.
    """
    code.map_value(R3, GRAPH_COUNTS_MAP, GraphCounts.offset("abandoned"))
    code.jump(Jmp.JEQ, R5, "all over", imm=_UNWOUND_AT_ONCE)
    code.emit(alu(Alu.MOV, R4, imm=1), atomic(Atomic.ADD, _DW, R3, R4))
    code.emit(alu(Alu.ADD, R5, imm=1))
    code.emit(alu(Alu.SUB, R2, imm=1), alu(Alu.AND, R2, imm=MAX_DEPTH - 1))
    code.emit(stx(_W, R8, R2, State.DEPTH))
    code.jump(Jmp.JNE, R2, "nest", imm=0)
    code.label("all over")
    code.emit(atomic(Atomic.ADD, _DW, R3, R2), st(_W, R8, State.DEPTH, 0))
    leave(code, making)
    code.goto("begin")


def _send_entry(code: Code, making: Making) -> None:
    """The record of the call above, whose frame is in front of the place r3."""
    code.label("send entry")
    code.emit(st(Size.B, R3, _TOP + Frame.SENT, 1 << SENT_BIT))
    code.emit(stx(_DW, R10, R9, SPILL_OFF), stx(_DW, R10, R7, SPILL_OFF - 8))
    code.emit(mov(R7, R3), alu(Alu.SUB, R7, imm=Frame.BYTES))
    reserve(code, record.record_bytes(making.slots), "entry lost")
    fill_header(code, R7)
    code.emit(st(_DW, R9, record.END_NS, 0), st(_DW, R9, record.RESULT, 0))
    code.emit(ldx(_W, R1, R7, State.FRAMES + Frame.ORDER), alu(Alu.ADD, R1, imm=1))
    code.emit(stx(_W, R9, R1, record.NEXT))
    code.emit(ldx(_W, R1, R9, record.DEPTH), alu(Alu.SUB, R1, imm=1))
    code.emit(stx(_W, R9, R1, record.DEPTH))
    if making.slots:
        code.emit(ldx(_DW, R3, R7, State.FRAMES + Frame.CONTEXT))
        code.emit(mov(R1, R9), alu(Alu.ADD, R1, imm=record.SLOTS))
        code.emit(alu(Alu.MOV, R2, imm=8 * making.slots))
        code.helper(FuncId.probe_read_kernel)
    submit(code, Kind.ENTRY)
    code.label("entry sent")
    code.emit(ldx(_DW, R7, R10, SPILL_OFF - 8), ldx(_DW, R9, R10, SPILL_OFF))
    code.emit(ldx(_W, R2, R8, State.DEPTH), alu(Alu.AND, R2, imm=MAX_DEPTH - 1))
    _place(code)
    code.goto("push")
    code.label("entry lost")
    count(code, "lost_entries")
    code.goto("entry sent")


def _begin(code: Code, making: Making) -> None:
    """No tree is under way: a root begins one."""
    code.label("no state")
    _only_roots(code)
    task_state(code, flags=_CREATE)
    code.jump(Jmp.JEQ, R0, "stateless", imm=0)
    code.emit(mov(R8, R0))
    code.goto("new tree")
    code.label("begin")
    _only_roots(code)
    code.label("new tree")
    take(code, making)
    code.helper(FuncId.get_current_pid_tgid)
    code.emit(stx(_DW, R8, R0, State.PID_TGID))
    for at in range(0, _COMM_BYTES, 8):  # Linux 6.1 leaves what was behind the name
        code.emit(st(_DW, R8, State.COMM + at, 0))
    code.emit(mov(R1, R8), alu(Alu.ADD, R1, imm=State.COMM), alu(Alu.MOV, R2, imm=_COMM_BYTES))
    code.helper(FuncId.get_current_comm)
    _filter(code, making.filters)
    _conditions(code, making.conditions)
    code.map_value(R1, GRAPH_COUNTS_MAP, GraphCounts.offset("trees"))
    code.emit(alu(Alu.MOV, R2, imm=1), atomic(Atomic.FETCH_ADD, _DW, R1, R2))
    code.emit(alu(Alu.ADD, R2, imm=1), stx(_DW, R8, R2, State.TREE))
    code.emit(st(_W, R8, State.NEXT_ORDER, 0), st(_W, R8, State.FIRST_PARENT, -1))
    if making.stack:
        send_stack(code)
    code.emit(alu(Alu.MOV, R2, imm=0))
    _place(code)
    code.goto("push")
    if making.filters != RootFilters():
        code.label("not begun")
        leave(code, making)
        code.goto("out")


def _only_roots(code: Code) -> None:
    code.emit(mov(R1, R7), alu(Alu.RSH, R1, imm=ROOT_BIT), alu(Alu.AND, R1, imm=1))
    code.jump(Jmp.JEQ, R1, "out", imm=0)


def _filter(code: Code, wanted: RootFilters) -> None:
    """To "not begun" if the task that is in the state, or the CPU, is not wanted."""
    for number, shift in ((wanted.pid, 32), (wanted.tid, 0)):
        if number is not None:
            code.emit(ldx(_W, R1, R8, State.PID_TGID + shift // 8))
            code.jump(Jmp.JNE, R1, "not begun", imm=number)
    if wanted.comm is not None:
        padded = wanted.comm.ljust(_COMM_BYTES, b"\0")
        for at in range(0, _COMM_BYTES, 8):
            code.emit(ldx(_DW, R1, R8, State.COMM + at))
            code.emit(lddw(R2, int.from_bytes(padded[at : at + 8], "little")))
            code.jump(Jmp.JNE, R1, "not begun", R2)
    if wanted.cpu is not None:
        code.helper(FuncId.get_smp_processor_id)
        code.jump(Jmp.JNE, R0, "not begun", imm=wanted.cpu)


def _conditions(code: Code, conditions: Sequence[Part]) -> None:
    """To "not begun" if the expressions on this root are not true."""
    if not conditions:
        return
    code.emit(mov(R1, R7), alu(Alu.LSH, R1, imm=32), alu(Alu.RSH, R1, imm=32))
    for number, condition in enumerate(conditions):
        for index in condition.indices:
            code.jump(Jmp.JEQ, R1, f"condition {number}", imm=index)
    code.goto("not begun")
    for number in range(len(conditions)):
        code.label(f"condition {number}")
        code.emit(mov(R1, R6))
        code.call(f"function of condition {number}")
        code.jump(Jmp.JEQ, R0, "not begun", imm=0)
        code.goto("wanted")
    code.label("wanted")
