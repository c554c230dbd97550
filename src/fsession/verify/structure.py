"""What is checked before the walk: opcodes, where control can go, what is read later.

Also where the walk sets checkpoints: behind jumps and calls, as the kernel does, so that both count
about the same number of instructions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.errors import BadInputError
from fsession.frozen import frozen
from fsession.isa.cfg import falls_through, goal, subprograms
from fsession.isa.insn import InsnOff, offsets
from fsession.isa.notation import rules
from fsession.isa.opcode import CALL_HELPER, CALL_KFUNC, CALL_LOCAL, Alu, Class, Jmp, Mode
from fsession.uapi import FuncId
from fsession.verify.problem import NotJudgedError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.isa.insn import Insn

__all__ = ["CALLBACK_HELPERS", "Structure", "structure", "uses"]

MAX_INSNS = 1_000_000
CALLBACK_HELPERS = frozenset(
    map(
        int,
        (
            FuncId.for_each_map_elem,
            FuncId.timer_set_callback,
            FuncId.find_vma,
            FuncId.loop,
            FuncId.user_ringbuf_drain,
        ),
    )
)
_MAY_GOTO = int(Class.JMP | Jmp.JCOND)
_CALLER = 0b0000111110


@frozen
class Structure:
    """`code` is the instruction at each slot (None: the second half of a ``lddw``).

    `live` are the registers read later, a mask for each slot. `points` are the slots where states
    are compared, `forced` those where every state is kept. `spans` are the functions.
    """

    code: tuple[Insn | None, ...]
    live: tuple[int, ...]
    points: frozenset[int]
    forced: frozenset[int]
    spans: tuple[tuple[int, int], ...]


def structure(insns: Sequence[Insn], iter_next: frozenset[int] = frozenset()) -> Structure:
    """Raises `RefusedError`. `iter_next` are the slots of calls that step an iterator."""
    places = offsets(insns)
    code: list[Insn | None] = [None] * places[-1]
    for at, insn in zip(places, insns, strict=False):
        code[at] = insn
    if not insns:
        raise RefusedError("a program without instructions")
    if places[-1] > MAX_INSNS:
        raise RefusedError(f"the program has {places[-1]} instructions")
    for at, insn in zip(places, insns, strict=False):
        _check_opcode(insn, at)
    spans = _functions(insns, places)
    _check_ends(code, spans)
    _check_reached(code, places)
    points, forced = _points(code, iter_next)
    return Structure(tuple(code), _liveness(code, spans), points, forced, tuple(spans))


def _problem(message: str, at: int) -> RefusedError:
    error = RefusedError(message)
    error.at = at
    return error


def _check_opcode(insn: Insn, at: int) -> None:
    cls = insn.opcode & 7
    if cls == Class.LD and insn.opcode & 0xE0 in (Mode.ABS, Mode.IND):
        raise _problem("BPF_LD_[ABS|IND] instructions not allowed for this program type", at)
    known = rules().get(insn.opcode) or insn.is_call
    swap_of_64 = insn.opcode == Class.ALU64 | Alu.END | 8
    if not known or swap_of_64:
        raise _problem(f"unknown opcode {insn.opcode:02x}", at)


def _functions(insns: Sequence[Insn], places: Sequence[InsnOff]) -> list[tuple[int, int]]:
    for at, insn in zip(places, insns, strict=False):
        if insn.is_call:
            _check_call(insn, at)
        if insn.opcode == int(Class.JMP | Jmp.JA) | 8:
            error = NotJudgedError("indirect jumps (gotox)")
            error.at = at
            raise error
    known = frozenset(places[:-1])
    for at, insn in zip(places, insns, strict=False):
        to = goal(insn, at)
        if to is None or to in known:
            continue
        if insn.is_jump:
            raise _problem(f"jump out of range from insn {at} to {to}", at)
        raise _problem("call to invalid destination", at)
    try:
        spans = [(int(start), int(end)) for start, end in subprograms(insns)]
    except BadInputError as error:
        raise RefusedError(f"jump out of range ({error})") from None
    if len(spans) > 256:
        raise RefusedError("too many subprograms")
    return spans


def _check_call(insn: Insn, at: int) -> None:
    reserved = insn.dst or insn.opcode & 8
    if insn.src not in (CALL_HELPER, CALL_LOCAL, CALL_KFUNC) or reserved:
        raise _problem("BPF_CALL uses reserved fields", at)
    if insn.src != CALL_KFUNC and insn.off:
        raise _problem("BPF_CALL uses reserved fields", at)


def _check_ends(code: Sequence[Insn | None], spans: Sequence[tuple[int, int]]) -> None:
    for _, end in spans:
        last = code[end - 1]
        if last is None or falls_through(last):
            raise _problem("last insn is not an exit or jmp", end - 1)


def _check_reached(code: Sequence[Insn | None], places: Sequence[InsnOff]) -> None:
    seen = bytearray(len(code))
    work = [0]
    while work:
        at = work.pop()
        if seen[at]:
            continue
        seen[at] = 1
        insn = code[at]
        assert insn is not None
        if falls_through(insn):
            work.append(at + insn.slots)
        to = goal(insn, InsnOff(at))
        if to is not None:
            work.append(int(to))
    for at in places[:-1]:
        if not seen[at]:
            raise _problem(f"unreachable insn {at}", at)


def _points(
    code: Sequence[Insn | None], iter_next: frozenset[int]
) -> tuple[frozenset[int], frozenset[int]]:
    points, forced = set(), set(iter_next)
    for at, insn in enumerate(code):
        if insn is None:
            continue
        if insn.is_jump:
            points.add(at + 1 + insn.jump_off)
            if insn.opcode & 0xF0 != Jmp.JA:
                points.add(at)
            if insn.opcode == _MAY_GOTO:
                forced.add(at)
        elif insn.is_call and insn.src == CALL_HELPER and insn.imm in CALLBACK_HELPERS:
            forced.add(at)
        elif insn.is_local_call:
            points |= {at, at + 1, at + 1 + insn.func_off}
        elif insn.is_func_ref:
            points.add(at + 1 + insn.func_off)
            points.add(at + 2)
    return frozenset(points | forced), frozenset(forced)


def uses(insn: Insn) -> tuple[int, int]:
    """Masks of the registers that an instruction reads and overwrites."""
    cls, dst, src = insn.opcode & 7, 1 << insn.dst, 1 << insn.src
    if cls == Class.LD:
        return 0, dst
    if cls == Class.LDX:
        return src, dst
    if cls == Class.ST:
        return dst, 0
    if cls == Class.STX:
        if insn.opcode & 0xE0 != Mode.ATOMIC:
            return dst | src, 0
        return dst | src | 1, 0  # what it writes is read as well, or harmless to keep
    if cls in (Class.ALU, Class.ALU64):
        op = insn.opcode & 0xF0
        by_reg = op not in (Alu.END, Alu.NEG) and insn.opcode & 8
        if op == Alu.MOV:
            return (src if by_reg else 0), dst
        return dst | (src if by_reg else 0), dst
    op = insn.opcode & 0xF0
    if op == Jmp.CALL:
        return _CALLER, _CALLER | 1
    if op == Jmp.EXIT:
        return 1, 0
    if op in (Jmp.JA, Jmp.JCOND):
        return 0, 0
    return dst | (src if insn.opcode & 8 else 0), 0


def _liveness(code: Sequence[Insn | None], spans: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Before each slot: registers that may be read before they are overwritten."""
    live = [0] * len(code)
    shared: dict[tuple[int, int], tuple[int, int]] = {}
    used = [
        shared.setdefault(pair, pair)
        for pair in (uses(insn) if insn is not None else (0, 0) for insn in code)
    ]
    for start, end in spans:
        changed = True
        while changed:
            changed = False
            for at in range(end - 1, start - 1, -1):
                insn = code[at]
                if insn is None:
                    continue
                after = 0
                if falls_through(insn) and at + insn.slots < end:
                    after = live[at + insn.slots]
                if insn.is_jump:
                    after |= live[at + 1 + insn.jump_off]
                before = used[at][0] | (after & ~used[at][1])
                if before != live[at]:
                    live[at], changed = before, True
    return tuple(live)
