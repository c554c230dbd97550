"""Random programs in every way there is to run them: result and memory must be the same.

python fuzz/fuzz_engine.py --count 2000 --seed 1
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from random import Random
from time import monotonic
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from engine.map_programs import map_program, map_way, map_ways
from engine.random_programs import random_memory, random_program, short_lived_program
from engine.runners import differing, kernel_runner, runners
from fsession.errors import KernelError
from fsession.isa.disasm import disassemble
from fsession.kernel import KernelHost

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short-lived", action="store_true", help="programs of another kind")
    parser.add_argument("--maps", action="store_true", help="programs that change maps")
    parser.add_argument("--kernel", action="store_true", help="also in this machine's kernel")
    options = parser.parse_args()
    make = short_lived_program if options.short_lived else random_program
    make, memory = (map_program, _word) if options.maps else (make, random_memory)
    started, failed = monotonic(), 0
    with ExitStack() as stack:
        ways = map_ways(stack) if options.maps else runners()
        if options.kernel and options.maps:
            ways["kernel"] = map_way(stack.enter_context(KernelHost()), stack)
        elif options.kernel:
            ways["kernel"] = stack.enter_context(kernel_runner())
        for seed in range(options.seed, options.seed + options.count):
            failed += not _agree(ways, seed, make, memory)
    took = monotonic() - started
    print(f"{options.count} inputs run by {', '.join(ways)} in {took:.0f} s, {failed} failed")
    return failed != 0


def _word(rng: Random) -> bytes:
    return rng.randbytes(8)


def _agree(ways: dict, seed: int, make: Callable, memory: Callable) -> bool:
    rng = Random(seed)
    program = make(rng, rng.randrange(4, 40))
    try:
        names = differing(ways, program, memory(rng))
    except KernelError as error:
        print(f"seed {seed}: {error}", file=sys.stderr)
        return False
    if names:
        head = f"seed {seed}: other results by {', '.join(names)}"
        lines = [program] if isinstance(program, str) else disassemble(program)
        print(head, *lines, sep="\n", file=sys.stderr)
    return not names


if __name__ == "__main__":
    sys.exit(main())
