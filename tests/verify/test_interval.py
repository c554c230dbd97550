"""Every function of `interval` on every pair of intervals of a few bits: no result is lost."""

from __future__ import annotations

from itertools import combinations_with_replacement, product

import pytest

from fsession.verify import interval

FULL = 0xF
HALF = FULL >> 1
UNSIGNED = {
    "add": (interval.unsigned_add, lambda a, b: a + b),
    "sub": (interval.unsigned_sub, lambda a, b: a - b),
    "mul": (interval.unsigned_mul, lambda a, b: a * b),
}
SIGNED = {
    "add": (interval.signed_add, lambda a, b: a + b),
    "sub": (interval.signed_sub, lambda a, b: a - b),
    "mul": (interval.signed_mul, lambda a, b: a * b),
}


def _pairs(words: range) -> list[tuple[int, int]]:
    return list(combinations_with_replacement(words, 2))


@pytest.mark.parametrize("name", UNSIGNED)
def test_unsigned_pairs(name):
    abstract, exact = UNSIGNED[name]
    for a, b in product(_pairs(range(16)), repeat=2):
        low, high = abstract(a, b, FULL)
        words = {exact(x, y) & FULL for x in range(a[0], a[1] + 1) for y in range(b[0], b[1] + 1)}
        assert 0 <= low <= min(words), (a, b)
        assert max(words) <= high <= FULL, (a, b)


@pytest.mark.parametrize("name", SIGNED)
def test_signed_pairs(name):
    abstract, exact = SIGNED[name]
    for a, b in product(_pairs(range(-8, 8)), repeat=2):
        low, high = abstract(a, b, FULL)
        words = {
            interval.to_signed(exact(x, y) & FULL, FULL)
            for x in range(a[0], a[1] + 1)
            for y in range(b[0], b[1] + 1)
        }
        assert -8 <= low <= min(words), (a, b)
        assert max(words) <= high <= 7, (a, b)


@pytest.mark.parametrize("by", range(8))
def test_left_shifts_of_eight_bits(by):
    for a in _pairs(range(256)):
        low, high = interval.unsigned_lsh(a, by, 0xFF)
        ends = [word << by & 0xFF for word in (a[0], (a[0] + a[1]) // 2, a[1])]
        assert 0 <= low <= min(ends)
        assert max(ends) <= high <= 0xFF


def test_signs_of_eight_bits():
    for a in _pairs(range(256)):
        low, high = interval.signed_of_unsigned(a, 0xFF)
        words = [interval.to_signed(word, 0xFF) for word in range(a[0], a[1] + 1)]
        assert low <= min(words)
        assert max(words) <= high
    for a in _pairs(range(-128, 128)):
        low, high = interval.unsigned_of_signed(a, 0xFF)
        words = [word & 0xFF for word in range(a[0], a[1] + 1)]
        assert low <= min(words)
        assert max(words) <= high
