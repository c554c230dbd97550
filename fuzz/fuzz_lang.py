"""Random texts as expressions, random functions as programs: compiled, or a `CompileError`.

python fuzz/fuzz_lang.py --count 2000 --seed 1

Of each pair of tries one is an expression, one a function, from the pieces of tests/lang/test_fuzz.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

from fsession.kernel import KernelHost
from fsession.lang.ctypes import Catalog

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from lang.test_fuzz import LINES, NAMES, TOKENS, try_expression, try_function

LEAVES = ("skb->len", "skb->dev->ifindex", "ret", "7", "-1", "'a'", "sizeof(struct sock)", "skb")
SHAPES = ("({} {} {})", "(({}) ? {} : {})", "(({}){})", "(-{})", "(~{})", "(!{})")
OPERATORS = ("+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>", "<", "==", "&&", "||")
TYPES = ("int", "unsigned char", "u64", "short", "_Bool", "struct sock *")
NUMBERS = ("a", "b", "c", "skb.len", "0", "-7", "1 << 40", "table[1]")
FIRST = ("a = 1", "b = skb.len", "c = 0", "record = None", "task = None")


def expression(rng: random.Random) -> str:
    """Letters, or words, or a sound expression in which a word or two were changed."""
    choice = rng.random()
    if choice < 0.1:
        return "".join(chr(rng.randrange(1, 0x250)) for _ in range(rng.randrange(40)))
    if choice < 0.3:
        return " ".join(rng.choice(TOKENS) for _ in range(rng.randrange(14)))
    words = _sound(rng, 4).replace("(", " ( ").replace(")", " ) ").split()
    for _ in range(rng.randrange(3)):
        words[rng.randrange(len(words))] = rng.choice(TOKENS)
    return " ".join(words)


def _sound(rng: random.Random, depth: int) -> str:
    if not depth or rng.random() < 0.25:
        return rng.choice(LEAVES)
    shape = rng.choice(SHAPES)
    inner = [_sound(rng, depth - 1) for _ in range(3)]
    if shape == SHAPES[0]:
        inner[1] = rng.choice(OPERATORS)
    elif shape == SHAPES[2]:
        inner[0] = rng.choice(TYPES)
    return shape.format(*inner)


def function(rng: random.Random) -> list[str]:
    """Lines, most often behind some that give the names a value."""
    first = [line for line in FIRST if rng.random() < 0.8]
    lines = [rng.choice(LINES) for _ in range(rng.randrange(1, 6))]
    names = NUMBERS if rng.random() < 0.5 else NAMES
    return first + [
        line.format(*(rng.choice(names).strip() for _ in range(line.count("{}")))) for line in lines
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    start, good = time.monotonic(), [0, 0]
    with KernelHost() as host:
        types = host.types()
        catalog = Catalog(types)
        for number in range(arguments.count):
            rng = random.Random(f"{arguments.seed} {number}")
            text = function(rng) if number % 2 else expression(rng)
            try:
                if isinstance(text, str):
                    good[0] += try_expression(catalog, text)
                else:
                    good[1] += try_function(types, text)
            except Exception:
                sys.stderr.write(f"try {number}: {text!r}\n")
                raise
    half = arguments.count // 2
    sys.stdout.write(
        f"fuzz_lang: seed {arguments.seed}, {time.monotonic() - start:.0f} s:"
        f" compiled {good[0]} of {arguments.count - half} expressions and {good[1]} of {half}"
        " functions, the others were refused\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
