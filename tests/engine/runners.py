"""The ways to run one program, for tests that hold them to each other."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from engine import arm64
from fsession.engine import execute
from fsession.engine.jit import native
from fsession.host import LoadRequest
from fsession.isa.insn import decode, encode
from fsession.kernel import KernelHost
from fsession.uapi import ProgType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fsession.isa.insn import Insn

    Runner = Callable[[Sequence[Insn], bytes], tuple[int, bytes]]
    """From a program and its memory: r0 and the memory afterwards."""

__all__ = ["MODES", "kernel_runner", "runners"]

MODES = ("interp", "jit", "arm64") if native() else ("interp", "arm64")


def runners() -> dict[str, Runner]:
    """Those that need no privileges; `interp` is the one the others are held to."""
    return {mode: _runner(mode) for mode in MODES}


def _runner(mode: str) -> Runner:
    def run(insns: Sequence[Insn], memory: bytes) -> tuple[int, bytes]:
        after = bytearray(memory)
        code = encode(insns)
        if mode == "arm64":
            return arm64.execute(decode(code), after), bytes(after)
        return execute(code, after, mode=mode), bytes(after)

    return run


@contextmanager
def kernel_runner() -> Iterator[Runner]:
    """The kernel of this machine, by a SYSCALL program whose context is the memory; it tells 32
    bits of r0."""
    with ExitStack() as stack:
        host = stack.enter_context(KernelHost())

        def run(insns: Sequence[Insn], memory: bytes) -> tuple[int, bytes]:
            request = LoadRequest("random", ProgType.SYSCALL, tuple(insns), sleepable=True)
            with host.load(request) as program:
                done = program.test_run(ctx=memory)
            return done.retval, done.ctx_out

        yield run
