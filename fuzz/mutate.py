"""Bytes a little wrong, and what must happen with them: `BadInputError` or nothing, soon, in little
memory."""

from __future__ import annotations

import argparse
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

MEMORY_BYTES = 1 << 30
SECONDS_EACH = 10
INTERESTING = (
    0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000,
    0xFFFFFFFF, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1,
)  # fmt: skip

Span = tuple[int, int]


def mutate(data: bytes, rng: random.Random, spans: Sequence[Span] = ()) -> bytes:
    """One to eight changes, each in a span of those given or anywhere."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        start, end = rng.choice(spans) if spans and rng.random() < 0.8 else (0, len(out))
        end = min(end, len(out))
        if start < end:
            rng.choice(_CHANGES)(out, rng.randrange(start, end), rng)
    return bytes(out)


def _flip(out: bytearray, at: int, rng: random.Random) -> None:
    out[at] ^= 1 << rng.randrange(8)


def _byte(out: bytearray, at: int, rng: random.Random) -> None:
    out[at] = rng.randrange(256)


def _number(out: bytearray, at: int, rng: random.Random) -> None:
    size = rng.choice((2, 4, 4, 4, 8))
    at -= at % size
    value = rng.choice(INTERESTING) if rng.random() < 0.7 else rng.randrange(256)
    out[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")


def _step(out: bytearray, at: int, rng: random.Random) -> None:
    """A number near the one that is there."""
    at -= at % 4
    value = int.from_bytes(out[at : at + 4], "little") + rng.choice((-8, -4, -1, 1, 4, 8, 1 << 24))
    out[at : at + 4] = (value & 0xFFFFFFFF).to_bytes(4, "little")


def _copy(out: bytearray, at: int, rng: random.Random) -> None:
    size = rng.choice((4, 8, 12, 24, 64))
    source = rng.randrange(len(out))
    chunk = out[source : source + size]
    out[at : at + len(chunk)] = chunk


def _cut(out: bytearray, at: int, rng: random.Random) -> None:
    if rng.random() < 0.2:
        del out[at:]


def _remove(out: bytearray, at: int, rng: random.Random) -> None:
    del out[at : at + rng.choice((1, 4, 8))]


_CHANGES = (_flip, _flip, _byte, _number, _number, _number, _step, _step, _copy, _cut, _remove)


def main(
    name: str,
    bases: Callable[[], Sequence[tuple[bytes, Sequence[Span]]]],
    use: Callable[[bytes], None],
    memory_bytes: int = MEMORY_BYTES,
) -> int:
    """Run a fuzzer from the command line; 0 if nothing but `BadInputError` came."""
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--count", type=int, default=2000, help="inputs to try (default: 2000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for inputs that fail")
    options = parser.parse_args()
    originals = bases()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limit = memory_bytes + before * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    signal.signal(signal.SIGALRM, _too_long)
    started, seen, slowest = time.perf_counter(), Counter[str](), 0.0
    for number in range(options.count):
        rng = random.Random(f"{options.seed}:{number}")
        data = mutate(*_pick(originals, rng))
        took, outcome = _one(use, data)
        slowest = max(slowest, took)
        seen[outcome] += 1
        if outcome == "failed":
            print(f"{name}: input {number} of seed {options.seed} failed", file=sys.stderr)
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"{name}-{options.seed}-{number}").write_bytes(data)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(
        f"{name}: {options.count} inputs, seed {options.seed}: {seen['read']} read, "
        f"{seen['refused']} refused, {seen['failed']} failed; slowest {slowest * 1000:.0f} ms, "
        f"memory grew by {grown / 1024:.0f} MiB, {time.perf_counter() - started:.1f} s in all"
    )
    return 1 if seen["failed"] else 0


def _pick(
    originals: Sequence[tuple[bytes, Sequence[Span]]], rng: random.Random
) -> tuple[bytes, random.Random, Sequence[Span]]:
    data, spans = rng.choice(originals)
    return data, rng, spans


def _one(use: Callable[[bytes], None], data: bytes) -> tuple[float, str]:
    """How long one input took, and what came of it."""
    started = time.perf_counter()
    signal.alarm(SECONDS_EACH)
    try:
        use(data)
        outcome = "read"
    except BadInputError:
        outcome = "refused"
    except BaseException as error:  # everything else is what we look for
        if isinstance(error, KeyboardInterrupt):
            raise
        traceback.print_exc()
        outcome = "failed"
    finally:
        signal.alarm(0)
    return time.perf_counter() - started, outcome


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"over {SECONDS_EACH} s")
