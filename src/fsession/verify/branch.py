"""What a condition tells of its two operands, and when its outcome is known beforehand.

`refine` gives both operands as they are where the condition holds. It only takes words away for
which the condition is false, so nothing that can happen is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.isa.opcode import Jmp
from fsession.verify.ranges import (
    S32_MAX,
    S32_MIN,
    S64_MAX,
    S64_MIN,
    U32,
    U64,
    Range,
    intersection,
    narrow,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NEGATED", "is_dead", "outcome", "refine"]

_JSET_FALSE = 0x100  # the condition "no bit in common", which no instruction has

NEGATED = {
    int(Jmp.JEQ): int(Jmp.JNE),
    int(Jmp.JNE): int(Jmp.JEQ),
    int(Jmp.JGT): int(Jmp.JLE),
    int(Jmp.JLE): int(Jmp.JGT),
    int(Jmp.JGE): int(Jmp.JLT),
    int(Jmp.JLT): int(Jmp.JGE),
    int(Jmp.JSGT): int(Jmp.JSLE),
    int(Jmp.JSLE): int(Jmp.JSGT),
    int(Jmp.JSGE): int(Jmp.JSLT),
    int(Jmp.JSLT): int(Jmp.JSGE),
    int(Jmp.JSET): _JSET_FALSE,
    _JSET_FALSE: int(Jmp.JSET),
}
"""The condition that holds where another does not."""

_SWAPPED = {
    int(Jmp.JGT): int(Jmp.JLT),
    int(Jmp.JGE): int(Jmp.JLE),
    int(Jmp.JSGT): int(Jmp.JSLT),
    int(Jmp.JSGE): int(Jmp.JSLE),
}
_SIGNED = frozenset(map(int, (Jmp.JSGT, Jmp.JSGE, Jmp.JSLT, Jmp.JSLE)))


def outcome(op: int, a: Range, b: Range, *, half: bool) -> bool | None:
    """True or False if ``a op b`` always is; None if it depends. `half`: of the low 32 bits."""
    if op in _SWAPPED:
        op, a, b = _SWAPPED[op], b, a
    full = U32 if half else U64
    if op == Jmp.JSET:
        if a.mask & full and b.mask & full:
            return None  # as in the kernel, also where known bits would tell
        if a.value & b.value & full:
            return True
        return None if (a.value | a.mask) & (b.value | b.mask) & full else False
    if op in (Jmp.JEQ, Jmp.JNE):
        equal = _equal(a, b, full)
        return equal if op == Jmp.JEQ or equal is None else not equal
    a_low, a_high = _bounds(a, half, op in _SIGNED)
    b_low, b_high = _bounds(b, half, op in _SIGNED)
    if op in (Jmp.JLT, Jmp.JSLT):
        return True if a_high < b_low else False if a_low >= b_high else None
    return True if a_high <= b_low else False if a_low > b_high else None


def _bounds(a: Range, half: bool, signed: bool) -> tuple[int, int]:
    at = (6 if half else 2) + (2 if signed else 0)
    return a[at], a[at + 1]


def _equal(a: Range, b: Range, full: int) -> bool | None:
    if not (a.mask | b.mask) & full:
        return (a.value ^ b.value) & full == 0
    if (a.value ^ b.value) & ~a.mask & ~b.mask & full:
        return False
    at = 6 if full == U32 else 2
    apart = a[at] > b[at + 1] or b[at] > a[at + 1] or a[at + 2] > b[at + 3] or b[at + 2] > a[at + 3]
    return False if apart else None


def refine(op: int, a: Range, b: Range, *, half: bool) -> tuple[Range, Range] | None:
    """Both operands where ``a op b`` holds; None where the views say that it never does."""
    if op in _SWAPPED:
        turned = refine(_SWAPPED[op], b, a, half=half)
        return turned and (turned[1], turned[0])
    return _RULES[op](op, a, b, half)


def is_dead(op: int, a: Range, b: Range, *, half: bool) -> bool:
    """Whether the views of a number contradict each other where ``a op b``, and Linux 7.2 sees it.

    Of a number whose least unsigned bound is above all that its bits allow it takes the greatest
    that they allow, and goes on.
    """
    if refine(op, a, b, half=half) is not None:
        return False
    return half or not _is_above_its_bits(op, a, b)


def _is_above_its_bits(op: int, a: Range, b: Range) -> bool:
    if op in _SWAPPED:
        op, a, b = _SWAPPED[op], b, a
    if op in (Jmp.JLT, Jmp.JLE):
        return a.umin + (op == Jmp.JLT) > b.value | b.mask
    if op == Jmp.JEQ:
        return max(a.umin, b.umin) > a.value | b.value | a.mask & b.mask
    return op == Jmp.JNE and any(one.umin + 1 > one.value | one.mask for one in (a, b))


def _less(op: int, a: Range, b: Range, half: bool) -> tuple[Range, Range] | None:
    """``a < b`` or ``a <= b``: a is below the greatest b, b above the least a."""
    signed = op in _SIGNED
    strict = op in (Jmp.JLT, Jmp.JSLT)
    least = _bounds(a, half, signed)[0] + strict
    most = _bounds(b, half, signed)[1] - strict
    if half:
        whole = (S32_MIN, S32_MAX) if signed else (0, U32)
    else:
        whole = (S64_MIN, S64_MAX) if signed else (0, U64)
    if least > whole[1] or most < whole[0]:
        return None
    first = _bounded(a, whole[0], most, half, signed)
    second = _bounded(b, least, whole[1], half, signed)
    return (first, second) if first and second else None


def _bounded(a: Range, low: int, high: int, half: bool, signed: bool) -> Range | None:
    at = (6 if half else 2) + (2 if signed else 0)
    if low <= a[at] and a[at + 1] <= high:
        return a
    views = list(a)
    views[at], views[at + 1] = max(a[at], low), min(a[at + 1], high)
    return narrow(*views)


def _same(_: int, a: Range, b: Range, half: bool) -> tuple[Range, Range] | None:
    """Equal words are in both ranges; of equal low halves the upper ones stay as they are."""
    if not half:
        both = intersection(a, b)
        return both and (both, both)
    first, second = _with_low(a, b), _with_low(b, a)
    return (first, second) if first and second else None


def _with_low(a: Range, b: Range) -> Range | None:
    """`a`, whose low half is also one of `b`'s."""
    views = list(b)
    views[:2] = b.value & U32, b.mask | U64 ^ U32
    views[2:6] = 0, U64, S64_MIN, S64_MAX
    return intersection(a, Range(*views))


def _other(_: int, a: Range, b: Range, half: bool) -> tuple[Range, Range] | None:
    """Not equal: a known number at the end of the other's bounds is cut off."""
    full = U32 if half else U64
    if not b.mask & full:
        first = _without(a, b, half)
        return first and (first, b)
    if not a.mask & full:
        second = _without(b, a, half)
        return second and (a, second)
    return a, b


def _without(a: Range, known: Range, half: bool) -> Range | None:
    views, changed = list(a), False
    for at in (6, 8) if half else (2, 4):
        word = known[at]
        if views[at] == word:
            views[at], changed = word + 1, True
        if views[at + 1] == word:
            views[at + 1], changed = word - 1, True
        if views[at] > views[at + 1]:
            return None
    return narrow(*views) if changed else a


def _some_bit(op: int, a: Range, b: Range, half: bool) -> tuple[Range, Range] | None:
    """A bit in common: where one is one known bit, the other has it."""
    full = U32 if half else U64
    if b.mask & full and not a.mask & full:
        turned = _some_bit(op, b, a, half)
        return turned and (turned[1], turned[0])
    bit = b.value & full
    if b.mask & full or bit.bit_count() != 1:
        return a, b
    first = narrow(a.value | bit, a.mask & ~bit, *a[2:])
    return first and (first, b)


def _no_bit(op: int, a: Range, b: Range, half: bool) -> tuple[Range, Range] | None:
    """No bit in common: what one is known to have, the other has not."""
    full = U32 if half else U64
    if b.mask & full and not a.mask & full:
        turned = _no_bit(op, b, a, half)
        return turned and (turned[1], turned[0])
    bits = b.value & full
    if b.mask & full or not bits:
        return a, b
    if a.value & bits:
        return None
    first = narrow(a.value, a.mask & ~bits, *a[2:])
    return first and (first, b)


_RULES: dict[int, Callable[[int, Range, Range, bool], tuple[Range, Range] | None]] = {
    int(Jmp.JLT): _less,
    int(Jmp.JLE): _less,
    int(Jmp.JSLT): _less,
    int(Jmp.JSLE): _less,
    int(Jmp.JEQ): _same,
    int(Jmp.JNE): _other,
    int(Jmp.JSET): _some_bit,
    _JSET_FALSE: _no_bit,
}
