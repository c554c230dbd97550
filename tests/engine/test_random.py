"""Random programs: interpreter, machine code of both architectures and kernel agree."""

from __future__ import annotations

from contextlib import ExitStack
from random import Random

import pytest

from engine.map_programs import map_program, map_way, map_ways
from engine.random_programs import random_memory, random_program, short_lived_program
from engine.runners import cleared, differing, kernel_runner, runners
from fsession.isa.disasm import disassemble
from fsession.kernel import KernelHost

COUNT = 10_000  # of each kind; make fuzz runs as many as it is told
IN_THE_KERNEL = 150
WITH_MAPS = 150


def _cases(make, first: int, count: int):
    for seed in range(first, first + count):
        rng = Random(seed)
        yield seed, make(rng, rng.randrange(4, 40)), random_memory(rng)


def _show(seed, program):
    return "\n".join([f"seed {seed}", *disassemble(program)])


@pytest.mark.slow
@pytest.mark.parametrize("make", [random_program, short_lived_program])
def test_machine_code_computes_what_the_interpreter_does(make):
    ways = runners()
    assert len(ways) > 1
    for seed, program, memory in _cases(make, 0, COUNT):
        assert not differing(ways, program, memory), _show(seed, program)


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
    with kernel_runner() as kernel:
        ways = {"interp": runners()["interp"], "kernel": kernel}
        for seed, program, memory in _cases(random_program, 10_000, IN_THE_KERNEL):
            assert not differing(ways, program, memory), _show(seed, program)


def _map_cases(first: int, count: int):
    for seed in range(first, first + count):
        rng = Random(seed)
        yield seed, map_program(rng, rng.randrange(4, 40)), rng.randbytes(8)


def test_maps_are_changed_as_by_the_interpreter():
    with ExitStack() as stack:
        ways = map_ways(stack)
        for seed, text, word in _map_cases(0, WITH_MAPS):
            assert not differing(ways, text, word), f"seed {seed}\n{text}"


@pytest.mark.kernel
def test_the_kernel_changes_maps_as_the_engine_does():
    with KernelHost() as host, ExitStack() as stack:
        ways = {"interp": map_ways(stack)["jit"], "kernel": map_way(host, stack)}
        for seed, text, word in _map_cases(10_000, WITH_MAPS):
            assert not differing(ways, text, word), f"seed {seed}\n{text}"
