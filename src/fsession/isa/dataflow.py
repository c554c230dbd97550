"""Which registers and stack slots hold the context pointer, at each instruction.

The context (r1 at the entry of the main function) is what a trampoline hands to a program. To
rewrite loads from it, it must be known where it goes: through moves, additions of constants, stores
to the stack and loads back, and as an argument into functions of the program.

The analysis is forward, over all paths. A place holds `Holds(off, sure)`: the context plus `off`
bytes, on every path that reaches the instruction if `sure`; else on some path only, or at an offset
that is not known. Functions are analysed once, with what all their callers pass joined.

Two things it does not see. A context stored to the stack is not followed into a function that gets
the address of that stack (a callback of bpf_loop): what such a function loads is taken for no
context. And a helper or function that writes to stack it was given is taken to leave a stored
context whole: the verifier lets nobody load through what it has left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.errors import BadInputError
from fsession.frozen import frozen
from fsession.isa.cfg import falls_through, goal, subprograms
from fsession.isa.insn import InsnOff, offsets
from fsession.isa.opcode import R0, R1, R5, R10, Alu, Atomic, Class, Mode, Size, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.isa.insn import Insn

__all__ = ["Holds", "context_pointers"]


@frozen
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
_SUB64_K = int(Class.ALU64 | Alu.SUB | Source.K)
_ADD64_X = int(Class.ALU64 | Alu.ADD | Source.X)
_SUB64_X = int(Class.ALU64 | Alu.SUB | Source.X)
_LDX_DW = int(Class.LDX | Mode.MEM | Size.DW)
_STX_DW = int(Class.STX | Mode.MEM | Size.DW)
_STORES = (int(Class.ST), int(Class.STX))
_PACKET_LOADS = (int(Mode.ABS), int(Mode.IND))
_FETCH = 0x01  # bit 0 of an atomic's `imm`: the old value goes to the source register
_SIZES = {int(size): size.size_bytes for size in Size}


def context_pointers(insns: Sequence[Insn]) -> dict[InsnOff, dict[int, Holds]]:
    """For each reachable instruction: the registers that hold the context before it runs.

    Raises `BadInputError` where a jump or a call goes to no instruction, or a jump to another
    function.
    """
    states = _Walk(insns).run() if insns else {}
    return {
        at: {number: held for (kind, number), held in state.items() if kind == "r"}
        for at, state in states.items()
    }


class _Walk:
    """One analysis: states by slot, and what makes it visit an instruction again."""

    def __init__(self, insns: Sequence[Insn]) -> None:
        self._insns = dict(zip(offsets(insns), insns, strict=False))
        self._function = {
            at: start
            for start, end in subprograms(insns)
            for at in range(start, end)
            if at in self._insns
        }
        self._states: dict[InsnOff, _State] = {}
        self._callers: dict[InsnOff, set[InsnOff]] = {}
        self._returning: set[InsnOff] = set()
        self._work: list[InsnOff] = []

    def run(self) -> dict[InsnOff, _State]:
        self._reach(InsnOff(0), {("r", R1): Holds(0), ("f", R10): Holds(0)})
        while self._work:
            at = self._work.pop()
            self._step(at, self._insns[at], self._states[at])
        return self._states

    def _reach(self, at: InsnOff, state: _State) -> None:
        """Control comes to `at` with `state`."""
        if at not in self._insns:
            raise BadInputError(f"the program runs past its end, at instruction {at}")
        old = self._states.get(at)
        joined = state if old is None else _join(old, state)
        if joined != old:
            self._states[at] = joined
            self._work.append(at)

    def _step(self, at: InsnOff, insn: Insn, before: _State) -> None:
        to = goal(insn, at)
        after = before if insn.is_jump else _transfer(insn, before)
        if insn.is_exit and ("r", R0) in before:
            self._returns(InsnOff(self._function[at]))
        if insn.is_local_call and to is not None:
            self._callers.setdefault(to, set()).add(at)
            self._reach(to, _callee(before))
            if to in self._returning:
                after[("r", R0)] = Holds(0, sure=False)
        elif insn.is_func_ref and to is not None:
            self._reach(to, {("f", R10): Holds(0)})
        elif to is not None:
            self._reach(to, before)
        if falls_through(insn):
            self._reach(InsnOff(at + insn.slots), after)

    def _returns(self, function: InsnOff) -> None:
        """A function may return the context: what calls it is to be looked at again."""
        if function not in self._returning:
            self._returning.add(function)
            self._work += self._callers.get(function, ())


def _callee(before: _State) -> _State:
    """A function of the program gets its caller's r1 to r5 and a frame of its own."""
    state = {("r", n): before[("r", n)] for n in range(R1, R5 + 1) if ("r", n) in before}
    state[("f", R10)] = Holds(0)
    return state


def _transfer(insn: Insn, before: _State) -> _State:
    """What is held after an instruction that is no jump."""
    cls = insn.opcode & 0x07
    if insn.is_call or (cls == Class.LD and insn.opcode & 0xE0 in _PACKET_LOADS):
        return {place: held for place, held in before.items() if place[0] == "s" or place[1] > R5}
    if cls in _STORES:
        return _store(insn, before)
    after = _without(before, insn.dst)
    if insn.opcode == _MOV64 and insn.off == 0:
        _copy(before, after, insn.src, insn.dst, 0)
    elif insn.opcode in (_ADD64_K, _SUB64_K):
        _copy(before, after, insn.dst, insn.dst, insn.imm if insn.opcode == _ADD64_K else -insn.imm)
    elif insn.opcode in (_ADD64_X, _SUB64_X):
        _move_by_register(insn, before, after)
    elif insn.opcode == _LDX_DW and ("f", insn.src) in before:
        slot = ("s", before["f", insn.src].off + insn.off)
        if slot in before:
            after["r", insn.dst] = before[slot]
    return after


def _without(state: _State, *registers: int) -> _State:
    """A copy of a state where these registers hold nothing."""
    return {
        place: held for place, held in state.items() if place[0] == "s" or place[1] not in registers
    }


def _move_by_register(insn: Insn, before: _State, after: _State) -> None:
    """The sum of the context and something, or their difference: an offset we don't know."""
    held, other = before.get(("r", insn.dst)), before.get(("r", insn.src))
    if insn.opcode == _ADD64_X:
        held = held or other
    elif other is not None:
        held = None  # the difference of two pointers is a number
    if held is not None:
        after["r", insn.dst] = Holds(held.off, sure=False)


def _copy(before: _State, after: _State, src: int, dst: int, add: int) -> None:
    for kind in ("r", "f"):
        if (kind, src) in before:
            held = before[kind, src]
            after[kind, dst] = Holds(held.off + add, held.sure)


def _store(insn: Insn, before: _State) -> _State:
    """A store to the stack overwrites what overlaps it; 8 bytes of a held register are held."""
    after = dict(before)
    if insn.opcode & 0xE0 == int(Mode.ATOMIC):
        after = _without(before, *_atomic_results(insn))
        if insn.imm == Atomic.LOAD_ACQ:
            return after
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


def _atomic_results(insn: Insn) -> tuple[int, ...]:
    """The register that an atomic instruction puts an old value into."""
    if insn.imm == Atomic.LOAD_ACQ:
        return (insn.dst,)
    if insn.imm == Atomic.CMPXCHG:
        return (R0,)
    return (insn.src,) if insn.imm & _FETCH else ()


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
