"""Random programs for the verifier and for a kernel: the verdicts must not contradict.

Programs are made so that many are accepted: registers are mostly used as what they are.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from fsession.isa.insn import (
    Insn,
    alu,
    alu32,
    atomic,
    call_helper,
    exit_,
    jmp,
    jmp32,
    ldx,
    load_map_fd,
    mov,
    st,
    stx,
)
from fsession.isa.opcode import Alu, Atomic, Jmp, Size
from fsession.spec import MapSpec
from fsession.uapi import FuncId, MapType

if TYPE_CHECKING:
    from collections.abc import Iterator

MAPS = (
    MapSpec("hash", MapType.HASH, 8, 48, 16),
    MapSpec("array", MapType.ARRAY, 4, 64, 4),
    MapSpec("ring", MapType.RINGBUF, 0, 0, 4096),
)
"""Map i has the number ``i + 1`` in the programs."""

_OPS = [op for op in Alu if op not in (Alu.MOV, Alu.END, Alu.NEG)]
_TESTS = [op for op in Jmp if op not in (Jmp.JA, Jmp.CALL, Jmp.EXIT, Jmp.JCOND)]
_CONSTS = (
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    15,
    16,
    31,
    32,
    48,
    56,
    63,
    64,
    100,
    255,
    256,
    512,
    -1,
    -2,
    -8,
    0x7FFFFFFF,
)


class Maker:
    """One random program: it knows roughly what its registers hold."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.out: list[Insn] = []
        self.kinds = {1: "ctx", 10: "fp"}
        self.open_jumps: list[int] = []

    def program(self) -> tuple[Insn, ...]:
        choose = self.random
        self.out.append(mov(6, 1))
        self.kinds[6] = "ctx"
        self.numbers()
        for _ in range(choose.randint(4, 40)):
            self._land()
            choose.choices(
                (self._alu, self._jump, self._stack, self._context, self._lookup, self._value,
                 self._pointer, self._call, self._copy, self._loop, self._record),
                (30, 14, 16, 6, 5, 16, 9, 3, 6, 1, 2),
            )[0]()  # fmt: skip
        while self.open_jumps:
            self._land(True)
        self.out += [alu(Alu.MOV, 0, imm=0), exit_()]
        return tuple(self.out)

    def numbers(self) -> None:
        """In most programs, each register has a value from the start."""
        if self.random.random() < 0.8:
            for reg in (0, 2, 3, 4, 5, 7, 8, 9):
                self.out.append(alu(Alu.MOV, reg, imm=self.random.choice(_CONSTS)))
                self.kinds[reg] = "num"

    def _land(self, sure: bool = False) -> None:
        if self.open_jumps and (sure or self.random.random() < 0.3):
            at = self.open_jumps.pop()
            old = self.out[at]
            distance = sum(insn.slots for insn in self.out[at + 1 :])
            self.out[at] = Insn(old.opcode, old.dst, old.src, distance, old.imm)

    def _reg(self, *kinds: str) -> int | None:
        found = [reg for reg, kind in self.kinds.items() if kind in kinds]
        if self.random.random() < 0.01:
            return self.random.randint(0, 9)
        return self.random.choice(found) if found else None

    def _free(self) -> int:
        return self.random.choice((0, 2, 3, 4, 5, 7, 8, 9))

    def _number(self) -> int:
        reg = self._reg("num")
        if reg is None:
            reg = self._free()
            self.out.append(alu(Alu.MOV, reg, imm=self.random.choice(_CONSTS)))
            self.kinds[reg] = "num"
        return reg

    def _alu(self) -> None:
        choose = self.random
        dst, make = self._number(), choose.choice((alu, alu, alu32))
        op = choose.choice(_OPS)
        imm = choose.choice(_CONSTS)
        if op in (Alu.LSH, Alu.RSH, Alu.ARSH):
            imm = choose.randrange(32 if make is alu32 else 64)
        if choose.random() < 0.4:
            self.out.append(make(op, dst, self._number()))
        elif imm or op not in (Alu.DIV, Alu.MOD):
            off = int(op in (Alu.DIV, Alu.MOD) and choose.random() < 0.2)
            self.out.append(make(op, dst, imm=imm, off=off))

    def _copy(self) -> None:
        choose = self.random
        src = self._reg("num", "num", "value", "stack", "ctx", "maybe")
        if src is None:
            return
        dst = self._free()
        if self.kinds.get(src) == "num" and choose.random() < 0.3:
            self.out.append(
                alu(Alu.MOV, dst, src, off=choose.choice((8, 16, 32)))
                if choose.random() < 0.5
                else alu32(Alu.MOV, dst, src)
            )
            self.kinds[dst] = "num"
            return
        self.out.append(mov(dst, src))
        self.kinds[dst] = self.kinds.get(src, "num")

    def _jump(self) -> None:
        choose = self.random
        make = choose.choice((jmp, jmp, jmp32))
        op = choose.choice(_TESTS)
        dst = self._number()
        if choose.random() < 0.3:
            self.out.append(make(op, dst, self._number()))
        else:
            self.out.append(make(op, dst, imm=choose.choice(_CONSTS)))
        self.open_jumps.append(len(self.out) - 1)

    def _size(self) -> Size:
        return self.random.choice(list(Size))

    def _stack(self) -> None:
        choose = self.random
        size = self._size()
        bytes_ = size.size_bytes
        off = -bytes_ * choose.randint(1, 64 // bytes_)
        base = self._reg("stack") if choose.random() < 0.2 else 10
        if base is None:
            base = 10
        way = choose.random()
        if way < 0.4:
            src = self._reg("num", "value", "ctx", "maybe", "num")
            if src is None or (self.kinds.get(src) != "num" and size != Size.DW):
                src = self._number()
            self.out.append(stx(size, base, src, off))
        elif way < 0.55:
            self.out.append(st(size, base, off, choose.choice(_CONSTS)))
        elif way < 0.9:
            dst = self._free()
            signed = size != Size.DW and choose.random() < 0.2
            self.out.append(ldx(size, dst, base, off, signed=signed))
            self.kinds[dst] = "num"
        else:
            size = choose.choice((Size.W, Size.DW))
            op = choose.choice((Atomic.ADD, Atomic.FETCH_ADD, Atomic.XCHG, Atomic.AND))
            off = -size.size_bytes * choose.randint(1, 4)
            self.out.append(atomic(op, size, base, self._number(), off))

    def _context(self) -> None:
        dst = self._free()
        off = self.random.choice((0, 8, 16, 24, 32, 40))
        self.out.append(ldx(Size.DW, dst, 6, off))
        self.kinds[dst] = "num"

    def _lookup(self) -> None:
        choose = self.random
        number = choose.randint(1, 2)
        if number == 1:
            self.out.append(stx(Size.DW, 10, self._number(), -8))
        else:
            key = choose.choice((None, 0, 3, 5))
            if key is None:
                self.out.append(stx(Size.W, 10, self._number(), -8))
            else:
                self.out.append(st(Size.W, 10, -8, key))
        self.out += [mov(2, 10), alu(Alu.ADD, 2, imm=-8), load_map_fd(1, number)]
        self.out.append(call_helper(FuncId.map_lookup_elem))
        self._called()
        self.kinds[0] = "maybe"
        if choose.random() < 0.9:
            dst = choose.choice((7, 8, 9))
            self.out.append(mov(dst, 0))
            op = choose.choice((Jmp.JEQ, Jmp.JEQ, Jmp.JNE))
            if op == Jmp.JEQ:
                self.out.append(jmp(Jmp.JEQ, 0, imm=0))
                self.open_jumps.insert(0, len(self.out) - 1)
            else:
                self.out += [jmp(Jmp.JNE, dst, imm=0, off=2), alu(Alu.MOV, 0, imm=0), exit_()]
            self.kinds[dst] = self.kinds[0] = "value"

    def _called(self) -> None:
        for reg in range(6):
            self.kinds.pop(reg, None)

    def _value(self) -> None:
        choose = self.random
        base = self._reg("value")
        if base is None:
            return
        size = self._size()
        off = choose.choice((0, 0, 0, 0, 4, 8, 8, 16, 32, 40, 47, 48, 60, -8))
        way = choose.random()
        if way < 0.5:
            dst = self._free()
            self.out.append(ldx(size, dst, base, off))
            self.kinds[dst] = "num"
        elif way < 0.8:
            self.out.append(stx(size, base, self._number(), off))
        else:
            self.out.append(st(size, base, off, choose.choice(_CONSTS)))

    def _pointer(self) -> None:
        """Move a pointer, most often by a number that was bounded before."""
        choose = self.random
        base = self._reg("value", "stack", "value") if choose.random() < 0.8 else 10
        if base is None:
            base = 10
        dst = self._free()
        kind = "stack" if base == 10 else self.kinds.get(base, "num")
        if choose.random() < 0.4:
            by = choose.choice((-8, -16, -32, 8, 16, 4))
            minus = choose.random() < (0.05 if kind == "stack" else 0.5)
            self.out += [mov(dst, base), alu(Alu.SUB if minus else Alu.ADD, dst, imm=by)]
        else:
            index = self._number()
            if choose.random() < 0.8:
                self.out.append(
                    choose.choice((alu, alu32))(
                        Alu.AND, index, imm=choose.choice((7, 8, 15, 31, 56))
                    )
                )
            elif choose.random() < 0.8:
                self.out.append(jmp(Jmp.JGT, index, imm=choose.choice((7, 31, 40))))
                self.open_jumps.insert(0, len(self.out) - 1)
            if dst == index:
                dst = next(reg for reg in (7, 8, 9) if reg != index)
            self.out += [mov(dst, base), alu(Alu.ADD, dst, index)]
            if kind == "stack":
                self.out.append(alu(Alu.ADD, dst, imm=-64))
        self.kinds[dst] = kind

    def _call(self) -> None:
        choose = self.random
        if choose.random() < 0.5:
            self.out.append(
                call_helper(choose.choice((FuncId.ktime_get_ns, FuncId.get_prandom_u32)))
            )
            self._called()
            self.kinds[0] = "num"
            return
        size = self._number()
        self.out += [mov(2, size) if size != 2 else alu(Alu.ADD, 2, imm=0)]
        if choose.random() < 0.8:
            self.out.append(alu(Alu.AND, 2, imm=choose.choice((7, 15, 31))))
        self.out += [mov(1, 10), alu(Alu.ADD, 1, imm=choose.choice((-8, -16, -32, -64)))]
        self.out += [alu(Alu.MOV, 3, imm=0), call_helper(FuncId.probe_read_kernel)]
        self._called()
        self.kinds[0] = "num"

    def _record(self) -> None:
        size = self.random.choice((8, 16, 24))
        self.out += [load_map_fd(1, 3), alu(Alu.MOV, 2, imm=size), alu(Alu.MOV, 3, imm=0)]
        self.out.append(call_helper(FuncId.ringbuf_reserve))
        self.out.append(jmp(Jmp.JEQ, 0, imm=0, off=4))
        self.out.append(st(Size.DW, 0, self.random.choice((0, 8, 16)), 1))
        self.out += [mov(1, 0), alu(Alu.MOV, 2, imm=0), call_helper(FuncId.ringbuf_submit)]
        self._called()

    def _loop(self) -> None:
        """A counted loop around a piece of arithmetic."""
        counter = self.random.choice((7, 8, 9))
        self.out.append(alu(Alu.MOV, counter, imm=0))
        self.kinds[counter] = "num"
        start = len(self.out)
        kept = dict(self.kinds)
        before, self.open_jumps = self.open_jumps, []
        for _ in range(self.random.randint(1, 4)):
            self._alu()
        self.open_jumps = before
        self.kinds = kept
        self.out.append(alu(Alu.ADD, counter, imm=1))
        back = -sum(insn.slots for insn in self.out[start:]) - 1
        self.out.append(jmp(Jmp.JLT, counter, imm=self.random.choice((2, 5, 20)), off=back))


def programs(count: int, seed: int) -> Iterator[tuple[Insn, ...]]:
    for number in range(count):
        made = Maker(seed * 1_000_003 + number).program()
        if number % 4 == 3:
            made = mutated(made, random.Random(seed * 7 + number))
        yield made


def mutated(insns: tuple[Insn, ...], choose: random.Random) -> tuple[Insn, ...]:
    """One or two fields of one or two instructions changed."""
    out = list(insns)
    for _ in range(choose.randint(1, 2)):
        at = choose.randrange(len(out))
        old = out[at]
        if old.is_lddw or old.is_call:
            continue
        field = choose.randrange(4)
        dst, src, off, imm = old.dst, old.src, old.off, old.imm
        if field == 0:
            dst = choose.randrange(11)
        elif field == 1 and (old.opcode & 8 or old.opcode & 7 < 4):
            src = choose.randrange(11)
        elif field == 2 and off:
            off += choose.choice((-8, -4, -1, 1, 4, 8))
        elif imm:
            imm = choose.choice(_CONSTS)
        out[at] = Insn(old.opcode, dst, src, off, imm)
    return tuple(out)
