"""The context pointer is followed through registers, stack and calls."""

from __future__ import annotations

import pytest

from fsession.errors import BadInputError
from fsession.isa.dataflow import Holds, context_pointers
from fsession.isa.insn import (
    alu,
    atomic,
    call_helper,
    call_local,
    exit_,
    ja,
    jmp,
    lddw,
    ldx,
    mov,
    st,
    stx,
)
from fsession.isa.opcode import (
    R0,
    R1,
    R2,
    R3,
    R6,
    R10,
    Alu,
    Atomic,
    Jmp,
    Pseudo,
    Size,
)

DW, W = Size.DW, Size.W
CTX, MAYBE = Holds(0), Holds(0, sure=False)
ZERO = alu(Alu.MOV, R0, imm=0)

CASES = [
    ("at entry", [exit_()], 0, {R1: CTX}),
    ("a copy", [mov(R6, R1), exit_()], 1, {R1: CTX, R6: CTX}),
    ("an addition", [mov(R2, R1), alu(Alu.ADD, R2, imm=16), exit_()], 2, {R1: CTX, R2: Holds(16)}),
    ("other arithmetic ends it", [alu(Alu.SUB, R1, R2), exit_()], 1, {}),
    ("a call keeps r6", [mov(R6, R1), call_helper(5), exit_()], 2, {R6: CTX}),
    (
        "through the stack",
        [stx(DW, R10, R1, -8), call_helper(5), ldx(DW, R3, R10, -8), exit_()],
        3,
        {R3: CTX},
    ),
    (
        "through the stack by a copy of r10",
        [
            mov(R2, R10),
            alu(Alu.ADD, R2, imm=-16),
            stx(DW, R2, R1, 8),
            ldx(DW, R3, R10, -8),
            exit_(),
        ],
        4,
        {R1: CTX, R3: CTX},
    ),
    (
        "a stack slot overwritten in part",
        [stx(DW, R10, R1, -8), st(W, R10, -4, 0), ldx(DW, R3, R10, -8), exit_()],
        3,
        {R1: CTX},
    ),
    (
        "a load from the context is no context",
        [ldx(DW, R1, R1, 8), exit_()],
        1,
        {},
    ),
    (
        "an atomic exchange overwrites its register",
        [atomic(Atomic.XCHG, DW, R10, R1, -8), exit_()],
        1,
        {},
    ),
    (
        "on one of two paths",
        [jmp(Jmp.JEQ, R2, imm=0, off=1), mov(R6, R1), ZERO, exit_()],
        2,
        {R1: CTX, R6: MAYBE},
    ),
    (
        "on both paths",
        [jmp(Jmp.JEQ, R2, imm=0, off=2), mov(R6, R1), ja(1), mov(R6, R1), ZERO, exit_()],
        4,
        {R1: CTX, R6: CTX},
    ),
    (
        "passed to a function",
        [mov(R2, R1), call_local(1), exit_(), ZERO, exit_()],
        3,
        {R1: CTX, R2: CTX},
    ),
    (
        "passed by one of two callers",
        [mov(R2, R1), call_local(3), mov(R1, R6), call_local(1), exit_(), ZERO, exit_()],
        5,
        {R1: MAYBE, R2: MAYBE},
    ),
    (
        "a callback gets no context",
        [lddw(R2, 3, Pseudo.FUNC), ZERO, exit_(), ZERO, exit_()],
        4,
        {},
    ),
    (
        "a loop that walks the context is not sure",
        [alu(Alu.ADD, R1, imm=8), jmp(Jmp.JNE, R2, imm=0, off=-2), exit_()],
        0,
        {R1: MAYBE},
    ),
]


@pytest.mark.parametrize(
    ("program", "at", "expected"), [pytest.param(*c[1:], id=c[0]) for c in CASES]
)
def test_context_pointers(program, at, expected):
    assert context_pointers(program)[at] == expected


def test_what_is_never_reached_has_no_state():
    assert set(context_pointers([ja(1), ZERO, exit_()])) == {0, 2}


def test_a_jump_out_of_the_program():
    with pytest.raises(BadInputError, match="goes to 6"):
        context_pointers([ja(5), exit_()])
