"""Random programs: interpreter, machine code of both architectures and kernel agree."""

from __future__ import annotations

from random import Random

import pytest

from engine.random_programs import random_memory, random_program, short_lived_program
from engine.runners import MODES, cleared, kernel_runner, runners
from fsession.isa.disasm import disassemble

COUNT = 150  # make fuzz runs as many as it is told


def _cases(first: int, count: int):
    for seed in range(first, first + count):
        rng = Random(seed)
        yield seed, random_program(rng), random_memory(rng)


def _show(seed, program):
    return f"seed {seed}\n{disassemble(program)}"


def _short_lived(first: int, count: int):
    for seed in range(first, first + count):
        rng = Random(seed)
        yield seed, short_lived_program(rng), random_memory(rng)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "interp"])
@pytest.mark.parametrize("cases", [_cases, _short_lived])
def test_machine_code_computes_what_the_interpreter_does(mode, cases):
    ways = runners()
    for seed, program, memory in cases(0, COUNT):
        assert ways[mode](program, memory) == ways["interp"](program, memory), _show(seed, program)


@pytest.mark.kernel
def test_what_kernels_leave_in_r0_is_no_difference():
    """See `cleared`: by itself this program gives another memory on some kernels."""
    rng = Random(1_047_003)
    program, memory = random_program(rng, rng.randrange(4, 40)), random_memory(rng)
    result, after = runners()["interp"](program, memory)
    assert len(cleared(program)) > len(program)
    with kernel_runner() as kernel:
        assert kernel(program, memory) == (result & 0xFFFFFFFF, after)


@pytest.mark.kernel
def test_the_kernel_computes_what_the_interpreter_does():
    interpret = runners()["interp"]
    with kernel_runner() as kernel:
        for seed, program, memory in _cases(10_000, COUNT):
            result, after = interpret(program, memory)
            assert kernel(program, memory) == (result & 0xFFFFFFFF, after), _show(seed, program)
