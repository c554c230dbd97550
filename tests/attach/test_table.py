"""Split sessions keep calls apart: the code of the table, run by a small interpreter."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attach.machine import KTIME, Machine

from fsession.attach.split import split
from fsession.attach.table import BUCKET_SLOTS, Table
from fsession.errors import BadInputError
from fsession.isa.insn import InsnOff, alu, call_helper, call_kfunc, exit_, jmp, lddw, ldx, mov, stx
from fsession.isa.opcode import R0, R1, R6, R7, R8, R9, Alu, Jmp, Size
from fsession.spec import KfuncCall, ProgramSpec
from fsession.uapi import AttachType, ProgType

DW = Size.DW
SEEN = 0x5EE_0000
"""Where a body leaves what it saw: the cookie it found, and which side it was."""

BODY = ProgramSpec(
    "body",
    ProgType.TRACING,
    (
        mov(R6, R1),
        call_kfunc(0),
        mov(R7, R0),
        lddw(R9, SEEN),
        ldx(DW, R1, R7),
        stx(DW, R9, R1),
        mov(R1, R6),
        call_kfunc(0),
        stx(DW, R9, R0, 8),
        mov(R8, R0),
        call_helper(KTIME),
        jmp(Jmp.JNE, R8, imm=0, off=1),
        stx(DW, R7, R6),
        alu(Alu.MOV, R0, imm=0),
        exit_(),
    ),
    AttachType.TRACE_FSESSION,
    relocs=(
        KfuncCall(InsnOff(1), "bpf_session_cookie"),
        KfuncCall(InsnOff(8), "bpf_session_is_return"),
    ),
)
"""Looks at its cookie, waits where another call may come in, and keeps its context at the entry."""


class Calls:
    """Calls of a function that has a split session."""

    def __init__(self, slots: int = 16, cpus: int = 4) -> None:
        self.table = Table(cpus, slots)
        self.halves = split(BODY, self.table, 1)
        self.machine = Machine(self.halves.table.value_size)

    def start(self, side: str, ctx: int, cpu: int = 0):
        return self.machine.steps(getattr(self.halves, side), ctx, cpu)

    def run(self, side: str, ctx: int, cpu: int = 0) -> int | None:
        """The cookie that the body found; None if it was not run."""
        self.machine.other[SEEN] = -1
        assert [*self.start(side, ctx, cpu)][-1] == 0
        found = self.machine.other[SEEN]
        assert found == -1 or self.machine.other[SEEN + 8] == (side == "exit")
        return None if found == -1 else found

    @property
    def missed(self) -> int:
        return self.table.missed(bytes(self.machine.table))

    @property
    def taken(self) -> int:
        return self.table.taken(bytes(self.machine.table))


FRAMES = [0xFFFF_C900_0234_0E50 + index * 0x8000 for index in range(40)]
A, B = FRAMES[:2]


def test_one_call():
    calls = Calls()
    assert calls.run("entry", A) == 0
    assert calls.taken == 1
    assert calls.run("exit", A) == A
    assert (calls.taken, calls.missed) == (0, 0)


def test_exit_without_entry_does_not_run():
    calls = Calls()
    assert calls.run("exit", A) is None
    assert calls.missed == 0


def test_cookie_is_zero_again():
    """The cookie of the call before is not seen."""
    calls = Calls()
    for _ in range(3):
        assert calls.run("entry", A) == 0
        assert calls.run("exit", A) == A


def test_call_that_never_returned():
    """Its slot is used by the next call at the same place of the stack, and then free."""
    calls = Calls()
    assert calls.run("entry", A) == 0
    assert calls.run("entry", A) == 0
    assert calls.taken == 1
    assert calls.run("exit", A) == A
    assert calls.run("exit", A) is None
    assert calls.taken == 0


def test_no_slot_left():
    """Neither side runs, the miss is counted, and the others keep their slots."""
    calls = Calls()
    ran = [ctx for ctx in FRAMES if calls.run("entry", ctx) == 0]
    assert BUCKET_SLOTS <= len(ran) <= 16
    assert calls.missed == len(FRAMES) - len(ran)
    seen = {ctx: calls.run("exit", ctx) for ctx in reversed(FRAMES)}
    assert {ctx: cookie for ctx, cookie in seen.items() if cookie is not None} == {
        ctx: ctx for ctx in ran
    }
    assert calls.taken == 0


@pytest.mark.parametrize("outer", ["entry", "exit"])
def test_call_from_inside_a_body(outer):
    """On the same CPU both of its sides are left out, on another one both run."""
    calls = Calls()
    if outer == "exit":
        calls.run("entry", A)
    body = calls.start(outer, A, cpu=1)
    assert next(body) == -1
    assert calls.run("entry", B, cpu=1) is None
    assert calls.run("exit", B, cpu=1) is None
    assert calls.missed == 1
    assert calls.run("entry", B, cpu=2) == 0
    assert calls.run("exit", B, cpu=2) == B
    assert [*body] == [0]
    assert calls.run("entry", B, cpu=1) == 0


@pytest.mark.parametrize("outer", ["entry", "exit"])
def test_missed_entry_forgets_the_call_before(outer):
    """A call that never returned, then one at its place whose entry is missed: no exit runs."""
    calls = Calls()
    calls.run("entry", B)
    calls.run("entry", A, cpu=1)
    body = calls.start(outer, A, cpu=1)
    next(body)
    assert calls.run("entry", B, cpu=1) is None
    assert [*body] == [0]
    assert calls.run("exit", B, cpu=1) is None


def test_missed_exit_gives_the_slot_back():
    """Its entry ran; at its exit a body of another call was under way on the CPU."""
    calls = Calls()
    calls.run("entry", A)
    body = calls.start("entry", B)
    next(body)
    assert calls.run("exit", A) is None
    assert [*body] == [0]
    assert (calls.taken, calls.missed) == (1, 1)
    assert calls.run("exit", B) == B


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 3)), max_size=60))
def test_any_order(steps):
    """Calls come and go in any order: each exit has the cookie of its entry, or did not run."""
    calls = Calls()
    inside: dict[int, bool] = {}
    for index, cpu in steps:
        ctx = FRAMES[index]
        if ctx in inside:
            assert calls.run("exit", ctx, cpu) == (ctx if inside.pop(ctx) else None)
        else:
            found = calls.run("entry", ctx, cpu)
            inside[ctx] = found is not None
            assert found in (0, None)
        assert calls.taken == sum(inside.values())


@pytest.mark.parametrize(("slots", "cpus"), [(15, 1), (8, 1), (16, 3), (16, 0)])
def test_shape_is_checked(slots, cpus):
    with pytest.raises(BadInputError, match="power of two"):
        Table(cpus, slots)


@pytest.mark.parametrize(("count", "cpus"), [(1, 1), (2, 2), (3, 4), (96, 128)])
def test_lines_for_all_cpus(count, cpus):
    assert Table.for_cpus(count, 16).cpus == cpus


def test_stacks_spread():
    """2000 tasks inside one function, their stacks 16 or 32 KiB apart: all find a slot."""
    for distance in (0x4000, 0x8000, 0x5000):
        calls = Calls(slots=16384)
        for index in range(2000):
            assert calls.run("entry", FRAMES[0] + index * distance) == 0, distance
