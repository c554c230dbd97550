"""arm64 code in an emulated processor: a program, its memory, its stack."""

from __future__ import annotations

from unicorn import UC_ARCH_ARM64, UC_HOOK_MEM_INVALID, UC_MODE_ARM, Uc
from unicorn.arm64_const import (
    UC_ARM64_REG_LR,
    UC_ARM64_REG_SP,
    UC_ARM64_REG_TPIDR_EL0,
    UC_ARM64_REG_X0,
    UC_ARM64_REG_X1,
)

from fsession.engine.jit import arm64

CODE, MEMORY, STACK, STACK_BYTES, END = 0x10000, 0x800000, 0x900000, 0x10000, 0x40
__all__ = ["UC_ARM64_REG_TPIDR_EL0", "UC_HOOK_MEM_INVALID", "StackError", "execute"]


class StackError(Exception):
    """The code did not end with the stack it began with."""


def execute(insns, memory: bytearray, *, calls=None, most=10_000_000) -> int:
    """As `fsession.engine.execute`, with x0 and x1 the memory and its size."""
    uc = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
    code = arm64.compile_code(insns, calls)
    uc.mem_map(CODE, 0x100000)
    uc.mem_map(MEMORY, 0x10000)
    uc.mem_map(STACK, STACK_BYTES)
    uc.mem_write(CODE, code.data)
    uc.mem_write(MEMORY, bytes(memory))
    uc.reg_write(UC_ARM64_REG_X0, MEMORY)
    uc.reg_write(UC_ARM64_REG_X1, len(memory))
    uc.reg_write(UC_ARM64_REG_SP, STACK + STACK_BYTES - 64)
    uc.reg_write(UC_ARM64_REG_LR, END)
    uc.emu_start(CODE, END, count=most)
    if uc.reg_read(UC_ARM64_REG_SP) != STACK + STACK_BYTES - 64:
        raise StackError
    memory[:] = uc.mem_read(MEMORY, len(memory))
    return uc.reg_read(UC_ARM64_REG_X0)
