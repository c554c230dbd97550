"""Fields of instructions: those without a meaning are 0, what has one is in its range.

Linux 7.2 looks at all instructions before the walk, also at those that no way leads to; earlier
ones looked when they got there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.isa.insn import offsets
from fsession.isa.opcode import Alu, Class, Jmp, Mode
from fsession.verify.problem import RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.isa.insn import Insn
    from fsession.verify.limits import Limits

__all__ = ["check_fields"]

_X = 8
_END, _NEG, _MOV, _DIV, _MOD = map(int, (Alu.END, Alu.NEG, Alu.MOV, Alu.DIV, Alu.MOD))
_SWAPS = (16, 32, 64)


def check_fields(insns: Sequence[Insn], limits: Limits) -> None:
    """Raises `RefusedError` with its place."""
    known: dict[Insn, None] = {}
    for at, insn in zip(offsets(insns), insns, strict=False):
        if insn in known:
            continue
        known[insn] = None
        try:
            _CHECKS[insn.opcode & 7](insn, limits)
        except RefusedError as error:
            error.at = int(at)
            raise


def _alu(insn: Insn, limits: Limits) -> None:
    op, by_reg = insn.opcode & 0xF0, insn.opcode & _X
    wide = insn.opcode & 7 == Class.ALU64
    if op == _END:
        _swap(insn, limits, wide=wide)
    elif op == _NEG:
        if by_reg or insn.imm or insn.off or insn.src:
            raise RefusedError("BPF_NEG uses reserved fields")
    elif op == _MOV:
        allowed = (0, 8, 16, 32) if wide else (0, 8, 16)
        good = not insn.imm and insn.off in allowed if by_reg else not insn.src and not insn.off
        if not good or (insn.off and not limits.signed_ops):
            raise RefusedError("BPF_MOV uses reserved fields")
    else:
        signed = op in (_DIV, _MOD) and insn.off == 1 and limits.signed_ops
        if (insn.off and not signed) or (insn.imm if by_reg else insn.src):
            raise RefusedError("BPF_ALU uses reserved fields")


def _swap(insn: Insn, limits: Limits, *, wide: bool) -> None:
    good = insn.imm in _SWAPS and not insn.off and not insn.src
    if not good or (wide and (insn.opcode & _X or not limits.signed_ops)):
        raise RefusedError("BPF_END uses reserved fields")


def _ldx(insn: Insn, limits: Limits) -> None:
    if insn.imm:
        raise RefusedError("BPF_LDX uses reserved fields")
    if insn.opcode & 0xE0 == Mode.MEMSX and not limits.signed_ops:
        raise RefusedError(f"unknown opcode {insn.opcode:02x}")


def _st(insn: Insn, limits: Limits) -> None:
    if insn.src:
        raise RefusedError("BPF_ST uses reserved fields")


def _stx(insn: Insn, limits: Limits) -> None:
    if insn.imm and insn.opcode & 0xE0 != Mode.ATOMIC:
        raise RefusedError("BPF_STX uses reserved fields")


def _ld(insn: Insn, limits: Limits) -> None:
    if insn.off:
        raise RefusedError("BPF_LD_IMM64 uses reserved fields")


def _jmp(insn: Insn, limits: Limits) -> None:
    op = insn.opcode & 0xF0
    if op == Jmp.CALL:
        return  # with the structure
    if op == Jmp.EXIT:
        if insn.opcode & _X or insn.imm or insn.src or insn.dst or insn.off:
            raise RefusedError("BPF_EXIT uses reserved fields")
    elif op == Jmp.JA:
        rest = insn.imm if insn.opcode & 7 == Class.JMP else insn.off
        if insn.opcode & _X or insn.dst or insn.src or rest:
            raise RefusedError("BPF_JA uses reserved fields")
    elif op == Jmp.JCOND and insn.opcode & 7 == Class.JMP:
        if insn.dst or insn.src or insn.imm:
            raise RefusedError(
                "invalid may_goto imm" if insn.imm else "may_goto uses reserved fields"
            )
        if not limits.may_goto:
            raise RefusedError("unknown opcode e5", advice="may_goto exists since Linux 6.9")
    elif insn.imm if insn.opcode & _X else insn.src:
        raise RefusedError("BPF_JMP/JMP32 uses reserved fields")


_CHECKS = {
    int(Class.LD): _ld,
    int(Class.LDX): _ldx,
    int(Class.ST): _st,
    int(Class.STX): _stx,
    int(Class.ALU): _alu,
    int(Class.ALU64): _alu,
    int(Class.JMP): _jmp,
    int(Class.JMP32): _jmp,
}
