"""`execute`: raw bytecode, run once without verification. For suites that test instruction sets."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from fsession.engine.check import check_code
from fsession.engine.interp import Interpreter
from fsession.engine.jit import native
from fsession.engine.jit.code import place
from fsession.engine.memory import Block, Memory
from fsession.errors import BadInputError, UnsupportedError
from fsession.isa.insn import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal

    from fsession.isa.insn import Insn, InsnOff

__all__ = ["execute"]

_PROGRAM = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)


def execute(
    code: bytes,
    memory: bytes | bytearray = b"",
    *,
    mode: Literal["interp", "jit"] = "interp",
    step: Callable[[InsnOff, Insn, Sequence[int]], None] | None = None,
) -> int:
    """r0 of the program `code`, started with r1 the address of `memory` and r2 its length.

    A bytearray has afterwards what the program left there. The interpreter checks every access;
    machine code runs as it is: the caller answers for it. There is nothing to call outside.

    >>> execute(bytes.fromhex("b700000007000000 9500000000000000"))
    7
    """
    insns = decode(code)
    block = Block(len(memory), bytes(memory))
    if mode == "interp":
        space = Memory([block.region] if memory else ())
        result = Interpreter(insns, space, step=step).run(block.address, block.size)
    elif mode == "jit":
        result = _run_native(insns, block)
    else:
        raise BadInputError(f"no mode '{mode}': interp or jit")
    if isinstance(memory, bytearray):
        memory[:] = block.read()
    return result


def _run_native(insns: Sequence[Insn], block: Block) -> int:
    architecture = native()
    if architecture is None:
        raise UnsupportedError("machine code for this architecture")
    check_code(insns)
    image = place(architecture.compile_code(insns, _no_call))
    try:
        result: int = _PROGRAM(image.address)(block.address, block.size)
    finally:
        image.close()
    return result


def _no_call(insn: Insn) -> int:
    raise BadInputError(f"call {insn.imm}: execute has nothing to call")
