"""Raw bytes as a program: refused with `BadInputError`, or compiled for both architectures and run
by the interpreter and as emulated arm64 code, whatever it does; this process goes on.

python fuzz/fuzz_code.py --count 2000
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import mutate
from unicorn import UcError

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from engine import arm64
from engine.random_programs import MEMORY_BYTES, random_program
from fsession.engine import execute
from fsession.engine.check import check_code
from fsession.engine.interp import RunError
from fsession.engine.jit import x86_64
from fsession.engine.memory import MemoryFault
from fsession.errors import BadInputError
from fsession.isa.insn import decode, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.isa.insn import Insn

BASES = 200
EMULATOR_BYTES = 8 << 30  # of addresses: unicorn reserves much
MOST_STEPS = 2000


class _Enough(Exception):
    """The program goes on and on."""


def bases() -> list[tuple[bytes, Sequence[mutate.Span]]]:
    """Valid programs, and bytes that are none."""
    rng = Random(0)
    programs = [encode(random_program(rng, rng.randrange(2, 20))) for _ in range(BASES)]
    return [(data, ()) for data in (*programs, rng.randbytes(64), rng.randbytes(801))]


def use(data: bytes) -> None:
    insns = decode(data)
    check_code(insns)
    x86_64.compile_code(insns, _refuse)
    _interpret(data)
    _emulate(insns)


def _refuse(insn: Insn) -> int:
    raise BadInputError(f"call {insn.imm}")


def _interpret(data: bytes) -> None:
    """Its memory ends where it is said to; everything else is a fault that is told."""
    left = MOST_STEPS

    def step(*_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise _Enough

    memory = bytearray(MEMORY_BYTES)
    try:
        execute(data, memory, step=step)
    except (RunError, MemoryFault, _Enough):
        return


def _emulate(insns: Sequence[Insn]) -> None:
    """The emulated machine has a memory of its own."""
    try:
        arm64.execute(insns, bytearray(MEMORY_BYTES), calls=_refuse, most=10 * MOST_STEPS)
    except (UcError, arm64.StackError):
        return


if __name__ == "__main__":
    sys.exit(mutate.main("fuzz_code", bases, use, EMULATOR_BYTES))
