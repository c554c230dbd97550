"""What single instructions do, at the edges: written down by hand from RFC 9669."""

from __future__ import annotations

import struct

import pytest

from engine.runners import MODES, runners
from fsession.engine import execute
from fsession.engine.interp import MAX_LOOPS, RunError
from fsession.engine.memory import MemoryFault
from fsession.errors import BadInputError
from fsession.isa.asm import assemble
from fsession.isa.insn import Insn, encode

U64 = (1 << 64) - 1
LOW, HIGH = -(1 << 63), (1 << 63) - 1
LOW32 = -(1 << 31)

# r3 and r4 are set, the instruction runs, r3 comes out.
ALU = [
    ("r3 += r4", HIGH, 1, LOW),
    ("w3 += w4", -1, 1, 0),
    ("w3 -= w4", 0, 1, 0xFFFFFFFF),
    ("r3 -= 1", 0, 0, -1),
    ("r3 *= r4", 1 << 63, 2, 0),
    ("w3 *= w4", 0x10000, 0x10000, 0),
    ("r3 /= r4", -1, 2, HIGH),
    ("r3 /= r4", 7, 0, 0),
    ("w3 /= w4", 7, 1 << 32, 0),
    ("r3 %= r4", -1, 0, -1),
    ("w3 %= w4", -1, 1 << 32, 0xFFFFFFFF),
    ("r3 %= 10", 123, 0, 3),
    ("r3 s/= r4", -7, 2, -3),
    ("r3 s/= r4", LOW, -1, LOW),
    ("r3 s/= r4", LOW, 0, 0),
    ("w3 s/= w4", LOW32, -1, 0x80000000),
    ("w3 s/= -2", 7, 0, 0xFFFFFFFD),
    ("r3 s%= r4", -7, 2, -1),
    ("r3 s%= r4", 7, -2, 1),
    ("r3 s%= r4", LOW, -1, 0),
    ("r3 s%= r4", -7, 0, -7),
    ("w3 s%= w4", LOW32, -1, 0),
    ("r3 |= r4", 0b1100, 0b1010, 0b1110),
    ("r3 &= r4", 0b1100, 0b1010, 0b1000),
    ("r3 ^= r4", 0b1100, 0b1010, 0b0110),
    ("r3 &= -8", -1, 0, -8),
    ("w3 &= -8", -1, 0, 0xFFFFFFF8),
    ("r3 <<= r4", 1, 63, LOW),
    ("r3 <<= r4", 1, 64, 1),
    ("w3 <<= w4", 1, 32, 1),
    ("r3 <<= r4", 1, -1, LOW),
    ("r3 >>= r4", -1, 60, 15),
    ("w3 >>= w4", -1, 28, 15),
    ("r3 s>>= r4", LOW, 63, -1),
    ("w3 s>>= w4", LOW32, 31, 0xFFFFFFFF),
    ("w3 s>>= 4", 0x80000000, 0, 0xF8000000),
    ("r3 = -r3", LOW, 0, LOW),
    ("w3 = -w3", 1, 0, 0xFFFFFFFF),
    ("r3 = r4", 0, -5, -5),
    ("w3 = w4", 0, -5, 0xFFFFFFFB),
    ("r3 = -5", 0, 0, -5),
    ("w3 = -5", 0, 0, 0xFFFFFFFB),
    ("r3 = (s8)r4", 0, 0x80, -128),
    ("r3 = (s16)r4", 0, 0x18000, -32768),
    ("r3 = (s32)r4", 0, 1 << 31, LOW32),
    ("w3 = (s8)w4", 0, 0x80, 0xFFFFFF80),
    ("w3 = (s16)w4", 0, 0x8000, 0xFFFF8000),
    ("r3 = be16 r3", 0x1122334455667788, 0, 0x8877),
    ("r3 = be32 r3", 0x1122334455667788, 0, 0x88776655),
    ("r3 = be64 r3", 0x1122334455667788, 0, 0x8877665544332211),
    ("r3 = le16 r3", 0x1122334455667788, 0, 0x7788),
    ("r3 = le32 r3", 0x1122334455667788, 0, 0x55667788),
    ("r3 = bswap16 r3", 0x1122334455667788, 0, 0x8877),
    ("r3 = bswap32 r3", 0x1122334455667788, 0, 0x88776655),
    ("r3 = bswap64 r3", 0x1122334455667788, 0, 0x8877665544332211),
]

# What r3 compared with r4 says, for 64 bits and for the lower 32.
JUMPS = [
    ("==", 5, 5, True, True),
    ("==", 1 << 32, 0, False, True),
    ("!=", 1 << 32, 0, True, False),
    (">", -1, 1, True, True),
    (">", 1 << 32, 1, True, False),
    (">=", 3, 3, True, True),
    ("<", 1, -1, True, True),
    ("<=", 4, 3, False, False),
    ("&", 6, 9, False, False),
    ("&", 1 << 40, 1 << 40, True, False),
    ("s>", -1, 1, False, False),
    ("s>", 0x80000000, 0, True, False),
    ("s>=", LOW, LOW, True, True),
    ("s<", LOW, HIGH, True, False),
    ("s<", -1, 0, True, True),
    ("s<=", 0, -1, False, False),
]

# An instruction on 8 bytes of memory at r1 with r3 = 0x8899aabbccddeeff: what r3, and what r0
# (before: the old value), and the memory are afterwards.
OLD, NEW = 0x0123456789ABCDEF, 0x8899AABBCCDDEEFF
MEMORY = [
    ("*(u8 *)(r1 +1) = r3", NEW, OLD, 0x0123456789ABFFEF),
    ("*(u16 *)(r1 +2) = r3", NEW, OLD, 0x01234567EEFFCDEF),
    ("*(u32 *)(r1 +4) = r3", NEW, OLD, 0xCCDDEEFF89ABCDEF),
    ("*(u64 *)(r1 +0) = r3", NEW, OLD, NEW),
    ("*(u64 *)(r1 +0) = -2", NEW, OLD, U64 - 1),
    ("*(u8 *)(r1 +7) = 255", NEW, OLD, 0xFF23456789ABCDEF),
    ("r3 = *(u8 *)(r1 +3)", 0x89, OLD, OLD),
    ("r3 = *(s8 *)(r1 +3)", -119, OLD, OLD),
    ("r3 = *(s16 *)(r1 +2)", -30293, OLD, OLD),
    ("r3 = *(s32 *)(r1 +0)", 0x89ABCDEF - (1 << 32), OLD, OLD),
    ("r3 = *(u32 *)(r1 +0)", 0x89ABCDEF, OLD, OLD),
    ("lock *(u64 *)(r1 +0) += r3", NEW, OLD, (OLD + NEW) & U64),
    ("lock *(u32 *)(r1 +4) += r3", NEW, OLD, 0xCE01346689ABCDEF),
    ("lock *(u64 *)(r1 +0) |= r3", NEW, OLD, OLD | NEW),
    ("lock *(u64 *)(r1 +0) &= r3", NEW, OLD, OLD & NEW),
    ("lock *(u64 *)(r1 +0) ^= r3", NEW, OLD, OLD ^ NEW),
    ("r3 = atomic64_fetch_add((u64 *)(r1 +0), r3)", OLD, OLD, (OLD + NEW) & U64),
    ("r3 = atomic_fetch_or((u32 *)(r1 +0), r3)", 0x89ABCDEF, OLD, 0x01234567CDFFEFFF),
    ("r3 = atomic64_fetch_and((u64 *)(r1 +0), r3)", OLD, OLD, OLD & NEW),
    ("r3 = atomic64_fetch_xor((u64 *)(r1 +0), r3)", OLD, OLD, OLD ^ NEW),
    ("r3 = atomic64_xchg((u64 *)(r1 +0), r3)", OLD, OLD, NEW),
    ("r3 = atomic_xchg((u32 *)(r1 +0), r3)", 0x89ABCDEF, OLD, 0x01234567CCDDEEFF),
    ("r0 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r3)", NEW, OLD, NEW),
    ("r0 = atomic_cmpxchg((u32 *)(r1 +0), r0, r3)", NEW, 0x89ABCDEF, 0x01234567CCDDEEFF),
    ("r0 = atomic_cmpxchg((u32 *)(r1 +4), r0, r3)", NEW, 0x01234567, OLD),
    ("r3 = load_acquire((u16 *)(r1 +0))", 0xCDEF, OLD, OLD),
    ("store_release((u16 *)(r1 +0), r3)", NEW, OLD, 0x0123456789ABEEFF),
]


@pytest.fixture(params=MODES)
def run(request):
    return runners()[request.param]


@pytest.mark.parametrize(("text", "a", "b", "expected"), ALU)
def test_arithmetic(run, text, a, b, expected):
    code = f"r3 = {a & U64:#x} ll\n r4 = {b & U64:#x} ll\n {text}\n r0 = r3\n exit"
    assert run(assemble(code), b"")[0] == expected & U64


@pytest.mark.parametrize(("sign", "a", "b", "whole", "half"), JUMPS)
def test_jumps(run, sign, a, b, whole, half):
    for register, expected in (("r", whole), ("w", half)):
        text = f"r3 = {a & U64:#x} ll\n r4 = {b & U64:#x} ll\n r0 = 1\n"
        text += f"if {register}3 {sign} {register}4 goto out\n r0 = 0\n out: exit"
        assert bool(run(assemble(text), b"")[0]) == expected


@pytest.mark.parametrize(("text", "r3", "r0", "memory"), MEMORY)
def test_memory(run, text, r3, r0, memory):
    head = f"r0 = *(u64 *)(r1 +0)\n r3 = {NEW:#x} ll\n {text}\n"
    whole = head + "*(u64 *)(r1 +8) = r3\n *(u64 *)(r1 +16) = r0\n exit"
    _, after = run(assemble(whole), OLD.to_bytes(8, "little") + bytes(16))
    assert struct.unpack("<3Q", after) == (memory & U64, r3 & U64, r0 & U64)


# Each level has its number in r6 and on its stack: the sum of 1 .. n comes out.
RECURSION = """
    r1 = {depth}
    call down
    exit
down:
    r6 = r1
    *(u64 *)(r10 -8) = r1
    r0 = 0
    r1 += -1
    if r1 == 0 goto out
    call down
out:
    r2 = *(u64 *)(r10 -8)
    if r2 != r6 goto wrong
    r0 += r6
    exit
wrong:
    r0 = -1
    exit
"""


def test_calls_keep_registers_and_have_their_own_stack(run):
    assert run(assemble(RECURSION.format(depth=7)), b"")[0] == 28


def test_the_interpreter_counts_frames():
    with pytest.raises(RunError, match="more than 8 frames"):
        execute(encode(assemble(RECURSION.format(depth=8))))


@pytest.mark.skipif("jit" not in MODES, reason="no machine code for this architecture")
def test_may_goto_ends_a_loop():
    text = "r0 = 0\n again: may_goto out\n r0 += 1\n goto again\n out: exit"
    assert execute(encode(assemble(text)), mode="jit") == MAX_LOOPS


@pytest.mark.parametrize("mode", ["arm64", "interp"])
def test_may_goto_goes_on(mode):
    loop = "r0 = 0\n again: may_goto out\n r0 += 1\n if r0 < 9 goto again\n exit\n"
    assert runners()[mode](assemble(loop + "out: r0 = 0\n exit"), b"")[0] == 9


REFUSED = [
    ("no instruction", (), "at least one"),
    ("an opcode that is none", (Insn(0xFF), Insn(0x95)), "does not exist"),
    ("a field that should be 0", (Insn(0xB7, 0, 3), Insn(0x95)), "does not exist"),
    ("the frame pointer changed", (Insn(0xB7, 10), Insn(0x95)), "frame pointer"),
    ("no exit", (Insn(0xB7),), "past its end"),
    ("a jump out", (Insn(0x05, off=5), Insn(0x95)), "goes to 6"),
    ("a load from a packet", (Insn(0x20), Insn(0x95)), "does not exist"),
    ("an indirect jump", (Insn(0x0D), Insn(0x95)), "does not exist"),
    ("a call outside", (Insn(0x85, imm=1), Insn(0x95)), "call"),
]


@pytest.mark.parametrize("mode", ["interp", "jit"])
@pytest.mark.parametrize(("name", "insns", "message"), REFUSED)
def test_refused(mode, name, insns, message):
    with pytest.raises((BadInputError, RunError), match=message):
        execute(encode(insns), mode=mode)


@pytest.mark.parametrize(
    "text", ["r0 = *(u8 *)(r1 +8)", "*(u8 *)(r1 -1) = 0", "r0 = *(u64 *)(r1 +1)"]
)
def test_the_interpreter_stays_in_its_memory(text):
    with pytest.raises(MemoryFault):
        execute(encode(assemble(f"{text}\n r0 = 0\n exit")), bytes(8))


def test_step_shows_each_instruction():
    seen = []
    code = encode(assemble("r0 = 1\n r0 += 2\n exit"))
    execute(code, step=lambda at, insn, regs: seen.append((at, insn.opcode, regs[0])))
    assert seen == [(0, 0xB7, 0), (1, 0x07, 1), (2, 0x95, 3)]
