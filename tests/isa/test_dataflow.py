"""The context pointer is followed through registers, stack and calls."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st_

from fsession.errors import BadInputError
from fsession.isa.asm import assemble
from fsession.isa.dataflow import Holds, context_pointers
from fsession.isa.insn import (
    Insn,
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
    mov32,
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
    Class,
    Jmp,
    Pseudo,
    Size,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

DW, W = Size.DW, Size.W
CTX, MAYBE = Holds(0), Holds(0, sure=False)
ZERO = alu(Alu.MOV, R0, imm=0)

CASES = [
    ("at entry", [exit_()], 0, {R1: CTX}),
    ("a copy", [mov(R6, R1), exit_()], 1, {R1: CTX, R6: CTX}),
    ("an addition", [mov(R2, R1), alu(Alu.ADD, R2, imm=16), exit_()], 2, {R1: CTX, R2: Holds(16)}),
    ("a subtraction", [alu(Alu.SUB, R1, imm=8), exit_()], 1, {R1: Holds(-8)}),
    ("an unknown number added", [alu(Alu.ADD, R1, R2), exit_()], 1, {R1: MAYBE}),
    ("added to a number", [alu(Alu.ADD, R2, R1), exit_()], 1, {R1: CTX, R2: MAYBE}),
    ("an unknown number subtracted", [alu(Alu.SUB, R1, R2), exit_()], 1, {R1: MAYBE}),
    ("a difference", [mov(R2, R1), alu(Alu.SUB, R2, R1), exit_()], 2, {R1: CTX}),
    ("other arithmetic ends it", [alu(Alu.LSH, R1, imm=3), exit_()], 1, {}),
    ("32-bit moves end it", [mov32(R2, R1), mov32(R1, R1), exit_()], 2, {}),
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
        "an atomic addition overwrites no register",
        [mov(R6, R10), atomic(Atomic.ADD, DW, R6, R1, -8), exit_()],
        2,
        {R1: CTX},
    ),
    (
        "an atomic load overwrites its own register",
        [stx(DW, R10, R1, -8), atomic(Atomic.LOAD_ACQ, DW, R1, R10, -8), exit_()],
        2,
        {},
    ),
    (
        "a load of packet bytes is a call",
        [mov(R6, R1), assemble("r0 = *(u8 *)skb[0]")[0], exit_()],
        2,
        {R6: CTX},
    ),
    (
        "returned by a function",
        [call_local(1), exit_(), mov(R0, R1), exit_()],
        1,
        {R0: MAYBE},
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


def test_running_past_the_end():
    with pytest.raises(BadInputError, match="past its end, at instruction 1"):
        context_pointers([ZERO])


def test_no_program():
    assert context_pointers([]) == {}


Value = int | tuple[str, int, int]
"""A number, or a pointer: ``("ctx", 0, offset)`` or ``("frame", depth, offset)``."""


def _sum(value: Value, number: int) -> Value:
    return value + number if isinstance(value, int) else (*value[:2], value[2] + number)


def run(insns: list[Insn], choices: list[bool]) -> Iterator[tuple[int, list[Value]]]:
    """Run a program of one-slot instructions, taking jumps by `choices`: (slot, registers)."""
    regs: list[Value] = [0, ("ctx", 0, 0), *[0] * 8, ("frame", 0, 0)]
    memory: dict[tuple[int, int], Value] = {}
    frames: list[tuple[int, list[Value]]] = []
    at, left = 0, list(choices)
    while True:
        yield at, regs
        insn = insns[at]
        at += 1
        if insn.is_exit:
            if not frames:
                return
            at, saved = frames.pop()
            regs[6:] = saved[6:]
            regs[1:6] = [0] * 5
        elif insn.is_local_call:
            frames.append((at, list(regs)))
            memory = {place: held for place, held in memory.items() if place[0] != len(frames)}
            regs[0] = 0
            regs[6:] = [0, 0, 0, 0, ("frame", len(frames), 0)]
            at += insn.imm
        elif insn.is_call:
            regs[:6] = [0] * 6
        elif insn.is_jump:
            if not left:
                return
            at += insn.off if left.pop() else 0
        else:
            _effect(insn, regs, memory)


def _effect(insn: Insn, regs: list[Value], memory: dict[tuple[int, int], Value]) -> None:
    """Moves, sums, and 8 bytes to or from the stack; other accesses see no pointer."""
    if insn.opcode == mov(0, 0).opcode:
        regs[insn.dst] = regs[insn.src]
    elif insn.opcode == ZERO.opcode:
        regs[insn.dst] = insn.imm
    elif insn.opcode == alu(Alu.ADD, 0).opcode:
        regs[insn.dst] = _sum(regs[insn.dst], insn.imm)
    elif insn.opcode == alu(Alu.SUB, 0).opcode:
        regs[insn.dst] = _sum(regs[insn.dst], -insn.imm)
    elif insn.cls == Class.LDX:
        base = regs[insn.src]
        regs[insn.dst] = 0
        if base[0] == "frame":
            regs[insn.dst] = memory.get((base[1], base[2] + insn.off), 0)
    elif insn.cls == Class.STX and regs[insn.dst][0] == "frame":
        _, depth, offset = regs[insn.dst]
        memory[depth, offset + insn.off] = regs[insn.src]


SUMS = st_.sampled_from([Alu.ADD, Alu.SUB])
REGS, STACK = st_.sampled_from([R0, R1, R2, R6]), st_.sampled_from([-8, -16])
SIMPLE = st_.one_of(
    st_.builds(mov, REGS, REGS),
    st_.builds(lambda op, dst, imm: alu(op, dst, imm=imm), SUMS, REGS, st_.sampled_from([8, 16])),
    st_.builds(lambda src, off: stx(DW, R10, src, off), REGS, STACK),
    st_.builds(lambda dst, off: ldx(DW, dst, R10, off), REGS, STACK),
    st_.just(call_helper(5)),
    st_.just(jmp(Jmp.JEQ, R0, imm=0)),
    st_.just(call_local(0)),
)


@st_.composite
def functions(draw: st_.DrawFn) -> list[Insn]:
    """A main function and one that it calls; jumps stay inside, calls go forward."""
    main, other = (draw(st_.lists(SIMPLE, max_size=12)) for _ in range(2))
    insns = [*main, exit_(), *other, exit_()]
    for at, insn in enumerate(insns):
        low, high = (0, len(main)) if at <= len(main) else (len(main) + 1, len(insns) - 1)
        if insn.is_jump:
            insns[at] = replace(insn, off=draw(st_.integers(low, high)) - at - 1)
        elif insn.is_local_call:
            insns[at] = call_local(len(main) - at) if at < len(main) else ZERO
    return insns


@settings(max_examples=200)
@given(functions(), st_.lists(st_.booleans(), max_size=12))
def test_what_is_found_is_what_running_shows(program, choices):
    found = context_pointers(program)
    for steps, (at, regs) in enumerate(run(program, choices)):
        for number, value in enumerate(regs):
            held = found[at].get(number)
            if isinstance(value, tuple) and value[0] == "ctx":
                assert held is not None
                assert held.off == value[2] or not held.sure
            else:
                assert held is None or not held.sure
        if steps > 200:
            return
