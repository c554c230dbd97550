"""Tristate numbers: what is known of each bit of a value.

A tnum is ``(value, mask)``: a bit of `mask` is unknown; where it is 0 the bit is that of `value`.
``value & mask == 0`` always. It stands for the set ``{x : x & ~mask == value}``. The functions
take the width as `full`, the mask of all bits, so that tests can try every tnum of few bits.

Each function is *sound*: of every pair of members, the exact result is a member of what is
returned. The argument stands beside each. tests/verify/test_tnum.py tries them all.
"""

from __future__ import annotations

__all__ = [
    "add",
    "arsh",
    "bitand",
    "bitor",
    "bitxor",
    "from_bounds",
    "intersect",
    "lsh",
    "mul",
    "rsh",
    "sub",
]

Tnum = tuple[int, int]


def add(a: Tnum, b: Tnum, full: int) -> Tnum:
    """The sum with all unknown bits 0 and the one with all of them 1 differ wherever a carry may
    come or not come: carries only grow with the operands. Those bits, and the unknown ones, are
    unknown; at all others carry and operands are the same in every sum."""
    low = a[0] + b[0]
    mask = (low ^ (low + a[1] + b[1])) | a[1] | b[1]
    return low & ~mask & full, mask & full


def sub(a: Tnum, b: Tnum, full: int) -> Tnum:
    """As `add`: borrows grow with b and fall with a, so ``a.value - b.max`` and ``a.max - b.value``
    are the extremes of every borrow."""
    diff = a[0] - b[0]
    mask = ((diff + a[1]) ^ (diff - b[1])) | a[1] | b[1]
    return diff & ~mask & full, mask & full


def mul(a: Tnum, b: Tnum, full: int) -> Tnum:
    """``a * b`` is the sum of ``b << i`` for each bit i that a has. A known bit adds ``b << i``,
    an unknown one adds 0 or ``b << i``: each bit that ``b << i`` may have is unknown. Sums are
    `add`'s. The known parts are multiplied at once, and only their unknown rests are added."""
    total: Tnum = (a[0] * b[0] & full, 0)
    bits, at = a[0] | a[1], 0
    while bits and at < full.bit_length():
        bit = 1 << at
        if a[0] & bit:
            total = add(total, (0, b[1] << at & full), full)
        elif a[1] & bit:
            total = add(total, (0, (b[0] | b[1]) << at & full), full)
        bits &= ~bit
        at += 1
    return total


def bitand(a: Tnum, b: Tnum) -> Tnum:
    """A bit is 1 if it is in both; it is 0 if one is surely 0; otherwise unknown."""
    may = (a[0] | a[1]) & (b[0] | b[1])
    sure = a[0] & b[0]
    return sure, may & ~sure


def bitor(a: Tnum, b: Tnum) -> Tnum:
    """A bit is 1 if one is surely 1; 0 if both are; otherwise unknown."""
    sure = a[0] | b[0]
    return sure, (a[1] | b[1]) & ~sure


def bitxor(a: Tnum, b: Tnum) -> Tnum:
    """A bit is known where both are."""
    mask = a[1] | b[1]
    return (a[0] ^ b[0]) & ~mask, mask


def lsh(a: Tnum, by: int, full: int) -> Tnum:
    """Bits move; zeros come in."""
    return a[0] << by & full, a[1] << by & full


def rsh(a: Tnum, by: int) -> Tnum:
    """Bits move; zeros come in."""
    return a[0] >> by, a[1] >> by


def arsh(a: Tnum, by: int, full: int) -> Tnum:
    """Bits move; copies of the sign come in, unknown ones if it is unknown."""
    sign = (full >> 1) + 1
    value, mask = a
    if value & sign:
        value |= ~full
    if mask & sign:
        mask |= ~full
    return value >> by & full, mask >> by & full


def from_bounds(low: int, high: int) -> Tnum:
    """The smallest tnum that holds all of ``low..high`` (unsigned): bits above the highest one in
    which the bounds differ are the same in everything between them."""
    mask = (1 << (low ^ high).bit_length()) - 1
    return low & ~mask, mask


def intersect(a: Tnum, b: Tnum) -> Tnum | None:
    """What is in both: each knows some bits. None where they contradict each other."""
    if (a[0] ^ b[0]) & ~a[1] & ~b[1]:
        return None
    mask = a[1] & b[1]
    return (a[0] | b[0]) & ~mask, mask
