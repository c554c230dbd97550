"""The ways to run one program, for tests that hold them to each other."""

from __future__ import annotations

import ctypes
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from fsession.engine import execute
from fsession.engine.jit import arm64, native
from fsession.engine.jit.code import place
from fsession.engine.memory import Block
from fsession.host import LoadRequest
from fsession.isa.edit import Edit
from fsession.isa.insn import encode, mov32, offsets
from fsession.isa.opcode import R0, Atomic, Class, Mode, Size
from fsession.kernel import KernelHost
from fsession.uapi import ProgType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from engine.arm64 import Processor
    from fsession.isa.insn import Insn

    Runner = Callable[[Sequence[Insn], bytes], tuple[int, bytes]]
    """From a program and its memory: r0 and the memory afterwards."""

__all__ = ["MODES", "cleared", "differing", "kernel_runner", "runners"]

_PROGRAM = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)
_U32 = 0xFFFF_FFFF
_ATOMIC_32 = int(Class.STX | Mode.ATOMIC | Size.W)

_THERE = {"interp": True, "jit": native() is not None, "arm64": find_spec("unicorn") is not None}
MODES = tuple(mode for mode, there in _THERE.items() if there)


def runners() -> dict[str, Runner]:
    """Those that need no privileges; `interp` is the one the others are held to, and the one that
    looks whether there are such instructions at all."""
    ways: dict[str, Runner] = {"interp": _interpreted, "jit": _native}
    if "arm64" in MODES:
        from engine.arm64 import Processor  # in a guest there is no unicorn

        ways["arm64"] = partial(_emulated, Processor())
    return {mode: ways[mode] for mode in MODES}


def differing(ways: dict[str, Runner], insns: Sequence[Insn], memory: bytes) -> list[str]:
    """The ways that end in another way than the interpreter does."""
    result, after = ways["interp"](insns, memory)
    mask = {"kernel": _U32}
    return [
        name
        for name in ways.keys() - {"interp"}
        if ways[name](insns, memory) != (result & mask.get(name, -1), after)
    ]


def _interpreted(insns: Sequence[Insn], memory: bytes) -> tuple[int, bytes]:
    after = bytearray(memory)
    return execute(encode(insns), after), bytes(after)


def _native(insns: Sequence[Insn], memory: bytes) -> tuple[int, bytes]:
    compiler, block = native(), Block(len(memory), memory)
    assert compiler
    image = place(compiler.compile_code(insns, _no_call))
    try:
        return _PROGRAM(image.address)(block.address, block.size), block.read()
    finally:
        image.close()


def _emulated(processor: Processor, insns: Sequence[Insn], memory: bytes) -> tuple[int, bytes]:
    after = bytearray(memory)
    code = arm64.compile_code(insns, _no_call)
    return processor.execute(code.data, after), bytes(after)


def _no_call(insn: Insn) -> int:
    raise AssertionError(f"call {insn.imm}: there is nothing to call")


def cleared(insns: Sequence[Insn]) -> tuple[Insn, ...]:
    """The same program, which clears the upper half of r0 behind a compare-and-exchange of 32 bits.

    RFC 9669 (5.3) has the instruction do it. Linux on x86_64 lets its verifier add a move where the
    upper half is read; from 6.18 to 7.2 it adds none for a way that ends where another was before.
    """
    edit = Edit(insns)
    for at, insn in zip(offsets(insns), insns, strict=False):
        if insn.opcode == _ATOMIC_32 and insn.imm == Atomic.CMPXCHG:
            edit.replace(at, insn, mov32(R0, R0))
    return edit.apply().insns


@contextmanager
def kernel_runner() -> Iterator[Runner]:
    """The kernel of this machine, by a SYSCALL program whose context is the memory; it tells 32
    bits of r0."""
    with ExitStack() as stack:
        host = stack.enter_context(KernelHost())

        def run(insns: Sequence[Insn], memory: bytes) -> tuple[int, bytes]:
            request = LoadRequest("random", ProgType.SYSCALL, cleared(insns), sleepable=True)
            with host.load(request) as program:
                done = program.test_run(ctx=memory)
            return done.retval, done.ctx_out

        yield run
