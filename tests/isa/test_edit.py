"""Editing keeps jumps, calls and function references right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsession.errors import BadInputError, InternalError
from fsession.isa.edit import Edit, ToLabel
from fsession.isa.insn import (
    Insn,
    InsnOff,
    alu,
    call_local,
    exit_,
    ja,
    jmp,
    lddw,
    mov,
    offsets,
    slot_count,
)
from fsession.isa.opcode import R0, R1, R2, Alu, Class, Jmp, Pseudo

from .strategies import programs

NOP = ja(0)
ONE = alu(Alu.MOV, R0, imm=1)


def run(insns: tuple[Insn, ...], r1: int, budget: int = 500) -> tuple[int, int] | None:
    """r0 and r2 at the end of a program of moves, additions, jumps and calls; None: no end."""
    places = {at: index for index, at in enumerate(offsets(insns))}
    starts = offsets(insns)
    regs = {R0: 0, R1: r1, R2: 0}
    index, stack = 0, []
    for _ in range(budget):
        insn, at = insns[index], starts[index]
        if insn.is_exit:
            if not stack:
                return regs[R0], regs[R2]
            index = stack.pop()
            continue
        if insn.is_local_call:
            stack.append(index + 1)
            index = places[InsnOff(at + 1 + insn.imm)]
            continue
        taken = insn.is_jump and (insn.opcode == Class.JMP | Jmp.JA or regs[insn.dst] == insn.imm)
        if taken:
            index = places[InsnOff(at + 1 + insn.off)]
            continue
        if insn.is_lddw:
            regs[insn.dst] = insn.imm
        elif insn.opcode == alu(Alu.ADD, 0).opcode:
            regs[insn.dst] += insn.imm
        elif insn.opcode == ONE.opcode:
            regs[insn.dst] = insn.imm
        elif insn.opcode == mov(0, 0).opcode:
            regs[insn.dst] = regs[insn.src]
        index += 1
    return None


@given(programs(), st.data())
def test_a_program_with_nops_put_in_does_the_same(program, data):
    edit = Edit(program)
    for at in offsets(program)[:-1]:
        where = data.draw(st.sampled_from(["none", "here", "behind", "replace"]))
        if where in ("here", "behind"):
            edit.insert(at, NOP, lddw(R1 + 4, 7), NOP, jumps=where)
        index = offsets(program).index(at)
        if where == "replace" and not (program[index].is_jump or program[index].is_call):
            edit.replace(at, program[index], NOP)
    edited = edit.apply()
    for r1 in (0, 1, 2):
        want = run(program, r1, budget=100)
        if want is not None:
            assert run(edited.insns, r1) == want


@given(programs())
def test_nothing_to_do_changes_nothing(program):
    edited = Edit(program).apply()
    assert edited.insns == program
    assert all(old == new for old, new in edited.at.items())


def test_where_things_are_afterwards():
    program = (lddw(R0, 1), jmp(Jmp.JEQ, R1, imm=0, off=1), ONE, exit_())
    edit = Edit(program)
    edit.insert(InsnOff(0), NOP, NOP, jumps="behind")
    edit.insert(InsnOff(4), NOP)
    edited = edit.apply()
    assert edited.at == {0: 2, 2: 4, 3: 5, 4: 7}
    assert edited.start == {0: 0, 2: 4, 3: 5, 4: 6}
    assert edited.insns[3].off == 1  # the jump lands on the nop before exit
    assert slot_count(edited.insns) == 8


def test_jumps_behind_pass_by_what_falls_through():
    loop = (alu(Alu.ADD, R2, imm=1), jmp(Jmp.JEQ, R1, imm=0, off=-2), exit_())
    edit = Edit(loop)
    edit.insert(InsnOff(0), NOP, jumps="behind")
    assert [insn.off for insn in edit.apply().insns] == [0, 0, -2, 0]


def test_an_appended_function_is_called():
    program = (NOP, exit_())
    edit = Edit(program)
    one = edit.append(ONE, exit_())
    edit.replace(InsnOff(0), ToLabel(call_local(0), one))
    edited = edit.apply()
    assert edited.labels[one] == 2
    assert run(edited.insns, 0) == (1, 0)


def test_a_function_reference_follows_its_function():
    program = (lddw(R1, 1 | 5 << 32, Pseudo.FUNC), exit_(), ONE, exit_())
    assert slot_count(program) == 5
    moved = Insn(program[0].opcode, R1, Pseudo.FUNC, 0, 2 | 5 << 32)
    edit = Edit((moved, *program[1:]))
    edit.insert(InsnOff(2), NOP)
    assert edit.apply().insns[0].imm == 3 | 5 << 32


def test_a_mark_is_where_jumps_land():
    edit = Edit((NOP, ONE, exit_()))
    edit.insert(InsnOff(1), NOP)
    place = edit.mark(InsnOff(1))
    edit.replace(InsnOff(0), ToLabel(ja(0), place))
    edited = edit.apply()
    assert edited.insns[0] == ja(0)
    assert edited.labels[place] == 1


def test_calls_of_a_function_run_what_was_put_before_its_first_instruction():
    edit = Edit((call_local(1), exit_(), ONE, jmp(Jmp.JEQ, R1, imm=0, off=-2), exit_()))
    edit.insert(InsnOff(2), lddw(R2, 7), jumps="behind")
    again = edit.append(ToLabel(call_local(0), edit.mark(InsnOff(2))), exit_())
    edited = edit.apply()
    assert (edited.start[InsnOff(2)], edited.at[InsnOff(2)]) == (2, 4)
    assert edited.insns[0] == call_local(1)  # with what was put there
    assert edited.insns[4].off == -2  # past it
    assert edited.insns[6].func_off == 2 - edited.labels[again] - 1


def test_a_label_wants_an_instruction_that_goes_somewhere():
    edit = Edit((NOP, exit_()))
    edit.insert(InsnOff(0), ToLabel(ONE, edit.mark(InsnOff(1))))
    with pytest.raises(InternalError, match="goes nowhere"):
        edit.apply()


@pytest.mark.parametrize(
    ("program", "error"),
    [
        pytest.param((ja(5), exit_()), BadInputError, id="jump out of the program"),
        pytest.param((Insn(0x0D, 1), exit_()), BadInputError, id="indirect jump"),
        pytest.param((ja(1), lddw(R0, 1), exit_()), BadInputError, id="jump into a lddw"),
    ],
)
def test_bad_distances(program, error):
    with pytest.raises(error):
        Edit(program).apply()


def test_a_distance_that_no_longer_fits():
    edit = Edit((jmp(Jmp.JEQ, R1, imm=0, off=1), NOP, exit_()))
    edit.insert(InsnOff(1), *[NOP] * 0x8000)
    with pytest.raises(BadInputError, match="16 bits"):
        edit.apply()


def test_no_place_and_two_replacements_are_our_own_mistakes():
    edit = Edit((lddw(R0, 1), exit_()))
    with pytest.raises(InternalError):
        edit.insert(InsnOff(1), NOP)
    edit.replace(InsnOff(0), NOP)
    with pytest.raises(InternalError):
        edit.replace(InsnOff(0), NOP)
