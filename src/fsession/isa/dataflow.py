"""Which registers and stack slots hold the context pointer, at each instruction.

The context (r1 at the entry of the main function) is what a trampoline hands to a program. To
rewrite loads from it, it must be known where it goes: through moves, additions of constants, stores
to the stack and loads back, and as an argument into functions of the program.

The analysis is forward, over all paths. A place holds `Holds(off, sure)`: the context plus `off`
bytes, on every path that reaches the instruction if `sure`, else on some path only. Functions are
analysed once, with what all their callers pass joined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fsession.errors import BadInputError
from fsession.isa.insn import InsnOff, offsets
from fsession.isa.opcode import R0, R1, R5, R10, Alu, Class, Jmp, Mode, Size, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.isa.insn import Insn

__all__ = ["Holds", "context_pointers"]


@dataclass(frozen=True, slots=True)
class Holds:
    """The context plus `off` bytes; not `sure`: only on some of the paths."""

    off: int
    sure: bool = True


_Place = tuple[str, int]
"""``("r", 6)`` is a register, ``("s", -8)`` 8 bytes of stack at r10 - 8, ``("f", 2)`` says that
register 2 is r10 plus the `off` it holds."""

_State = dict[_Place, Holds]

_MOV64 = int(Class.ALU64 | Alu.MOV | Source.X)
_ADD64_K = int(Class.ALU64 | Alu.ADD | Source.K)
_LDX_DW = int(Class.LDX | Mode.MEM | Size.DW)
_STX_DW = int(Class.STX | Mode.MEM | Size.DW)
_JA = (int(Class.JMP | Jmp.JA), int(Class.JMP32 | Jmp.JA))
_STORES = (int(Class.ST), int(Class.STX))
_LOADS = (int(Class.LD), int(Class.LDX))
_SIZES = {int(size): size.size_bytes for size in Size}


def context_pointers(insns: Sequence[Insn]) -> dict[InsnOff, dict[int, Holds]]:
    """For each reachable instruction: the registers that hold the context before it runs.

    Raises `BadInputError` where a jump or a call goes to no instruction.
    """
    places = {at: index for index, at in enumerate(offsets(insns)[:-1])}
    starts = offsets(insns)
    states: dict[int, _State] = {0: {("r", R1): Holds(0), ("f", R10): Holds(0)}}
    work = [0]
    while work:
        index = work.pop()
        before = states[index]
        for target, after in _successors(insns[index], starts[index], before):
            if target not in places:
                raise BadInputError(f"instruction {starts[index]} goes to {target}, where none is")
            goal = places[target]
            joined = _join(states[goal], after) if goal in states else after
            if goal not in states or joined != states[goal]:
                states[goal] = joined
                work.append(goal)
    return {
        starts[index]: {number: held for (kind, number), held in state.items() if kind == "r"}
        for index, state in states.items()
    }


def _successors(insn: Insn, at: InsnOff, before: _State) -> list[tuple[InsnOff, _State]]:
    """Where control goes from here, with what is held there."""
    if insn.is_exit:
        return []
    follow = InsnOff(at + insn.slots)
    if insn.is_jump:
        goal = InsnOff(at + 1 + insn.jump_off)
        return [(goal, before)] if insn.opcode in _JA else [(goal, before), (follow, before)]
    after = _transfer(insn, before)
    if insn.is_local_call:
        return [(InsnOff(at + 1 + insn.imm), _callee(before)), (follow, after)]
    if insn.is_func_ref:
        low = insn.imm & 0xFFFF_FFFF
        callback = InsnOff(at + 1 + (low - (1 << 32) if low >> 31 else low))
        return [(callback, {("f", R10): Holds(0)}), (follow, after)]
    return [(follow, after)]


def _callee(before: _State) -> _State:
    """A function of the program gets its caller's r1 to r5 and a frame of its own."""
    state = {("r", n): before[("r", n)] for n in range(R1, R5 + 1) if ("r", n) in before}
    state[("f", R10)] = Holds(0)
    return state


def _transfer(insn: Insn, before: _State) -> _State:
    """What is held after an instruction that is no jump."""
    if insn.is_call:
        return {place: held for place, held in before.items() if place[0] == "s" or place[1] > R5}
    cls = insn.opcode & 0x07
    if cls in _STORES:
        return _store(insn, before)
    after = {
        place: held for place, held in before.items() if place[0] == "s" or place[1] != insn.dst
    }
    if insn.opcode == _MOV64 and insn.off == 0:
        _copy(before, after, insn.src, insn.dst, 0)
    elif insn.opcode == _ADD64_K:
        _copy(before, after, insn.dst, insn.dst, insn.imm)
    elif insn.opcode == _LDX_DW and ("f", insn.src) in before:
        slot = ("s", before["f", insn.src].off + insn.off)
        if slot in before:
            after["r", insn.dst] = before[slot]
    return after


def _copy(before: _State, after: _State, src: int, dst: int, add: int) -> None:
    for kind in ("r", "f"):
        if (kind, src) in before:
            held = before[kind, src]
            after[kind, dst] = Holds(held.off + add, held.sure)


def _store(insn: Insn, before: _State) -> _State:
    """A store to the stack overwrites what overlaps it; 8 bytes of a held register are held."""
    if insn.opcode & 0xE0 == int(Mode.ATOMIC):
        after = {
            place: held
            for place, held in before.items()
            if place not in (("r", insn.src), ("r", R0))
        }
    else:
        after = dict(before)
    frame = before.get(("f", insn.dst))
    if frame is None:
        return after
    low = frame.off + insn.off
    high = low + _SIZES[insn.opcode & 0x18]
    for place in [place for place in after if place[0] == "s" and low - 8 < place[1] < high]:
        del after[place]
    if insn.opcode == _STX_DW and ("r", insn.src) in before:
        after["s", low] = before["r", insn.src]
    return after


def _join(one: _State, other: _State) -> _State:
    """What holds on some path; sure is what holds alike on both.

    The same place with two different offsets is given up as unsure with the first, and a frame
    pointer that differs is dropped: a store through it can't be followed, which the verifier does
    not allow either for a spilled pointer that is to be used again.
    """
    joined: _State = {}
    for place in one.keys() | other.keys():
        left, right = one.get(place), other.get(place)
        if left is not None and left == right:
            joined[place] = left
        elif place[0] != "f":
            held = left or right
            assert held is not None
            joined[place] = Holds(held.off, sure=False)
    return joined
