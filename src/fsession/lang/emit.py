"""Instructions of a function whose values have registers."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING

from fsession.errors import InternalError, UnsupportedError
from fsession.frozen import slotted
from fsession.isa.insn import (
    Insn,
    InsnOff,
    alu,
    alu32,
    atomic,
    call_helper,
    call_kfunc,
    call_local,
    exit_,
    ja,
    jmp,
    jmp32,
    lddw,
    ldx,
    load_map_fd,
    load_map_value,
    mov,
    mov32,
    st,
    stx,
)
from fsession.isa.opcode import R0, R1, R10, Alu, Atomic, Class, Jmp, Pseudo, Size, Source
from fsession.lang.fold import signed
from fsession.lang.ir import (
    AtomicAdd,
    Binary,
    BinaryOp,
    Branch,
    Call,
    Compare,
    Const,
    End,
    Extend,
    FuncAddress,
    Function,
    Helper,
    Jump,
    Kfunc,
    Label,
    Load,
    Local,
    MapAddress,
    MapValue,
    Op,
    Opaque,
    Place,
    Return,
    Slot,
    Store,
    Swap,
    Test,
    Value,
)
from fsession.lang.regalloc import allocate, is_immediate
from fsession.spec import KfuncCall, MapRef, MapValueRef, Reloc

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Code", "emit"]

STACK_BYTES = 512
_ON_STACK = -1
_S32 = range(-(1 << 31), 1 << 31)
_SIZES = {1: Size.B, 2: Size.H, 4: Size.W, 8: Size.DW}

_ALU = {
    BinaryOp.ADD: Alu.ADD, BinaryOp.SUB: Alu.SUB, BinaryOp.MUL: Alu.MUL, BinaryOp.UDIV: Alu.DIV,
    BinaryOp.UMOD: Alu.MOD, BinaryOp.AND: Alu.AND, BinaryOp.OR: Alu.OR, BinaryOp.XOR: Alu.XOR,
    BinaryOp.SHL: Alu.LSH, BinaryOp.LSHR: Alu.RSH, BinaryOp.ASHR: Alu.ARSH,
}  # fmt: skip
_JMP = {
    Test.EQ: Jmp.JEQ, Test.NE: Jmp.JNE, Test.ULT: Jmp.JLT, Test.ULE: Jmp.JLE, Test.UGT: Jmp.JGT,
    Test.UGE: Jmp.JGE, Test.SLT: Jmp.JSLT, Test.SLE: Jmp.JSLE, Test.SGT: Jmp.JSGT,
    Test.SGE: Jmp.JSGE, Test.SET: Jmp.JSET,
}  # fmt: skip


@slotted
class Code:
    """Instructions of one function; `relocs`, `places` and `calls` are at slots from its start.

    `calls` are of functions of the program, or their addresses: distances not known yet.
    """

    insns: list[Insn] = field(default_factory=list)
    relocs: list[Reloc] = field(default_factory=list)
    places: list[tuple[int, Place]] = field(default_factory=list)
    calls: list[tuple[int, str]] = field(default_factory=list)


def emit(function: Function) -> Code:
    """Allocate registers and write the instructions."""
    registers = allocate(function)
    return _Emitter(function, registers).run()


class _Emitter:
    def __init__(self, function: Function, registers: dict[Value, int]) -> None:
        self._function = function
        self._registers = registers
        self._defs = {op.dst: op for op in function.ops() if op.dst is not None}
        self._slots = _frame(function)
        self._code = Code()
        self._end = 0
        self._spare: int | None = None
        self._block_start = 0
        self._labels: dict[Label, int] = {}
        self._jumps: list[tuple[int, int, Label]] = []  # index, slot behind it, target

    def run(self) -> Code:
        order = list(self._function.blocks)
        for at, label in enumerate(order):
            self._labels[label] = self._block_start = self._end
            block = self._function.blocks[label]
            if not at:
                self._at(self._function.at)
                pairs = zip(self._function.params, range(R1, R1 + 5), strict=False)
                self._move_all(
                    [(self._reg(param), reg) for param, reg in pairs if param in self._registers]
                )
            for op in block.ops:
                self._at(op.at)
                self._op(op)
            following = order[at + 1] if at + 1 < len(order) else None
            assert block.end is not None
            self._at(block.end.at)
            self._finish(block.end, following)
        for index, behind, target in self._jumps:
            insn = self._code.insns[index]
            self._code.insns[index] = replace(insn, off=self._labels[target] - behind)
        return self._code

    def _add(self, *insns: Insn) -> None:
        for insn in insns:
            self._code.insns.append(insn)
            self._end += insn.slots

    def _at(self, place: Place | None) -> None:
        places = self._code.places
        if place is not None and (not places or places[-1][1] != place):
            if places and places[-1][0] == self._end:
                places.pop()
            places.append((self._end, place))

    def _reg(self, value: Value) -> int:
        reg = self._registers.get(value)
        if reg is None:
            raise InternalError(f"v{value} of '{self._function.name}' has no register")
        return reg

    def _const(self, value: Value) -> int | None:
        op = self._defs.get(value)
        return op.value if isinstance(op, Const) else None

    def _base(self, value: Value) -> tuple[int, int]:
        """Register and offset of an address."""
        op = self._defs.get(value)
        return (R10, self._slots[op.slot]) if isinstance(op, Slot) else (self._reg(value), 0)

    # -- operations ------------------------------------------------------------------------------

    def _op(self, op: Op) -> None:
        match op:
            case Const(dst=dst) | Slot(dst=dst):
                if dst in self._registers:
                    self._put(self._reg(dst), dst)
            case Binary():
                self._binary(op)
            case Compare():
                self._compare(op)
            case Extend():
                self._extend(op)
            case Swap(dst=dst, args=(a,), bits=bits):
                self._move(self._reg(dst), self._reg(a))
                self._add(Insn(Class.ALU | Alu.END | Source.X, self._reg(dst), imm=bits))
            case Load(dst=dst, args=(a,)):
                base, offset = self._base(a)
                reg = self._reg(dst) if dst in self._registers else R0
                self._add(ldx(_SIZES[op.size], reg, base, offset + op.offset))
                if op.signed and op.size < 8:
                    self._sign(reg, op.size * 8)
            case Store():
                self._store(op)
            case AtomicAdd(args=(a, b)):
                base, offset = self._base(a)
                size, reg, kind = _SIZES[op.size], self._reg(b), Atomic.ADD
                if op.dst in self._registers:
                    self._move(self._reg(op.dst), reg)
                    reg, kind = self._reg(op.dst), Atomic.FETCH_ADD
                self._add(atomic(kind, size, base, reg, offset + op.offset))
            case MapAddress(dst=dst, name=name):
                self._code.relocs.append(MapRef(InsnOff(self._end), name))
                self._add(load_map_fd(self._reg(dst), 0))
            case MapValue(dst=dst, name=name, offset=place):
                self._code.relocs.append(MapValueRef(InsnOff(self._end), name, place))
                self._add(load_map_value(self._reg(dst), 0, place))
            case FuncAddress(dst=dst, name=name):
                self._code.calls.append((self._end, name))
                self._add(lddw(self._reg(dst), 0, Pseudo.FUNC))
            case Opaque(dst=dst):
                self._add(mov(self._reg(dst), R10), alu(Alu.SUB, self._reg(dst), R10))
            case Call():
                self._call(op)
            case _:
                raise InternalError(f"{type(op).__name__} has no instruction")

    def _put(self, reg: int, value: Value) -> None:
        """A constant or the address of a slot."""
        op = self._defs[value]
        if isinstance(op, Slot):
            self._add(mov(reg, R10), alu(Alu.ADD, reg, imm=self._slots[op.slot]))
        elif isinstance(op, Const):
            self._add(_load_const(reg, op.value))

    def _move(self, dst: int, src: int) -> None:
        """Not where the move before was the other way round: then both hold the same."""
        back = self._code.insns and self._end != self._block_start
        if dst != src and not (back and self._code.insns[-1] == mov(src, dst)):
            self._add(mov(dst, src))

    def _binary(self, op: Binary) -> None:
        dst, (a, b) = self._reg(op.dst), op.args
        make = alu if op.bits == 64 else alu32
        if is_immediate(op, 1, self._defs.get(b)):
            const = self._const(b)
            assert const is not None
            self._copy_operand(dst, a)
            number, imm = _with_const(op.op, signed(const, op.bits))
            self._add(make(number, dst, imm=imm))
            return
        if op.op.commutes and self._registers.get(b) == dst and self._registers.get(a) != dst:
            a, b = b, a
        elif self._registers.get(b) == dst and self._registers.get(a) != dst:
            raise InternalError(f"the register of v{op.dst} holds an operand")
        self._copy_operand(dst, a)
        self._add(make(_ALU[op.op], dst, self._reg(b)))

    def _copy_operand(self, dst: int, value: Value) -> None:
        if value in self._registers:
            self._move(dst, self._reg(value))
        else:
            self._put(dst, value)

    def _compare(self, op: Compare) -> None:
        """``dst = 1; if a test b goto +1; dst = 0``."""
        dst = self._reg(op.dst)
        self._add(alu(Alu.MOV, dst, imm=1))
        self._add(self._test(op, 1))
        self._add(alu(Alu.MOV, dst, imm=0))

    def _test(self, item: Compare | Branch, off: int, test: Test | None = None) -> Insn:
        make = jmp if item.bits == 64 else jmp32
        a, b = item.args
        number = _JMP[test or item.test]
        if is_immediate(item, 1, self._defs.get(b)):
            const = self._const(b)
            assert const is not None
            return make(number, self._reg(a), imm=signed(const, item.bits), off=off)
        return make(number, self._reg(a), self._reg(b), off=off)

    def _extend(self, op: Extend) -> None:
        dst, src = self._reg(op.dst), self._reg(op.args[0])
        if op.signed:
            self._move(dst, src)
            self._sign(dst, op.bits)
        elif op.bits == 32:
            self._add(mov32(dst, src))
        else:
            self._move(dst, src)
            self._add(alu(Alu.AND, dst, imm=(1 << op.bits) - 1))

    def _sign(self, reg: int, bits: int) -> None:
        self._add(alu(Alu.LSH, reg, imm=64 - bits), alu(Alu.ARSH, reg, imm=64 - bits))

    def _store(self, op: Store) -> None:
        base, offset = self._base(op.args[0])
        if is_immediate(op, 1, self._defs.get(op.args[1])):
            const = self._const(op.args[1])
            assert const is not None
            imm = signed(const, min(op.size * 8, 64))
            self._add(st(_SIZES[op.size], base, offset + op.offset, imm))
        else:
            self._add(stx(_SIZES[op.size], base, self._reg(op.args[1]), offset + op.offset))

    def _call(self, op: Call) -> None:
        moves: list[tuple[int, int]] = []
        later: list[tuple[int, Value]] = []
        for reg, value in enumerate(op.args, R1):
            if value in self._registers and not is_immediate(op, 0, self._defs.get(value)):
                moves.append((reg, self._reg(value)))
            else:
                later.append((reg, value))
        self._move_all(moves)
        for reg, value in later:
            self._put(reg, value)
        match op.target:
            case Helper(number=number):
                self._add(call_helper(number))
            case Kfunc(name=name):
                self._code.relocs.append(KfuncCall(InsnOff(self._end), name))
                self._add(call_kfunc(0))
            case Local(name=name):
                self._code.calls.append((self._end, name))
                self._add(call_local(0))
        if op.dst in self._registers:
            self._move(self._reg(op.dst), R0)

    # -- ends ------------------------------------------------------------------------------------

    def _finish(self, end: End, following: Label | None) -> None:
        match end:
            case Return(args=(value,)):
                if value in self._registers and self._const(value) is None:
                    self._move(R0, self._reg(value))
                else:
                    self._put(R0, value)
                self._add(exit_())
            case Jump(target=target, args=args):
                self._fill(self._function.blocks[target].params, args)
                if target != following:
                    self._goto(ja(0), target)
            case Branch():
                self._branch(end, following)

    def _branch(self, end: Branch, following: Label | None) -> None:
        inverted = end.test.inverted
        if end.then == following and inverted is not None:
            self._goto(self._test(end, 0, inverted), end.other)
            return
        self._goto(self._test(end, 0), end.then)
        if end.other != following:
            self._goto(ja(0), end.other)

    def _goto(self, insn: Insn, target: Label) -> None:
        self._add(insn)
        self._jumps.append((len(self._code.insns) - 1, self._end, target))

    def _fill(self, params: Sequence[Value], args: Sequence[Value]) -> None:
        moves: list[tuple[int, int]] = []
        later: list[tuple[int, Value]] = []
        for param, value in zip(params, args, strict=True):
            if param not in self._registers:
                continue
            if value in self._registers and self._const(value) is None:
                moves.append((self._reg(param), self._reg(value)))
            else:
                later.append((self._reg(param), value))
        self._move_all(moves)
        for reg, value in later:
            self._put(reg, value)

    def _move_all(self, moves: list[tuple[int, int]]) -> None:
        """All at once: what is still to be read is not written before. A ring is opened by way of
        the stack."""
        waiting = {dst: src for dst, src in moves if dst != src}
        while waiting:
            free = next((dst for dst in waiting if dst not in waiting.values()), None)
            if free is not None:
                src = waiting.pop(free)
                if src == _ON_STACK:
                    self._add(self._unspill(free))
                else:
                    self._move(free, src)
                continue
            dst = next(iter(waiting))
            self._add(stx(Size.DW, R10, dst, self._spare_slot()))
            waiting = {to: _ON_STACK if src == dst else src for to, src in waiting.items()}

    def _unspill(self, reg: int) -> Insn:
        return ldx(Size.DW, reg, R10, self._spare_slot())

    def _spare_slot(self) -> int:
        if self._spare is None:
            self._spare = self._function.new_slot(8)
            self._slots = _frame(self._function)
        return self._slots[self._spare]


def _with_const(op: BinaryOp, const: int) -> tuple[Alu, int]:
    """``x - c`` is ``x + -c``, and powers of two divide and multiply by shifts."""
    if const > 0 and not const & (const - 1):
        count = const.bit_length() - 1
        if op is BinaryOp.UDIV:
            return Alu.RSH, count
        if op is BinaryOp.MUL:
            return Alu.LSH, count
        if op is BinaryOp.UMOD:
            return Alu.AND, const - 1
    if op is BinaryOp.SUB and -const in _S32:
        return Alu.ADD, -const
    return _ALU[op], const


def _load_const(reg: int, value: int) -> Insn:
    if signed(value) in _S32:
        return alu(Alu.MOV, reg, imm=signed(value))
    if value >> 32 == 0:
        return alu32(Alu.MOV, reg, imm=signed(value, 32))
    return lddw(reg, value)


def _frame(function: Function) -> list[int]:
    """Offsets of the stack slots from r10. Raises `UnsupportedError` where they don't fit."""
    offsets: list[int] = []
    end = 0
    for slot in function.slots:
        end += slot.size
        end += -end % slot.align
        offsets.append(-end)
    if end > STACK_BYTES:
        error = UnsupportedError(f"'{function.name}' with {end} bytes of variables on the stack")
        raise error.hint(f"a BPF program has {STACK_BYTES}: use maps for what is large")
    return offsets
