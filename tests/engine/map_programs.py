"""Random programs that look up, update and delete, and the ways to run them: the result and what
is in the maps afterwards must be the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.engine import Machine
from fsession.host import LoadRequest
from fsession.isa.asm import assemble
from fsession.spec import MapSpec
from fsession.uapi import MapType, ProgType

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from random import Random

    from fsession.host import Host, Map

    Way = Callable[[str, bytes], tuple[int, bytes]]
    """From a program's text and a word: r0 (32 bits), and what is in the maps."""

__all__ = ["map_program", "map_way", "map_ways"]

MAPS = (
    MapSpec("hash", MapType.HASH, 4, 8, 4),
    MapSpec("array", MapType.ARRAY, 4, 8, 4),
    MapSpec("wide", MapType.HASH, 12, 20, 3),
)
KEYS = 11  # more than a map takes
_KEY, _VALUE = -16, -40  # on the stack

_LOOK_UP = """
    call bpf_map_lookup_elem#1
    r1 = 7
    if r0 == 0 goto none{n}
    r1 = *(u64 *)(r0 +0)
    {change}
none{n}:
    r6 *= 31
    r6 += r1
"""
_CHANGES = (
    "",
    "*(u64 *)(r0 +0) = r6",
    "lock *(u64 *)(r0 +0) += r6",
    "r1 = r6\n r1 = atomic64_xchg((u64 *)(r0 +0), r1)",
)
_UPDATE = f"""
    *(u64 *)(r10 {_VALUE}) = r6
    *(u32 *)(r10 {_VALUE + 16}) = {{n}}
    r3 = r10
    r3 += {_VALUE}
    r4 = {{flags}}
    call bpf_map_update_elem#2
    r6 *= 31
    r6 += r0
"""
_DELETE = "call bpf_map_delete_elem#3\n r6 *= 31\n r6 += r0"


def map_program(rng: Random, length: int = 20) -> str:
    """A text; ``{0}`` and following stand for the descriptors of `MAPS`."""
    steps = [f"r6 = *(u64 *)(r1 +0)\n *(u64 *)(r10 {_VALUE + 8}) = r6"]
    steps += [f"*(u64 *)(r10 {at}) = 0" for at in (_KEY, _KEY + 8)]
    for n in range(length):
        number, key = rng.randrange(len(MAPS)), rng.randrange(KEYS)
        steps.append(f"*(u32 *)(r10 {_KEY + rng.choice((0, 0, 0, 4, 8))}) = {key}")
        steps.append(f"r1 = map[fd:{{{number}}}]\n r2 = r10\n r2 += {_KEY}")
        kind = rng.random()
        if kind < 0.4:
            steps.append(_LOOK_UP.format(n=n, change=rng.choice(_CHANGES)))
        elif kind < 0.8:
            steps.append(_UPDATE.format(n=n, flags=rng.choice((0, 0, 0, 1, 2, 3))))
        else:
            steps.append(_DELETE)
    return "\n".join([*steps, "r0 = r6\n exit"])


def map_ways(stack: ExitStack) -> dict[str, Way]:
    """Those that need no privileges; `interp` is the one the others are held to."""
    interp, jit = (stack.enter_context(Machine(verify=False)) for _ in range(2))
    interp.step = lambda _: None  # programs run in the interpreter, and it is told each step
    return {"interp": map_way(interp, stack), "jit": map_way(jit, stack)}


def map_way(host: Host, stack: ExitStack) -> Way:
    maps = [stack.enter_context(host.create_map(spec)) for spec in MAPS]

    def run(text: str, word: bytes) -> tuple[int, bytes]:
        for made in maps:
            _clear(made)
        insns = assemble(text.format(*(int(made.fd) for made in maps)))
        request = LoadRequest("maps", ProgType.SYSCALL, insns, sleepable=True)
        with host.load(request) as program:
            done = program.test_run(ctx=word)
        return done.retval, repr([sorted(made.items()) for made in maps]).encode()

    return run


def _clear(made: Map) -> None:
    for key in list(made.keys()):
        if made.type is MapType.ARRAY:
            made.update(key, bytes(made.value_size))
        else:
            made.delete(key)
