"""Every function of `tnum` on every pair of tnums of a few bits: no result is lost."""

from __future__ import annotations

from itertools import product

import pytest

from fsession.verify import tnum

BINARY = {
    "add": (tnum.add, lambda a, b, full: a + b & full),
    "sub": (tnum.sub, lambda a, b, full: a - b & full),
    "mul": (tnum.mul, lambda a, b, full: a * b & full),
    "and": (lambda a, b, full: tnum.bitand(a, b), lambda a, b, full: a & b),
    "or": (lambda a, b, full: tnum.bitor(a, b), lambda a, b, full: a | b),
    "xor": (lambda a, b, full: tnum.bitxor(a, b), lambda a, b, full: a ^ b),
}


def tnums(bits: int) -> list[tuple[int, int]]:
    every = range(1 << bits)
    return [(value, mask) for mask in every for value in every if not value & mask]


def members(number: tuple[int, int], bits: int) -> list[int]:
    return [word for word in range(1 << bits) if word & ~number[1] == number[0]]


def test_there_are_three_states_of_a_bit():
    assert len(tnums(4)) == 3**4


@pytest.mark.parametrize("name", BINARY)
def test_pairs_of_four_bits(name):
    abstract, exact = BINARY[name]
    for a, b in product(tnums(4), repeat=2):
        value, mask = abstract(a, b, 0xF)
        assert not value & mask
        for x, y in product(members(a, 4), members(b, 4)):
            assert exact(x, y, 0xF) & ~mask & 0xF == value, (a, b, x, y)


@pytest.mark.parametrize("name", BINARY)
def test_eight_bits_with_every_word(name):
    """Every tnum of 8 bits with every known word of 8 bits, its extreme members and all bits."""
    abstract, exact = BINARY[name]
    for a in tnums(8):
        some = {a[0], a[0] | a[1], *(a[0] | 1 << bit for bit in range(8) if a[1] >> bit & 1)}
        for word in range(256):
            value, mask = abstract(a, (word, 0), 0xFF)
            for x in some:
                assert exact(x, word, 0xFF) & ~mask & 0xFF == value, (a, word, x)


@pytest.mark.parametrize("by", range(8))
def test_shifts_of_eight_bits(by):
    for a in tnums(8):
        left, right, signed = tnum.lsh(a, by, 0xFF), tnum.rsh(a, by), tnum.arsh(a, by, 0xFF)
        for word in members(a, 8):
            sign = word - 256 if word & 128 else word
            assert (word << by & 0xFF) & ~left[1] == left[0]
            assert word >> by & ~right[1] == right[0]
            assert (sign >> by & 0xFF) & ~signed[1] == signed[0]


def test_bounds_of_eight_bits():
    for low, high in product(range(256), repeat=2):
        if low <= high:
            value, mask = tnum.from_bounds(low, high)
            assert value <= low
            assert high <= value | mask
            assert (low ^ value) & ~mask == 0 == (high ^ value) & ~mask


def test_intersections_of_five_bits():
    for a, b in product(tnums(5), repeat=2):
        both = set(members(a, 5)) & set(members(b, 5))
        found = tnum.intersect(a, b)
        assert both == (set(members(found, 5)) if found else set())
