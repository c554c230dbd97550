"""Which bucket a number falls into: programs, run by the engine, and what is read agree."""

from __future__ import annotations

from itertools import pairwise

import pytest

from fsession.engine import execute
from fsession.errors import BadInputError
from fsession.isa.insn import encode
from fsession.lang.build import Builder
from fsession.lang.emit import emit
from fsession.lang.ir import Space
from fsession.lang.link import finish
from fsession.trace.buckets import Linear, Log2
from fsession.trace.counted import Distribution, FunctionCounts

U64 = (1 << 64) - 1
POSITIVE = [0, 1, 2, 3, 4, 7, 8, 255, 256, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1]
UNSIGNED = [*POSITIVE, 1 << 63, U64]
SIGNED = [*POSITIVE, *(-number for number in POSITIVE), -(1 << 63)]


def program(buckets) -> bytes:
    """Bucket of the number in the memory that r1 points to."""
    build = Builder("index", 1)
    number = build.load(build.function.params[0], 0, 8, Space.MAP)
    build.give_back(buckets.index(build, number))
    finish(build.function)
    return encode(emit(build.function).insns)


CASES = [
    (Log2(), UNSIGNED),
    (Log2(signed=True), SIGNED),
    (Linear(0, 100, 10), [0, 1, 9, 10, 99, 100, 101, U64]),
    (Linear(5, 50, 10), [0, 4, 5, 14, 15, 49, 50, 1 << 40]),
    (Linear(-20, 25, 10, signed=True), [*range(-25, 30), -(1 << 63), (1 << 63) - 1]),
]


@pytest.mark.parametrize(("buckets", "numbers"), CASES, ids=str)
def test_number_is_within_its_bucket(buckets, numbers):
    code = program(buckets)
    for number in numbers:
        index = execute(code, bytearray((number & U64).to_bytes(8, "little")))
        assert 0 <= index < buckets.count, number
        low, high = buckets.bounds(index)
        assert low <= number <= high, number


@pytest.mark.parametrize("buckets", [case[0] for case in CASES], ids=str)
def test_buckets_do_not_overlap(buckets):
    bounds = sorted(buckets.bounds(index) for index in range(buckets.count))
    some = [(low, high) for low, high in bounds if low <= high]  # nothing unsigned is below 0
    for (low, high), (following, _) in pairwise(some):
        assert low <= high < following
        assert following == high + 1


@pytest.mark.parametrize("spec", [(0, 0, 1), (5, 1, 1), (0, 10, 0), (0, 10000, 1)])
def test_no_buckets(spec):
    with pytest.raises(BadInputError, match="gives no buckets"):
        Linear.checked(*spec)


def test_distribution():
    row = Distribution(("ls",), {1: (4, 4), 3: (5, 30), 4: (1, 9)}, Log2())
    assert (row.count, row.total, row.average) == (10, 43, 4.3)
    assert row.buckets == [(1, 1, 4), (4, 7, 5), (8, 15, 1)]
    assert [row.percentile(share) for share in (0, 0.4, 0.5, 0.9, 1)] == [
        (1, 1),
        (1, 1),
        (4, 7),
        (4, 7),
        (8, 15),
    ]
    before = Distribution(("ls",), {1: (4, 4), 3: (2, 12)}, Log2())
    assert row.less(before).cells == {3: (3, 18), 4: (1, 9)}
    assert Distribution((), {}, Log2()).percentile(0.5) == (0, 0)


def test_function_counts():
    row = FunctionCounts("f", 4, 1, 1000)
    assert row.average_ns == 250
    assert row.less(FunctionCounts("f", 1, 1, 400)) == FunctionCounts("f", 3, 0, 600)
