"""Random instructions: any that the disassembler has a word for, and any at all."""

from __future__ import annotations

from hypothesis import strategies as st

from fsession.isa.insn import (
    LDDW,
    Insn,
    alu,
    call_helper,
    call_kfunc,
    call_local,
    exit_,
    ja,
    jmp,
    lddw,
    offsets,
)
from fsession.isa.notation import rules
from fsession.isa.opcode import R0, R1, R2, Alu, Jmp

S16 = st.integers(-(1 << 15), (1 << 15) - 1)
S32 = st.integers(-(1 << 31), (1 << 31) - 1)
U64 = st.integers(0, (1 << 64) - 1)
REGS = st.integers(0, 10)

RULES = [rule for group in rules().values() for rule in group]


@st.composite
def _of_a_rule(draw: st.DrawFn) -> Insn:
    rule = draw(st.sampled_from(RULES))
    imm = draw(U64 if rule.opcode == LDDW else S32)
    fields = [draw(REGS) if value is None else value for value in (rule.dst, rule.src)]
    off = draw(S16) if rule.off is None else rule.off
    return Insn(rule.opcode, *fields, off, imm & ~rule.hidden | rule.imm)


VALID = st.one_of(
    _of_a_rule(),
    st.builds(call_helper, S32),
    st.builds(call_kfunc, S32, S16),
)

ANY = st.one_of(
    st.builds(Insn, st.integers(0, 255).filter(lambda code: code != LDDW), REGS, REGS, S16, S32),
    st.builds(Insn, st.just(LDDW), REGS, REGS, S16, U64),
)


@st.composite
def programs(draw: st.DrawFn) -> tuple[Insn, ...]:
    """Random programs that the interpreter of the tests understands, every distance inside."""
    body = st.one_of(
        st.builds(lambda imm: alu(Alu.ADD, R2, imm=imm), st.integers(1, 9)),
        st.builds(lambda imm: lddw(R0, imm), st.integers(0, 99)),
        st.just(ja(0)),
        st.just(jmp(Jmp.JEQ, R1, imm=0)),
        st.just(jmp(Jmp.JEQ, R1, imm=1)),
        st.just(call_local(0)),
    )
    insns = [*draw(st.lists(body, min_size=1, max_size=20)), exit_()]
    starts = offsets(insns)[:-1]
    out = []
    for at, insn in zip(starts, insns, strict=True):
        if insn.is_jump or insn.is_call:
            distance = draw(st.sampled_from(starts)) - at - 1
            insn = Insn(insn.opcode, insn.dst, insn.src, 0 if insn.is_call else distance, insn.imm)
            insn = call_local(distance) if insn.is_call else insn
        out.append(insn)
    return tuple(out)
