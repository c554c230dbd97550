"""Trampolines of arm64 in an emulated processor: stub, image, programs, body."""

from __future__ import annotations

import struct

import pytest
from unicorn import UC_ARCH_ARM64, UC_MODE_ARM, Uc
from unicorn.arm64_const import (
    UC_ARM64_REG_LR,
    UC_ARM64_REG_SP,
    UC_ARM64_REG_TPIDR_EL0,
    UC_ARM64_REG_X0,
)

from fsession.btf.model import Arg, FuncModel
from fsession.engine.jit import arm64, arm64_images
from fsession.engine.jit.plan import Node, Plan
from fsession.isa.asm import assemble

CODE, DATA, STACK, END = 0x100000, 0x800000, 0x900000, 0x40
TARGET, BODY, STUB, IMAGE, START, PROGRAMS = (CODE + at for at in range(0, 0x6000, 0x1000))
SLOT, THREAD, BLOCK, ENABLED, LOG = (DATA + at for at in (0, 0x100, 0x200, 0x800, 0x1000))
OFFSET = 0x10  # of the block's address, from the thread pointer


class Emulated:
    """A target with one word of memory for each thing that an image needs."""

    def __init__(self, slots: int, *, has_block: bool = True) -> None:
        self.model = FuncModel(tuple(Arg(at, 8) for at in range(slots)), slots, 8)
        self.uc = uc = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
        for start, size in ((CODE, 0x20000), (DATA, 0x10000), (STACK, 0x10000)):
            uc.mem_map(start, size)
        uc.reg_write(UC_ARM64_REG_TPIDR_EL0, THREAD)
        self.poke(THREAD + OFFSET, BLOCK if has_block else 0)
        self.poke(ENABLED, 1)
        body = self.compile(f"r0 = 0\n {self._adds(slots)} r0 *= 3\n exit", BODY + 0x800)
        uc.mem_write(TARGET, arm64_images.adapter(self.model, body))
        start = f"r1 = {THREAD + OFFSET} ll\n r0 = {BLOCK} ll\n *(u64 *)(r1 +0) = r0\n exit"
        entry = self.compile(start, START)
        self.stub = arm64_images.stub(OFFSET, entry, SLOT, TARGET + arm64.ENTRY_BYTES)
        uc.mem_write(STUB, self.stub.data)
        self.next_program = PROGRAMS

    def _adds(self, slots: int) -> str:
        return "".join(f"r2 = *(u64 *)(r1 +{8 * at})\n r0 += r2\n" for at in range(slots))

    def poke(self, address: int, value: int) -> None:
        self.uc.mem_write(address, struct.pack("<Q", value & (1 << 64) - 1))

    def peek(self, address: int) -> int:
        return struct.unpack("<Q", self.uc.mem_read(address, 8))[0]

    def compile(self, text: str, at: int) -> int:
        code = arm64.compile_code(assemble(text), lambda _: 0)
        self.uc.mem_write(at, code.data)
        return at + code.entries[0]

    def program(self, text: str) -> int:
        self.next_program += 0x400
        return self.compile(text, self.next_program)

    def attach(self, **lists: tuple[Node, ...]) -> None:
        plan = Plan(
            self.model,
            TARGET,
            TARGET + arm64.ENTRY_BYTES,
            STUB + self.stub.leave,
            STUB + self.stub.to_body,
            OFFSET,
            **lists,
        )
        self.uc.mem_write(IMAGE, arm64_images.image(plan))
        self.poke(SLOT, IMAGE)
        self.uc.mem_write(TARGET, arm64_images.entry_jump(TARGET, STUB))
        self.uc.ctl_flush_tb()

    def call(self, *args: int) -> int:
        uc, sp = self.uc, STACK + 0xF000
        for at, arg in enumerate(args[:8]):
            uc.reg_write(UC_ARM64_REG_X0 + at, arg)
        for at, arg in enumerate(args[8:]):
            self.poke(sp + 8 * at, arg)
        uc.reg_write(UC_ARM64_REG_SP, sp)
        uc.reg_write(UC_ARM64_REG_LR, END)
        uc.emu_start(TARGET, END, count=100_000)
        assert uc.reg_read(UC_ARM64_REG_SP) == sp
        assert self.peek(BLOCK) == 0  # nobody is inside
        return uc.reg_read(UC_ARM64_REG_X0)

    def log(self) -> list[int]:
        return [self.peek(LOG + 8 * at) for at in range(1, 1 + self.peek(LOG) // 8)]


# Appends {word} to the log.
APPEND = f"""
    r4 = {LOG} ll
    r5 = *(u64 *)(r4 +0)
    r5 += 8
    *(u64 *)(r4 +0) = r5
    r4 += r5
    *(u64 *)(r4 +0) = r3
"""


@pytest.mark.parametrize("slots", [1, 5, 8, 9, 12])
def test_arguments_and_results(slots):
    target = Emulated(slots)
    args = [10**at for at in range(slots)]
    assert target.call(*args) == 3 * sum(args)
    seen = f"r3 = *(u64 *)(r1 +{8 * (slots - 1)})\n{APPEND}"
    seen += f"r3 = *(u64 *)(r1 +{8 * slots})\n{APPEND} r0 = 0\n exit"
    node = Node(target.program(seen), 64, ENABLED, is_session=True)
    target.attach(fentry=(node,), fexit=(node,))
    assert target.call(*args) == 3 * sum(args)
    assert target.log() == [args[-1], 0, args[-1], 3 * sum(args)]
    assert (target.peek(BLOCK + 64), target.peek(BLOCK + 72), target.peek(BLOCK + 80)) == (0, 2, 0)


def test_cookies():
    target = Emulated(1)
    text = """
        r2 = *(u64 *)(r1 -8)
        r0 = r2
        r0 >>= 8
        r0 &= 255
        r0 <<= 3
        r0 -= r1
        r0 = -r0
        if r2 s< 0 goto back
        r3 = *(u64 *)(r0 +0)
        r3 += {add}
        *(u64 *)(r0 +0) = r3
        r0 = 0
        exit
    back:
        r3 = *(u64 *)(r0 +0)
    """
    nodes = tuple(
        Node(
            target.program(text.format(add=add) + APPEND + "r0 = 0\n exit"),
            64 + 32 * at,
            ENABLED,
            is_session=True,
            uses_cookie=True,
        )
        for at, add in enumerate((100, 200, 300))
    )
    target.attach(fentry=nodes, fexit=nodes)
    for _ in range(2):
        assert target.call(7) == 21
    assert target.log() == [100, 200, 300] * 2


def test_entry_only_goes_on_in_the_body():
    target = Emulated(2)
    text = f"r3 = *(u64 *)(r1 +8)\n{APPEND} r0 = 0\n exit"
    target.attach(fentry=(Node(target.program(text), 64, ENABLED),))
    assert target.call(1, 2) == 9
    assert target.log() == [2]


def test_fmod_ret():
    target = Emulated(1)
    deny = Node(target.program("r0 = -7\n exit"), 64, ENABLED)
    seen = Node(target.program(f"r3 = *(u64 *)(r1 +8)\n{APPEND} r0 = 0\n exit"), 96, ENABLED)
    target.attach(fmod_ret=(deny,), fexit=(seen,))
    assert target.call(1) == (1 << 64) - 7
    assert target.log() == [(1 << 64) - 7]


def test_a_running_or_detached_program_is_not_started():
    target = Emulated(1)
    node = Node(target.program(f"r3 = 1\n{APPEND} r0 = 0\n exit"), 64, ENABLED, is_session=True)
    target.attach(fentry=(node,), fexit=(node,))
    target.poke(BLOCK + 64, 1)
    assert target.call(2) == 6
    assert (target.log(), target.peek(BLOCK + 80)) == ([], 2)
    target.poke(BLOCK + 64, 0)
    target.poke(ENABLED, 0)
    target.call(2)
    assert target.log() == []


def test_a_thread_without_a_block_gets_one():
    target = Emulated(9, has_block=False)
    node = Node(target.program(f"r3 = 1\n{APPEND} r0 = 0\n exit"), 64, ENABLED, is_session=True)
    target.attach(fentry=(node,), fexit=(node,))
    assert target.call(*range(9)) == 3 * sum(range(9))
    assert target.log() == [1, 1]
