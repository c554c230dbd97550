"""Functions, blocks and edges of programs."""

from __future__ import annotations

import pytest
from hypothesis import given

from fsession.errors import BadInputError
from fsession.isa.asm import assemble
from fsession.isa.cfg import (
    Block,
    blocks,
    callees,
    falls_through,
    goal,
    reachable,
    subprograms,
)
from fsession.isa.insn import Insn, InsnOff, ja, offsets

from .strategies import programs

PROGRAM = assemble("""
main:   r6 = r1                  ; 0
        r2 = subprog[callback]   ; 1, 2
        if r6 == 0 goto out      ; 3
again:  call helper              ; 4
        if r0 != 0 goto again    ; 5
        goto out                 ; 6
        r0 = 7                   ; 7: never
out:    exit                     ; 8
helper: call last                ; 9
        exit                     ; 10
callback:
        r0 = 0                   ; 11
        exit                     ; 12
last:   r0 = 1                   ; 13
        exit                     ; 14
unused: exit                     ; 15: part of last, nothing calls it
""")


def test_subprograms():
    assert subprograms(PROGRAM) == [(0, 9), (9, 11), (11, 13), (13, 16)]


def test_callees():
    assert callees(PROGRAM) == {0: (9, 11), 9: (13,), 11: (), 13: ()}


def test_blocks_and_edges():
    assert list(blocks(PROGRAM).values()) == [
        Block(0, 4, (4, 8), (11,)),
        Block(4, 6, (6, 4), (9,)),
        Block(6, 7, (8,), ()),
        Block(7, 8, (8,), ()),
        Block(8, 9, (), ()),
        Block(9, 11, (), (13,)),
        Block(11, 13, (), ()),
        Block(13, 15, (), ()),
        Block(15, 16, (), ()),
    ]


def test_reachable():
    assert reachable(PROGRAM) == {0, 1, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14}


def test_no_program_has_no_functions():
    assert (subprograms([]), blocks([]), reachable([])) == ([], {}, set())


def test_a_jump_to_the_next_instruction_has_one_successor():
    assert blocks(assemble("if r1 == 0 goto +0\nexit"))[InsnOff(0)].successors == (1,)


def test_gotol_and_may_goto():
    found = blocks(assemble("may_goto +1\ngotol -2\nexit"))
    assert [block.successors for block in found.values()] == [(1, 2), (0,), ()]


BAD = [
    ("jump behind the end", "goto +1\nexit", "instruction 0 goes to 2"),
    ("jump before the start", "if r0 == 0 goto -2\nexit", "instruction 0 goes to -1"),
    ("jump into a lddw", "goto +1\nr0 = 0x5\nexit", "instruction 0 goes to 2"),
    ("call of nothing", "call pc+5\nexit", "instruction 0 goes to 6"),
    ("reference to nothing", "r1 = subprog[-3]\nexit", "instruction 0 goes to -2"),
    ("jump to another function", "call pc+1\nexit\ngoto -2", "jump at instruction 2 leaves"),
    ("indirect jump", "gotox r1\nexit", "instruction 0 is an indirect jump"),
]


@pytest.mark.parametrize(("text", "words"), [pytest.param(*c[1:], id=c[0]) for c in BAD])
@pytest.mark.parametrize("question", [subprograms, callees, blocks, reachable])
def test_bad_distances(question, text, words):
    with pytest.raises(BadInputError, match=words):
        question(assemble(text))


def test_running_past_the_end():
    with pytest.raises(BadInputError, match="past its end, at instruction 1"):
        blocks(assemble("call pc+1\nr0 = 1\nexit"))


@given(programs())
def test_blocks_agree_with_walking_single_instructions(program):
    try:
        found = blocks(program)
    except BadInputError:
        return
    starts = offsets(program)
    by_slot = dict(zip(starts, program, strict=False))
    work, seen = [InsnOff(0)], set()
    while work:
        at = work.pop()
        if at in seen:
            continue
        seen.add(at)
        to = goal(by_slot[at], at)
        work += [] if to is None else [to]
        work += [InsnOff(at + by_slot[at].slots)] if falls_through(by_slot[at]) else []
    assert reachable(program) == seen
    assert [block.start for block in found.values()] == sorted(found)
    assert sum(block.end - block.start for block in found.values()) == starts[-1]
    assert {to for block in found.values() for to in block.successors} <= found.keys()


def test_a_long_chain_of_jumps_needs_no_recursion():
    chain: tuple[Insn, ...] = (*[ja(0)] * 50_000, *assemble("exit"))
    assert len(reachable(chain)) == 50_001
