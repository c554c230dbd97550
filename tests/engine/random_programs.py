"""Random programs that are valid in the eyes of a verifier, and whose result tells everything.

A program takes the address of `WORDS` words of memory in r1. It loads registers from there,
computes, stores to its stack and to the memory, calls functions of its own, jumps forward; at the
end all registers and the stack are mixed into r0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.isa.insn import (
    Insn,
    alu,
    alu32,
    atomic,
    call_local,
    exit_,
    ja,
    jmp,
    jmp32,
    lddw,
    ldx,
    mov,
    offsets,
    st,
    stx,
)
from fsession.isa.opcode import R0, R1, R2, R9, R10, Alu, Atomic, Class, Jmp, Mode, Size, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

__all__ = ["MEMORY_BYTES", "random_memory", "random_program", "short_lived_program"]

_INSIDE = 1000
WORDS = 16
MEMORY_BYTES = 8 * WORDS
STACK = 32  # bytes of it that are used
FREE = range(R9)  # r9 has the memory's address
EDGES = (0, 1, 2, 7, 31, 32, 63, 64, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0x7FFFFFFF, 0x80000000)
SIGNS = (*EDGES, *(-edge for edge in EDGES if edge <= 0x80000000))

BINARY = (Alu.ADD, Alu.SUB, Alu.MUL, Alu.DIV, Alu.OR, Alu.AND, Alu.MOD, Alu.XOR, Alu.MOV)
SHIFTS = (Alu.LSH, Alu.RSH, Alu.ARSH)
TESTS = tuple(op for op in Jmp if op not in (Jmp.JA, Jmp.CALL, Jmp.EXIT, Jmp.JCOND))
ATOMICS = tuple(op for op in Atomic if op not in (Atomic.LOAD_ACQ, Atomic.STORE_REL))
SIZES = tuple(Size)


def random_memory(rng: Random) -> bytes:
    """Words from the edges of all sizes, and any."""
    words = (
        rng.choice(SIGNS) if rng.random() < 0.5 else rng.getrandbits(64) >> rng.randrange(64)
        for _ in range(WORDS)
    )
    return b"".join((word & (1 << 64) - 1).to_bytes(8, "little") for word in words)


def random_program(
    rng: Random, length: int = 24, *, acquire: bool = True, calls: bool = True
) -> tuple[Insn, ...]:
    """`length` random instructions and what goes before and after them."""
    out = _main(rng, length, acquire, rng.randrange(3) if calls else 0)
    return _with_functions(out, lambda: _function(rng, max(2, length // 3), acquire))


def short_lived_program(rng: Random, length: int = 24) -> tuple[Insn, ...]:
    """Values that are soon set anew and end in a few registers, loops, pointers to the stack,
    memory that is updated: what there is to gain by looking at where values are needed."""
    functions = rng.randrange(3)
    head = [mov(R9, R1), *(ldx(Size.DW, register, R9, 8 * register) for register in FREE)]
    body = _placed([_short_lived(rng, functions) for _ in range(length)])
    *mix, end = _mix([R0, *rng.sample(range(1, R9), rng.randrange(1, 5))])
    out = [*head, *_fill_stack(), *body, *mix, stx(Size.DW, R9, R0, 0), end]
    return _with_functions(out, lambda: _short_function(rng, max(2, length // 3)))


def _with_functions(out: list[Insn], function: Callable[[], list[Insn]]) -> tuple[Insn, ...]:
    starts = {}  # a function that is not called is unreachable: refused
    for number in {insn.imm: 0 for insn in out if insn.is_local_call}:
        starts[number] = offsets(out)[-1]
        out += function()
    return tuple(
        call_local(starts[insn.imm] - at - 1) if insn.is_local_call else insn
        for at, insn in zip(offsets(out), out, strict=False)
    )


def _main(rng: Random, length: int, acquire: bool, functions: int) -> list[Insn]:
    head = [mov(R9, R1)]
    head += [ldx(Size.DW, register, R9, 8 * register) for register in FREE]
    body = _body(rng, length, acquire, functions)
    *mix, end = _mix(range(R9))
    return [*head, *_fill_stack(), *body, *mix, stx(Size.DW, R9, R0, 0), end]


def _function(rng: Random, length: int, acquire: bool) -> list[Insn]:
    """Of five numbers; it has no memory but its stack."""
    head = [mov(R0, R1), mov(6, R2), mov(7, 3), mov(8, 4), mov(R9, 5)]
    body = [insn for insn in _body(rng, length, acquire, 0) if R9 not in (insn.dst, insn.src)]
    straight = [insn for insn in body if not insn.is_jump]
    return [*head, *_fill_stack(), *straight, *_mix(range(R9))]


def _short_function(rng: Random, length: int) -> list[Insn]:
    """It keeps some of its arguments."""
    head = [mov(R0, R1), *(mov(6 + at, 2 + at) for at in range(4))]
    groups = [_short_lived(rng, 0) for _ in range(length)]
    body = _placed([group for group in groups if all(R9 not in (i.dst, i.src) for i in group)])
    mix = _mix([R0, *rng.sample(range(1, R9), rng.randrange(1, 3))])
    return [*head, *_fill_stack(), *body, *mix]


def _short_lived(rng: Random, functions: int) -> list[Insn]:
    kind = rng.random()
    register, other = rng.choice(FREE), rng.choice(FREE)
    if kind < 0.25:
        return [_set_anew(rng, register)]
    if kind < 0.32:
        return _update(rng, register, other)
    if kind < 0.38:
        return _through_pointer(rng, register)
    if kind < 0.45 and functions:
        return _call(rng, functions)
    if kind < 0.5:
        return _loop(rng, functions)
    return _group(rng, acquire=True, functions=0)


def _set_anew(rng: Random, register: int) -> Insn:
    kind = rng.random()
    if kind < 0.4:
        return mov(register, rng.choice(FREE))
    if kind < 0.6:
        return ldx(Size.DW, register, R9, 8 * rng.randrange(WORDS))
    if kind < 0.8:
        return alu(Alu.MOV, register, imm=_imm(rng))
    return lddw(register, rng.getrandbits(64))


def _update(rng: Random, register: int, other: int) -> list[Insn]:
    """A load, an operation, a store of its result or a new value; and of loads as operands."""
    size, off = rng.choice((Size.W, Size.DW)), 8 * rng.randrange(WORDS)
    base, off = rng.choice(((R9, off), (R10, off % STACK - STACK)))
    make = alu if size == Size.DW or rng.random() < 0.3 else alu32
    operation = rng.choice((Alu.ADD, Alu.SUB, Alu.OR, Alu.AND, Alu.XOR))
    load, after = ldx(size, register, base, off), _set_anew(rng, register)
    kind = rng.random()
    if kind < 0.3:
        return [
            load,
            make(operation, register, imm=_imm(rng)),
            stx(size, base, register, off),
            after,
        ]
    if kind < 0.6:
        return [load, make(operation, register, other), stx(size, base, register, off), after]
    return [load, make(operation, other, register), *([after] if rng.random() < 0.7 else [])]


def _through_pointer(rng: Random, register: int) -> list[Insn]:
    """A pointer to the stack, which is overwritten: no address comes into the result."""
    down = 8 * rng.randrange(1, STACK // 8 + 1)
    pointer = [mov(register, R10), alu(Alu.ADD, register, imm=-down)]
    store = [st(Size.W, register, 0, _imm(rng))] if rng.random() < 0.5 else []
    return [*pointer, *store, ldx(Size.DW, register, register)]


def _call(rng: Random, functions: int) -> list[Insn]:
    """Between the call and new arguments, its result may be alone."""
    between = [
        [],
        [mov(6 + rng.randrange(3), R0)],
        [alu(Alu.ADD, R0, imm=7), stx(Size.DW, R10, R0, -8)],
        [jmp(Jmp.JEQ, R0, imm=0, off=1 - _INSIDE), mov(7, R0)],
    ]

    refill = [alu(Alu.MOV, register, 6 + register % 3) for register in range(1, 6)]
    call = Insn(Class.JMP | Jmp.CALL, src=1, imm=rng.randrange(functions))
    return [call, *rng.choice(between), *refill[: rng.randrange(6)], *refill]


def _loop(rng: Random, functions: int) -> list[Insn]:
    """A few rounds, counted by r8."""
    inside: list[Insn] = []
    for _ in range(rng.randrange(1, 4)):
        group = _call(rng, functions) if functions and rng.random() < 0.2 else [_arithmetic(rng)]
        group = [_set_anew(rng, rng.choice(FREE))] if rng.random() < 0.3 else group
        inside += [insn for insn in group if insn.dst != 8 and not insn.is_jump]
    slots = sum(insn.slots for insn in inside)
    back = jmp(Jmp.JNE, 8, imm=0, off=-_INSIDE - slots - 2)
    return [alu(Alu.MOV, 8, imm=rng.randrange(1, 4)), *inside, alu(Alu.ADD, 8, imm=-1), back]


def _fill_stack() -> list[Insn]:
    return [stx(Size.DW, R10, at % 5 + 1, -8 * at) for at in range(1, STACK // 8 + 1)]


def _mix(registers: Sequence[int]) -> list[Insn]:
    out = []
    for register in registers[1:]:
        out += [alu(Alu.MUL, R0, imm=31), alu(Alu.ADD, R0, register)]
    for at in range(1, STACK // 8 + 1):
        out += [ldx(Size.DW, R1, R10, -8 * at), alu(Alu.MUL, R0, imm=31), alu(Alu.XOR, R0, R1)]
    return [*out, exit_()]


def _body(rng: Random, length: int, acquire: bool, functions: int) -> list[Insn]:
    return _placed([_group(rng, acquire, functions) for _ in range(length)])


def _placed(groups: list[list[Insn]]) -> list[Insn]:
    """Jumps over groups become jumps over slots; those inside of a group are told by `_INSIDE`."""
    out: list[Insn] = []
    for at, group in enumerate(groups):
        for insn in group:
            if insn.is_jump and insn.off < -_INSIDE // 2:
                insn = Insn(insn.opcode, insn.dst, insn.src, insn.off + _INSIDE, insn.imm)
            elif insn.is_jump:
                skipped = [other for later in groups[at + 1 : at + 1 + insn.off] for other in later]
                distance = sum(other.slots for other in skipped)
                gotol = insn.opcode == Class.JMP32 | Jmp.JA
                off, imm = (0, distance) if gotol else (distance, insn.imm)
                insn = Insn(insn.opcode, insn.dst, insn.src, off, imm)
            out.append(insn)
    return out


def _group(rng: Random, acquire: bool, functions: int) -> list[Insn]:
    """One instruction, or a call with what it needs; `off` of a jump counts groups."""
    kind = rng.random()
    if kind < 0.5:
        return [_arithmetic(rng)]
    if kind < 0.62:
        return [_jump(rng)]
    if kind < 0.8:
        return [_memory(rng)]
    if kind < 0.9:
        return [_atomic(rng, acquire)]
    if kind < 0.95 and functions:
        refill = [alu(Alu.MOV, register, 6 + register % 3) for register in range(1, 6)]
        return [Insn(Class.JMP | Jmp.CALL, src=1, imm=rng.randrange(functions)), *refill]
    return [lddw(rng.choice(FREE), rng.getrandbits(64))]


def _imm(rng: Random) -> int:
    value = rng.choice(SIGNS) if rng.random() < 0.5 else rng.getrandbits(32) >> rng.randrange(32)
    return (value & 0xFFFFFFFF) - (1 << 32 if value & 0x80000000 else 0)


def _arithmetic(rng: Random) -> Insn:
    make, bits = rng.choice(((alu, 64), (alu32, 32)))
    dst, src = rng.choice(FREE), rng.choice(FREE)
    kind = rng.random()
    if kind < 0.1:
        return make(Alu.NEG, dst)
    if kind < 0.2:
        cls = rng.choice((Class.ALU, Class.ALU | Source.X, Class.ALU64))
        return Insn(cls | Alu.END, dst, imm=rng.choice((16, 32, 64)))
    if kind < 0.35:
        operation = rng.choice(SHIFTS)
        return make(operation, dst, imm=rng.randrange(bits))
    if kind < 0.45:
        # A shift by a register beyond the width is refused or cut, by the kernel's age: mask it.
        return make(rng.choice(SHIFTS), dst, src)
    if kind < 0.5:
        return make(Alu.MOV, dst, src, off=rng.choice((8, 16, 32) if bits == 64 else (8, 16)))
    operation = rng.choice(BINARY)
    off = int(operation in (Alu.DIV, Alu.MOD) and rng.random() < 0.5)
    if rng.random() < 0.6:
        return make(operation, dst, src, off=off)
    imm = _imm(rng)
    return make(operation, dst, imm=imm or (3 if operation in (Alu.DIV, Alu.MOD) else 0), off=off)


def _jump(rng: Random) -> Insn:
    if rng.random() < 0.1:
        return ja(0) if rng.random() < 0.5 else Insn(Class.JMP32 | Jmp.JA)
    make = rng.choice((jmp, jmp32))
    dst, off = rng.choice(FREE), rng.randrange(1, 4)
    if rng.random() < 0.6:
        return make(rng.choice(TESTS), dst, rng.choice(FREE), off=off)
    return make(rng.choice(TESTS), dst, imm=_imm(rng), off=off)


def _memory(rng: Random) -> Insn:
    size, register = rng.choice(SIZES), rng.choice(FREE)
    on_stack = rng.random() < 0.6
    bound = STACK if on_stack else MEMORY_BYTES
    off = rng.randrange(0, bound, size.size_bytes)
    base, off = (R10, off - STACK) if on_stack else (R9, off)
    kind = rng.random()
    if kind < 0.3:
        return ldx(size, register, base, off)
    if kind < 0.5:
        signed = size != Size.DW and on_stack  # the kernel has no signed loads from a context
        return ldx(size, register, base, off, signed=signed)
    if kind < 0.8 or not on_stack:
        return stx(size, base, register, off)
    return st(size, base, off, _imm(rng))


def _atomic(rng: Random, acquire: bool) -> Insn:
    src = rng.choice(FREE)
    if acquire and rng.random() < 0.3:
        size = rng.choice(SIZES)
        off = rng.randrange(0, STACK, size.size_bytes) - STACK
        if rng.random() < 0.5:
            return Insn(Class.STX | size | Mode.ATOMIC, src, R10, off, Atomic.LOAD_ACQ)
        return atomic(Atomic.STORE_REL, size, R10, src, off)
    size = rng.choice((Size.W, Size.DW))
    off = rng.randrange(0, STACK, size.size_bytes) - STACK
    return atomic(rng.choice(ATOMICS), size, R10, src, off)
