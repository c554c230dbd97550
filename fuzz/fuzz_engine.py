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

from engine.random_programs import random_memory, random_program, short_lived_program
from engine.runners import kernel_runner, runners
from fsession.errors import KernelError
from fsession.isa.disasm import disassemble

if TYPE_CHECKING:
    from collections.abc import Callable

_U32 = 0xFFFF_FFFF


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short-lived", action="store_true", help="programs of another kind")
    parser.add_argument("--kernel", action="store_true", help="also in this machine's kernel")
    options = parser.parse_args()
    make = short_lived_program if options.short_lived else random_program
    started, failed = monotonic(), 0
    with ExitStack() as stack:
        ways = runners()
        if options.kernel:
            ways["kernel"] = stack.enter_context(kernel_runner())
        for seed in range(options.seed, options.seed + options.count):
            failed += not _agree(ways, seed, make)
    took = monotonic() - started
    print(f"{options.count} inputs run by {', '.join(ways)} in {took:.0f} s, {failed} failed")
    return failed != 0


def _agree(ways: dict, seed: int, make: Callable) -> bool:
    rng = Random(seed)
    program = make(rng, rng.randrange(4, 40))
    memory = random_memory(rng)
    expected, after = ways["interp"](program, memory)
    for name in ways.keys() - {"interp"}:
        run = ways[name]
        try:
            result, changed = run(program, memory)
        except KernelError as error:
            print(f"seed {seed}: {name}: {error}", file=sys.stderr)
            return False
        mask = _U32 if name == "kernel" else -1
        if (result & mask, changed) != (expected & mask, after):
            print(f"seed {seed}: {name} differs", *disassemble(program), sep="\n", file=sys.stderr)
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
