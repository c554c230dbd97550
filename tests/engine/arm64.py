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

CODE, MEMORY, STACK, END = 0x10000, 0x800000, 0x900000, 0x40
CODE_BYTES, MEMORY_BYTES, STACK_BYTES = 0x100000, 0x10000, 0x10000
__all__ = ["UC_ARM64_REG_TPIDR_EL0", "UC_HOOK_MEM_INVALID", "Processor", "StackError", "execute"]


class StackError(Exception):
    """The code did not end with the stack it began with."""


def execute(insns, memory: bytearray, *, calls=None, most=10_000_000) -> int:
    """As `fsession.engine.execute`, with x0 and x1 the memory and its size."""
    return Processor().execute(arm64.compile_code(insns, calls).data, memory, most)


class Processor:
    """One that executes many programs, each from a place where none was before: what it made of
    earlier code is no matter. When there is no more room, another takes its place."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._uc, self._free = Uc(UC_ARCH_ARM64, UC_MODE_ARM), CODE
        self._uc.mem_map(CODE, CODE_BYTES)
        self._uc.mem_map(MEMORY, MEMORY_BYTES)
        self._uc.mem_map(STACK, STACK_BYTES)
        self._clean = self._uc.context_save()

    def execute(self, code: bytes, memory: bytearray, most: int = 10_000_000) -> int:
        """Registers are 0 at the start, and so is the stack."""
        if self._free + len(code) > CODE + CODE_BYTES:
            self._start()
        uc, start = self._uc, self._free
        self._free += len(code) + -len(code) % 64
        uc.context_restore(self._clean)
        uc.mem_write(start, code)
        uc.mem_write(MEMORY, bytes(memory))
        uc.mem_write(STACK, bytes(STACK_BYTES))
        uc.reg_write(UC_ARM64_REG_X0, MEMORY)
        uc.reg_write(UC_ARM64_REG_X1, len(memory))
        uc.reg_write(UC_ARM64_REG_SP, STACK + STACK_BYTES - 64)
        uc.reg_write(UC_ARM64_REG_LR, END)
        uc.emu_start(start, END, count=most)
        if uc.reg_read(UC_ARM64_REG_SP) != STACK + STACK_BYTES - 64:
            raise StackError
        memory[:] = uc.mem_read(MEMORY, len(memory))
        result: int = uc.reg_read(UC_ARM64_REG_X0)
        return result
