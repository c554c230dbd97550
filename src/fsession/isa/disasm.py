"""Instructions to text, as the verifier's log and ``bpftool prog dump xlated`` write them.

>>> from fsession.isa.insn import exit_, ldx, mov
>>> from fsession.isa.opcode import Size
>>> print(*disassemble([mov(6, 1), ldx(Size.DW, 0, 6, 8), exit_()]), sep="\\n")
   0: (bf) r6 = r1
   1: (79) r0 = *(u64 *)(r6 +8)
   2: (95) exit
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from fsession.isa.insn import Insn, InsnOff
from fsession.isa.notation import RAW, render_values, rules
from fsession.isa.opcode import CALL_HELPER, CALL_KFUNC, Pseudo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fsession.isa.notation import Rule

__all__ = ["Naming", "disassemble", "format_insn", "helper_name", "helper_number", "xlated"]

Naming = Callable[[InsnOff, Insn], str | None]
"""Says what a call calls or a 64-bit load loads: the text behind ``call`` or the equals sign.

It is asked for each of these with the slot it is at; None leaves it at the numbers. A function
for maps and kfuncs of a program would answer ``map[id:5]`` or ``bpf_session_cookie#21337``.
"""


_START = InsnOff(0)


def disassemble(insns: Iterable[Insn], naming: Naming | None = None) -> Iterator[str]:
    """A line for each instruction: number (slot), opcode, text."""
    at = 0
    for insn in insns:
        yield f"{at:4}: ({insn.opcode:02x}) {format_insn(insn, InsnOff(at), naming)}"
        at += insn.slots


def format_insn(insn: Insn, at: InsnOff = _START, naming: Naming | None = None) -> str:
    """The text of one instruction. Jumps are relative, so `at` matters to `naming` only."""
    if naming and (insn.is_call or insn.is_lddw):
        name = naming(at, insn)
        if name is not None:
            return f"call {name}" if insn.is_call else f"r{insn.dst} = {name}"
    if insn.is_call and insn.src in (CALL_HELPER, CALL_KFUNC):
        return _call(insn)
    return _render(_rule_of(insn), insn)


def _rule_of(insn: Insn) -> Rule:
    for rule in rules().get(insn.opcode, ()):
        if (
            (rule.off is None or rule.off == insn.off)
            and (rule.src is None or rule.src == insn.src)
            and (rule.dst is None or rule.dst == insn.dst)
            and insn.imm & rule.hidden == rule.imm
        ):
            return rule
    return RAW


def _render(rule: Rule, insn: Insn) -> str:
    if rule.hidden == -1:  # it shows nothing of the immediate
        return rule.template.format(dst=insn.dst, src=insn.src, off=insn.off)
    values = render_values(insn.imm)
    return rule.template.format(
        opcode=insn.opcode, dst=insn.dst, src=insn.src, off=insn.off, **values
    )


def _call(insn: Insn) -> str:
    if insn.dst or insn.opcode & 0x08 or (insn.off and insn.src == CALL_HELPER):
        return _render(RAW, insn)
    if insn.src == CALL_HELPER:
        return f"call {helper_name(insn.imm) or 'unknown'}#{insn.imm}"
    # The kernel prints no word of the fd array; without it the text would lose the module.
    module = f" fd_array[{insn.off}]" if insn.off else ""
    return f"call kernel-function#{insn.imm}{module}"


@cache
def _helpers() -> dict[int, str]:
    from fsession.uapi import FuncId  # here: 200 enum members that most commands never need

    return {int(member): f"bpf_{name}" for name, member in FuncId.__members__.items() if member}


def helper_name(number: int) -> str | None:
    """The name of a helper: ``bpf_ktime_get_ns`` for 5."""
    return _helpers().get(number)


@cache
def _helper_numbers() -> dict[str, int]:
    return {name: number for number, name in _helpers().items()}


def helper_number(name: str) -> int | None:
    """The number of a helper: 5 for ``bpf_ktime_get_ns``."""
    return _helper_numbers().get(name)


def xlated(at: InsnOff, insn: Insn) -> str | None:
    """A `Naming` for the instructions that the kernel gives back of a loaded program.

    There a map load has the map's id, and a local call its distance in `off` (struct
    bpf_prog_info: xlated_prog_insns). Numbers of kernel functions are addresses: no names.
    """
    low, high = insn.imm & 0xFFFF_FFFF, insn.imm >> 32
    if insn.is_local_call:
        return f"pc{insn.off:+}"
    if insn.src == Pseudo.MAP_FD:
        return f"map[id:{low}]"
    if insn.src == Pseudo.MAP_VALUE:
        return f"map[id:{low}][0]+{high}"
    return None
