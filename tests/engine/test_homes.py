"""What is done with a program before it is machine code: pairs, homes of values, late frames."""

from __future__ import annotations

import pytest
from unicorn import UC_ARCH_ARM64, UC_MODE_ARM, Uc
from unicorn.arm64_const import UC_ARM64_REG_LR, UC_ARM64_REG_SP, UC_ARM64_REG_X0

from fsession.engine.jit import arm64
from fsession.engine.jit.allocate import Machine
from fsession.engine.jit.arm64_insns import load_imm, words
from fsession.engine.jit.fuse import fused
from fsession.engine.jit.merge import UPDATE
from fsession.engine.jit.prepare import prepare
from fsession.engine.jit.schedule import FRAME
from fsession.isa.asm import assemble
from fsession.isa.disasm import format_insn
from fsession.isa.opcode import Alu

SMALL = Machine(homes=1, saving=2)
MERGING = Machine(homes=1, saving=2, merges=True)


def prepared(text, machine=SMALL):
    program = prepare(assemble(text), lambda _: 0, lambda _: machine)
    return program.functions[0].steps


def lines(text, machine=SMALL):
    return [
        format_insn(insn).strip() for step in prepared(text, machine) for insn in step.line.insns
    ]


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("r2 = r10\n r2 += -8", 3),
        ("r2 <<= 32\n r2 >>= 32", 3),
        ("r2 <<= 32\n r2 s>>= 32", 3),
        ("r2 <<= 32\n r3 >>= 32", 4),
        ("r2 <<= 31\n r2 >>= 32", 4),
        ("if r1 == 0 goto in\n r2 = r10\n in:\n r2 += -8", 5),
    ],
)
def test_pairs_that_nothing_jumps_into_are_one(text, length):
    assert len(list(fused(assemble(f"{text}\n r0 = 0\n exit")))) == length


def test_values_that_no_call_comes_between_are_not_saved():
    text = """
        r6 = r1
        call 5
        r6 = *(u64 *)(r6 +0)
        *(u64 *)(r10 -8) = r6
        r0 = 0
        exit
    """
    assert lines(text) == [
        "*(u64 *)(r10 -16) = r1",
        "call bpf_ktime_get_ns#5",
        "r12 = *(u64 *)(r10 -16)",
        "r13 = *(u64 *)(r12 +0)",
        "*(u64 *)(r10 -8) = r13",
        "r15 = 0",
        "exit",
    ]


def test_constants_are_loaded_where_they_are_read():
    text = "r7 = 7\n call 5\n r1 = r7\n call 5\n r1 = r7\n call 5\n exit"
    assert lines(text)[1:4:2] == ["r1 = 0x7", "r1 = 0x7"]


def test_values_that_are_computed_with_share_registers():
    text = """
        r8 = r1
        call 5
        r8 += r0
        r8 *= r8
        call 5
        r0 += r8
        r9 = r0
        call 5
        r9 -= r0
        r9 *= r9
        call 5
        r0 += r9
        exit
    """
    assert not {"r7", "r8", "r9"} & set(" ".join(lines(text)).split())


def test_a_way_that_saves_nothing_has_no_frame():
    text = """
        r2 = *(u64 *)(r1 +0)
        if r2 == 0 goto end
        r6 = r1
        call 5
        r6 += r0
        r6 *= r6
        call 5
        r0 += r6
    end:
        r0 = 0
        exit
    """
    ends = [step.after for step in prepared(text) if step.line.insns[-1].is_exit]
    assert sorted(ends) == [0, FRAME | 1 << 6]


def test_a_function_that_would_be_much_longer_starts_with_all():
    """Six registers and ways that come together again and again: not one end for each."""
    ways = "".join(
        f"if r1 == {at} goto l{at}\n r{6 + at % 4} = r0\n l{at}:\n r1 += r{6 + at % 4}\n"
        for at in range(12)
    )
    uses = "".join(f"r{at} = r1\n" for at in range(6, 10))
    kept = "call 5\n" + "".join(f"r0 *= r{at}\n r{at} += r0\n" for at in range(6, 10))
    text = f"r0 = 1\n{ways} {uses} {kept * 2} exit"
    steps = prepared(text)
    assert len(steps) <= 1.5 * len(assemble(text)) + 24


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("r2 = *(u64 *)(r1 +0)\n r2 += 1\n *(u64 *)(r1 +0) = r2", 3),
        ("r2 = *(u64 *)(r1 +0)\n r2 += 1\n *(u64 *)(r1 +8) = r2", 5),
        ("r2 = *(u64 *)(r1 +0)\n r2 += 1\n *(u32 *)(r1 +0) = r2", 5),
        ("r2 = *(u32 *)(r1 +0)\n w2 += 1\n *(u32 *)(r1 +0) = r2", 3),
        ("r2 = *(u64 *)(r1 +0)\n r2 += r2\n *(u64 *)(r1 +0) = r2", 5),
        ("r1 = *(u64 *)(r1 +0)\n r1 += 1\n *(u64 *)(r1 +0) = r1", 5),
        ("r2 = *(u64 *)(r1 +0)\n r3 = 1\n r3 -= r2", 5),
        ("r3 = 1\n r2 = *(u64 *)(r1 +0)\n r3 -= r2", 4),
        ("r3 = 1\n r2 = *(u64 *)(r1 +0)\n r3 &= r2", 5),
        ("r3 = 1\n r2 = *(u64 *)(r1 +0)\n r3 -= r2\n r3 += r2", 6),
    ],
)
def test_loads_and_stores_become_operands_only_of_the_same_place_and_width(text, count):
    assert len(prepared(f"{text}\n r0 = 0\n exit", MERGING)) == count


def test_an_update_is_told_from_an_atomic():
    text = "r2 = *(u64 *)(r1 +0)\n r2 += r3\n *(u64 *)(r1 +0) = r2\n r0 = 0\n exit"
    assert prepared(text, MERGING)[0].line.insns[0].imm == UPDATE | Alu.ADD


def test_a_load_that_faults_as_an_operand_is_0(machine, program):
    loads = "r2 = *(u64 *)(r1 +0)\n r0 -= r2\n r2 = *(u64 *)(r1 +8)\n r0 ^= r2"
    text = f"r0 = 5\n r1 = 16\n {loads}\n exit"
    assert program(text, kind=None).test_run().retval == 5


@pytest.mark.parametrize("near", [False, True])
def test_calls_on_arm64_reach_what_is_near_and_what_is_far(near):
    place, helper = 0x10000, 0x100000 if near else 0x7_0000_0000
    code = arm64.compile_code(assemble("call 5\n r0 += 1\n call 5\n exit"), lambda _: helper)
    uc = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
    for start in (place, helper, 0x200000):
        uc.mem_map(start, 0x1000)
    uc.mem_write(place, code.at(place))
    uc.mem_write(helper, load_imm(0, 41) + words(0xD65F03C0))
    uc.reg_write(UC_ARM64_REG_SP, 0x201000)
    uc.reg_write(UC_ARM64_REG_LR, 0x40)
    uc.emu_start(place, 0x40)
    assert uc.reg_read(UC_ARM64_REG_X0) == 41
    assert (code.at(place) == code.data) != near


@pytest.mark.parametrize("off", [-513, -9296, -0x8000, 0x7FF8])
def test_far_places_of_raw_code_make_no_larger_frame(off):
    """No verifier lets them through; they are read where they are."""
    program = prepare(assemble(f"r0 = *(u8 *)(r10 {off:+})\n exit"), lambda _: 0, lambda _: SMALL)
    assert program.functions[0].shape.stack <= 512
