"""Where the values of r0 and r6 to r9 live: not each in the register of its name.

A *web* is a value with all its places: what is set there and read here. A web of r6 to r9 that no
call comes between goes to a register that nobody saves (`HOMES`); one that is only moved about, to
a word below the stack of the program; a constant is loaded where it is read; the others share as
few of r6 to r9 as they can, as each is to be saved. A web of r0 stays where C returns it (`RESULT`)
if r1, whose register that may be, has no value meanwhile. Before, and after::

    r6 = r1                     *(u64 *)(r10 -16) = r1
    call 5                      call 5
    r6 = *(u64 *)(r6 +0)        r11 = *(u64 *)(r10 -16)
                                r13 = *(u64 *)(r11 +0)
    *(u64 *)(r10 -8) = r6       *(u64 *)(r10 -8) = r13
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.engine.jit.fuse import SUM
from fsession.engine.jit.liveness import Flow, in_place
from fsession.engine.jit.merge import merged
from fsession.engine.jit.shape import is_tail_call, stack_of
from fsession.frozen import frozen
from fsession.isa.insn import Insn, lddw, ldx, stx
from fsession.isa.opcode import R0, R1, R6, R10, Alu, Atomic, Class, Mode, Pseudo, Size, Source

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from fsession.isa.insn import InsnOff

__all__ = ["HOMES", "RESULT", "TEMPORARIES", "Line", "Machine", "allocated"]

TEMPORARIES = (11, 12)
HOMES = (13, 14)
RESULT = 15
"""Registers beside BPF's own, for each architecture to name: two for one instruction, two for webs
that no call comes between, and that of results of C."""

_MOST_INSNS = 4096
_SLOTS_BYTES = 256  # at most, of all slots
_SAVED = range(R6, R10)
_MOV_K, _MOV32_K = int(Class.ALU64 | Alu.MOV), int(Class.ALU | Alu.MOV)
_MOV32 = int(Class.ALU | Alu.MOV | Source.X)
_PLAIN_ATOMICS = (Atomic.ADD, Atomic.OR, Atomic.AND, Atomic.XOR)
_PLAIN_ALU = (Alu.ADD, Alu.SUB, Alu.OR, Alu.AND, Alu.XOR, Alu.MUL, Alu.MOV)
_COPIES = (int(Class.LDX), int(Class.STX))
_NUMBERS = (int(Class.LD), int(Class.ST))
_NEVER = 1e9
_U32, _U64 = 0xFFFF_FFFF, (1 << 64) - 1


@frozen
class Line:
    """What stands for the instruction at slot `at`: nothing, it, or a few. `live` are the registers
    r0 to r5 that are read behind it; `stays`: r0, of a call or an exit, is in `RESULT`."""

    at: InsnOff
    insns: tuple[Insn, ...]
    live: int = -1
    stays: bool = False


@frozen
class Machine:
    """What an architecture offers: so many of `HOMES`; how many instructions a saved register
    costs; what is saved together, as `schedule` has it; if operands may be in memory."""

    homes: int
    saving: int
    groups: tuple[int, ...] = ()
    merges: bool = False


def allocated(
    body: Sequence[tuple[InsnOff, Insn]], machine: Machine, inline: Container[InsnOff]
) -> tuple[list[Line], int]:
    """The lines of a function, and how much stack it uses; `inline` are the calls whose code leaves
    the result in r0. Long functions and those with tail calls stay as they are."""
    tails = any(is_tail_call(insn) for _, insn in body)
    if tails or len(body) > _MOST_INSNS:
        stack = max(stack_of(insn) for _, insn in body)
        return [Line(at, (insn,)) for at, insn in body], stack
    allocation = _Allocation(body, machine, inline)
    return allocation.lines(), allocation.stack


class _Web:
    """Places by the number of the instruction; behind `points` it has a value."""

    def __init__(self, register: int) -> None:
        self.register = self.home = register
        self.defs: list[int] = []
        self.uses: list[int] = []
        self.points: set[int] = set()
        self.slot = 0
        self.constant: int | None = None

    def meets(self, other: _Web) -> bool:
        return self is not other and not self.points.isdisjoint(other.points)


class _Allocation:
    """One function while it is done."""

    def __init__(
        self,
        body: Sequence[tuple[InsnOff, Insn]],
        machine: Machine,
        inline: Container[InsnOff],
    ) -> None:
        self._flow = Flow(body)
        if machine.merges and len(merge := merged(body, self._flow)) < len(body):
            body, self._flow = merge, Flow(merge)
        self._body, self._machine = body, machine
        self._insns = [insn for _, insn in body]
        self._weights = self._flow.weights()
        self._calls = {at for at, insn in enumerate(self._insns) if insn.is_call}
        self._inline = {at for at in self._calls if body[at][0] in inline}
        self.stack = max(map(stack_of, self._insns), default=0)
        self._lowest = self.stack + _SLOTS_BYTES
        self._read: dict[tuple[int, int], _Web] = {}
        self._set: dict[tuple[int, int], _Web] = {}
        used = 0
        for here in (*self._flow.reads, *self._flow.sets):
            used |= here
        ours = [register for register in (R0, *_SAVED) if used >> register & 1]
        self._webs = [web for register in ours for web in self._find(register)]

    def lines(self) -> list[Line]:
        self._assign()
        return [
            Line(at, tuple(self._rewritten(index)), self._flow.live[index], self._stays(index))
            for index, (at, _) in enumerate(self._body)
        ]

    def _stays(self, index: int) -> bool:
        """Whether the r0 of a call or an exit is where C returns it."""
        insn = self._insns[index]
        web = (self._read if insn.is_exit else self._set).get((index, R0))
        return web is not None and web.home == RESULT

    # Webs.

    def _find(self, register: int) -> list[_Web]:
        """What is behind an instruction is what is before those that follow it, and before it,
        unless it is set there."""
        flow, count, bit = self._flow, len(self._body), 1 << register
        parent = list(range(2 * count))  # before each instruction, and behind each
        for at in range(count):
            live, changed = flow.live[at] & bit, flow.sets[at] & bit
            if live:
                for follower in flow.next[at]:
                    parent[_root(parent, count + at)] = _root(parent, follower)
            if (flow.reads[at] & bit and in_place(self._insns[at])) if changed else live:
                parent[_root(parent, at)] = _root(parent, count + at)
        return self._collect(register, parent)

    def _collect(self, register: int, parent: list[int]) -> list[_Web]:
        flow, count, bit = self._flow, len(self._body), 1 << register
        found: dict[int, _Web] = {}
        for at in range(count):
            if flow.reads[at] & bit:
                before = _root(parent, at)
                web = self._read[at, register] = found.get(before) or _Web(register)
                found[before] = web
                web.uses.append(at)
            if (flow.sets[at] | flow.live[at]) & bit:
                behind = _root(parent, count + at)
                web = found.get(behind) or _Web(register)
                found[behind] = web
                web.points.add(at)
                if flow.sets[at] & bit:
                    self._set[at, register] = web
                    web.defs.append(at)
        return list(found.values())

    # Homes.

    def _assign(self) -> None:
        kept: list[_Web] = []
        at_home: list[_Web] = []
        for web in self._webs:
            if web.register == R0:
                web.home = RESULT if self._may_stay(web) else R0
            elif not web.defs or not (
                self._is_constant(web) or self._go_home(web, at_home) or self._go_to_slot(web)
            ):
                kept.append(web)
        _color(kept)

    def _may_stay(self, web: _Web) -> bool:
        """Not while r1 has a value, or gets one; nor where r0 is meant by an instruction itself."""
        flow, places = self._flow, (*web.defs, *web.uses)
        with_first = any((flow.live[at] | flow.sets[at]) >> R1 & 1 for at in web.points)
        implied = any(at in self._inline or _compares(self._insns[at]) for at in places)
        return not with_first and not implied

    def _is_constant(self, web: _Web) -> bool:
        if len(web.defs) != 1 or not all(self._moves(at, web.register) for at in web.uses):
            return False
        insn = self._insns[web.defs[0]]
        if insn.opcode in (_MOV_K, _MOV32_K) or (insn.is_lddw and insn.src == Pseudo.NONE):
            web.constant = insn.imm & (_U32 if insn.opcode == _MOV32_K else _U64)
        return web.constant is not None

    def _moves(self, at: int, register: int) -> bool:
        """Whether it is a plain move of all of the register."""
        insn = self._insns[at]
        return insn.opcode == SUM and insn.src == register and not insn.off and not insn.imm

    def _go_home(self, web: _Web, others: list[_Web]) -> bool:
        """To a register that calls spoil, where none comes between."""
        if web.points & self._calls:
            return False
        taken = {other.home for other in others if web.meets(other)}
        free = [home for home in HOMES[: self._machine.homes] if home not in taken]
        if free:
            web.home = free[0]
            others.append(web)
        return bool(free)

    def _go_to_slot(self, web: _Web) -> bool:
        often = self._weights
        costs = sum(often[at] * self._cost_of_set(at) for at in web.defs)
        costs += sum(often[at] * self._cost_of_use(at, web.register) for at in web.uses)
        gain = self._machine.saving * max(often[at] for at in web.defs)
        if costs >= gain or self.stack >= self._lowest:
            return False
        self.stack += 8
        web.slot = -self.stack
        return True

    def _cost_of_set(self, at: int) -> float:
        """What a store instead of the register adds."""
        insn = self._insns[at]
        if in_place(insn) or _is_atomic(insn):
            return _NEVER
        return 0 if self._moves(at, insn.src) and insn.src != R10 else 1

    def _cost_of_use(self, at: int, register: int) -> float:
        """What a load instead of the register adds."""
        insn = self._insns[at]
        if insn.is_call or (_is_atomic(insn) and insn.imm not in _PLAIN_ATOMICS):
            return _NEVER
        if insn.cls in (Class.ALU, Class.ALU64) and insn.opcode & 0xF0 not in _PLAIN_ALU:
            return _NEVER
        plain = insn.opcode in (SUM, _MOV32) and not insn.off and not insn.imm
        return 0 if plain else 1

    # Instructions.

    def _rewritten(self, index: int) -> Iterator[Insn]:
        """The instruction by the registers' homes, with loads and stores of slots around it."""
        insn, flow = self._insns[index], self._flow
        target = self._set if flow.sets[index] >> insn.dst & 1 else self._read
        dst = target.get((index, insn.dst))
        src = self._read.get((index, insn.src)) if _has_source(insn) else None
        if insn.is_exit or (insn.is_call and not insn.opcode & Source.X):
            yield insn
            return
        if insn.is_call:
            dst = self._read.get((index, insn.dst))
        if dst and dst.constant is not None:
            return
        to, by = _name(dst, insn.dst, TEMPORARIES[0]), _name(src, insn.src, TEMPORARIES[1])
        is_move = insn.opcode in (SUM, _MOV32) and not insn.off and not insn.imm
        if src and src.constant is not None:
            yield lddw(to, src.constant)
        elif is_move and src and src.slot:
            yield ldx(Size.DW if insn.opcode == SUM else Size.W, to, R10, src.slot)
        elif is_move and dst and dst.slot and insn.opcode == SUM and insn.src != R10:
            yield stx(Size.DW, R10, by, dst.slot)
            return
        else:
            if src and src.slot:
                yield ldx(Size.DW, by, R10, src.slot)
            if dst and dst.slot and target is self._read:
                yield ldx(Size.DW, to, R10, dst.slot)
            same = (to, by) == (insn.dst, insn.src)
            yield insn if same else Insn(insn.opcode, to, by, insn.off, insn.imm)
        if dst and dst.slot and target is self._set:
            yield stx(Size.DW, R10, to, dst.slot)


def _root(parent: list[int], node: int) -> int:
    """What all nodes that were joined have in common; ways there become shorter."""
    while parent[node] != node:
        parent[node] = node = parent[parent[node]]
    return node


def _color(webs: list[_Web]) -> None:
    """Share as few registers as the order of the program lets: else each web keeps its own."""
    own = [web.register for web in webs]
    done: list[_Web] = []
    for web in sorted(webs, key=lambda web: min(web.points, default=0)):
        taken = {other.home for other in done if web.meets(other)}
        free = [register for register in _SAVED if register not in taken]
        if not free:
            for each, register in zip(webs, own, strict=True):
                each.home = register
            return
        web.home = free[0]
        done.append(web)


def _name(web: _Web | None, register: int, temporary: int) -> int:
    if web is None:
        return register
    return temporary if web.slot else web.home


def _has_source(insn: Insn) -> bool:
    kind = insn.opcode & 7
    if kind in _COPIES:
        return True
    return kind not in _NUMBERS and bool(insn.opcode & Source.X)


def _is_atomic(insn: Insn) -> bool:
    return insn.cls == Class.STX and insn.opcode & 0xE0 == Mode.ATOMIC


def _compares(insn: Insn) -> bool:
    return _is_atomic(insn) and insn.imm == Atomic.CMPXCHG
