"""Intervals of a machine word: the bounds of results, unsigned and signed, of any width.

`full` is the mask of all bits of the width, as in `tnum`. An interval is ``(low, high)``, both
inside it. Signed ones hold Python integers below and above 0. Each function returns an interval
that holds every exact result, or the whole one; the argument stands beside it, and
tests/verify/test_interval.py tries every pair of intervals of few bits.
"""

from __future__ import annotations

__all__ = [
    "signed_add",
    "signed_mul",
    "signed_of_unsigned",
    "signed_sub",
    "to_signed",
    "unsigned_add",
    "unsigned_lsh",
    "unsigned_mul",
    "unsigned_of_signed",
    "unsigned_sub",
    "whole_signed",
]

Interval = tuple[int, int]


def to_signed(value: int, full: int) -> int:
    """Two's complement of a word."""
    return value - full - 1 if value > full >> 1 else value


def whole_signed(full: int) -> Interval:
    return -(full >> 1) - 1, full >> 1


def unsigned_add(a: Interval, b: Interval, full: int) -> Interval:
    """Sums grow with their operands. Where both extremes overflow, or neither does, all sums
    between them do the same, and subtracting ``full + 1`` keeps their order."""
    low, high = a[0] + b[0], a[1] + b[1]
    if low > full:
        return low & full, high & full
    return (low, high) if high <= full else (0, full)


def unsigned_sub(a: Interval, b: Interval, full: int) -> Interval:
    """As `unsigned_add`, with borrows."""
    low, high = a[0] - b[1], a[1] - b[0]
    if high < 0:
        return low & full, high & full
    return (low, high) if low >= 0 else (0, full)


def unsigned_mul(a: Interval, b: Interval, full: int) -> Interval:
    """Products of unsigned numbers grow with them; one that overflows may be anything."""
    high = a[1] * b[1]
    return (a[0] * b[0], high) if high <= full else (0, full)


def unsigned_lsh(a: Interval, by: int, full: int) -> Interval:
    """A product with ``1 << by``."""
    high = a[1] << by
    return (a[0] << by, high) if high <= full else (0, full)


def signed_add(a: Interval, b: Interval, full: int) -> Interval:
    """As `unsigned_add`; both extremes out of range on the same side wrap alike."""
    return _wrapped(a[0] + b[0], a[1] + b[1], full)


def signed_sub(a: Interval, b: Interval, full: int) -> Interval:
    """The least is ``a.low - b.high``, the greatest ``a.high - b.low``."""
    return _wrapped(a[0] - b[1], a[1] - b[0], full)


def signed_mul(a: Interval, b: Interval, full: int) -> Interval:
    """A product is linear in each operand, so its extremes are at the corners."""
    corners = (a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1])
    whole = whole_signed(full)
    low, high = min(corners), max(corners)
    return (low, high) if low >= whole[0] and high <= whole[1] else whole


def _wrapped(low: int, high: int, full: int) -> Interval:
    least, most = whole_signed(full)
    if low > most or high < least:
        return to_signed(low & full, full), to_signed(high & full, full)
    return (low, high) if low >= least and high <= most else (least, most)


def signed_of_unsigned(a: Interval, full: int) -> Interval:
    """The same words read as signed: in order as long as they stay on one side of the sign."""
    half = full >> 1
    if a[0] > half:
        return a[0] - full - 1, a[1] - full - 1
    return a if a[1] <= half else whole_signed(full)


def unsigned_of_signed(a: Interval, full: int) -> Interval:
    """The same words read as unsigned."""
    if a[1] < 0:
        return a[0] + full + 1, a[1] + full + 1
    return a if a[0] >= 0 else (0, full)
