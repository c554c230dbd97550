"""Random instructions: any that the disassembler has a word for, and any at all."""

from __future__ import annotations

from hypothesis import strategies as st

from fsession.isa.insn import LDDW, Insn, call_helper, call_kfunc
from fsession.isa.notation import rules

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
