"""`Range`: all that is known of a 64-bit word: its bits, its bounds, and those of its low half.

Seven views of one set of words: a tnum, the bounds as unsigned and signed 64-bit numbers, and the
bounds of the low 32 bits as unsigned and signed. The set is the intersection of the views. What
one view knows is carried to the others by `narrow`.

Signed and unsigned bounds are two ways to look at one arc of the circle of words, as in the kernel
since 7.2: where an arc crosses both 0 and the sign, only the smaller of the two bounds is kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from fsession.verify import tnum

__all__ = [
    "S32_MAX",
    "S32_MIN",
    "S64_MAX",
    "S64_MIN",
    "U32",
    "U64",
    "UNKNOWN",
    "Range",
    "constant",
    "intersection",
    "low_half",
    "narrow",
    "sign_extended",
    "signed_range",
    "unsigned_range",
]

U32, U64 = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF
S32_MIN, S32_MAX = -(1 << 31), (1 << 31) - 1
S64_MIN, S64_MAX = -(1 << 63), (1 << 63) - 1
_SIGN, _SIGN32 = 1 << 63, 1 << 31
_HIGH = U64 ^ U32
_KEPT = 8192  # results kept: a walk comes to the same numbers again and again
_ROUNDS = 4  # after two there is rarely anything left to tell


class Range(NamedTuple):
    """What is known of a word. Make one by the functions of this module."""

    value: int
    mask: int
    umin: int
    umax: int
    smin: int
    smax: int
    u32min: int
    u32max: int
    s32min: int
    s32max: int

    @property
    def is_constant(self) -> bool:
        return not self.mask

    @property
    def is_constant32(self) -> bool:
        return not self.mask & U32

    @property
    def tnum(self) -> tuple[int, int]:
        return self.value, self.mask

    @property
    def tnum32(self) -> tuple[int, int]:
        return self.value & U32, self.mask & U32

    def holds(self, word: int) -> bool:
        """Whether `word` (unsigned) is in the set."""
        signed = word - (1 << 64) if word >> 63 else word
        low = word & U32
        signed_low = low - (1 << 32) if low >> 31 else low
        return (
            word & ~self.mask & U64 == self.value
            and self.umin <= word <= self.umax
            and self.smin <= signed <= self.smax
            and self.u32min <= low <= self.u32max
            and self.s32min <= signed_low <= self.s32max
        )

    def within(self, other: Range) -> bool:
        """Whether every word of this one is in `other`, as far as the views tell."""
        return (
            not self.mask & ~other.mask
            and self.value & ~other.mask == other.value
            and other.umin <= self.umin
            and self.umax <= other.umax
            and other.smin <= self.smin
            and self.smax <= other.smax
            and other.u32min <= self.u32min
            and self.u32max <= other.u32max
            and other.s32min <= self.s32min
            and self.s32max <= other.s32max
        )


UNKNOWN = Range(0, U64, 0, U64, S64_MIN, S64_MAX, 0, U32, S32_MIN, S32_MAX)


@lru_cache(_KEPT)
def constant(word: int) -> Range:
    """Exactly `word`, given as signed or unsigned."""
    word &= U64
    low = word & U32
    signed = word - (1 << 64) if word >> 63 else word
    signed_low = low - (1 << 32) if low >> 31 else low
    return Range(word, 0, word, word, signed, signed, low, low, signed_low, signed_low)


@lru_cache(_KEPT)
def unsigned_range(low: int, high: int) -> Range:
    """``low..high`` as unsigned numbers."""
    return narrow(*UNKNOWN[:2], low, high, *UNKNOWN[4:]) or UNKNOWN


@lru_cache(_KEPT)
def signed_range(low: int, high: int) -> Range:
    """``low..high`` as signed numbers."""
    return narrow(*UNKNOWN[:4], low, high, *UNKNOWN[6:]) or UNKNOWN


def low_half(a: Range) -> Range:
    """The low 32 bits, extended by zeros: what a 32-bit operation leaves."""
    if not a.mask & U32:
        return constant(a.value & U32)
    low, high = a.u32min, a.u32max
    found = narrow(a.value & U32, a.mask & U32, low, high, low, high, low, high, a.s32min, a.s32max)
    return found or unsigned_range(0, U32)


def sign_extended(a: Range, bits: int) -> Range:
    """The low `bits` bits, extended by their sign.

    Where all words agree in the bits above and the sign, the low bits keep their order, so the
    signed bounds cut to `bits` are the new ones; otherwise all of the type's values are taken.
    """
    full = (1 << bits) - 1
    if not a.mask & full:
        word = a.value & full
        return constant(word - full - 1 if word > full >> 1 else word)
    if bits == 32:
        return signed_range(a.s32min, a.s32max)
    least, most = -(full >> 1) - 1, full >> 1
    if least <= a.smin and a.smax <= most:
        return a
    return signed_range(least, most)


def intersection(a: Range, b: Range) -> Range | None:
    """The words that are in both; None if there are surely none."""
    bits = tnum.intersect((a.value, a.mask), (b.value, b.mask))
    if bits is None:
        return None
    return narrow(
        *bits,
        max(a.umin, b.umin),
        min(a.umax, b.umax),
        max(a.smin, b.smin),
        min(a.smax, b.smax),
        max(a.u32min, b.u32min),
        min(a.u32max, b.u32max),
        max(a.s32min, b.s32min),
        min(a.s32max, b.s32max),
    )


@lru_cache(_KEPT)
def narrow(value: int, mask: int, *views: int) -> Range | None:
    """Each view sharpened by the others; None where they leave no word.

    `views` are the eight bounds in the order of `Range`. Every step is of the form "all words of
    the set satisfy it", so nothing of the set is lost.
    """
    if not mask:
        return _only(value, views)
    bounds: tuple[int, ...] = views
    for _ in range(_ROUNDS):
        before = bounds, mask
        bounds = _to_wholes(_between_signs(_to_halves(_of_bits(value, mask, bounds))))
        umin, umax, smin, smax, u32min, u32max, s32min, s32max = bounds
        if umin > umax or smin > smax or u32min > u32max or s32min > s32max:
            return None
        bits = _bits_of(value, mask, bounds)
        if bits is None:
            return None
        value, mask = bits
        if not mask:
            return _only(value, bounds)
        if before == (bounds, mask):
            break
    return Range(value, mask, *_one_arc(bounds))


def _only(word: int, bounds: tuple[int, ...]) -> Range | None:
    """The constant, if it is within the bounds."""
    umin, umax, smin, smax, u32min, u32max, s32min, s32max = bounds
    found = constant(word)
    fits = (
        umin <= word <= umax
        and smin <= found.smin <= smax
        and u32min <= found.u32min <= u32max
        and s32min <= found.s32min <= s32max
    )
    return found if fits else None


def _of_bits(value: int, mask: int, bounds: tuple[int, ...]) -> tuple[int, ...]:
    """A tnum's least member has its unknown bits 0, its greatest has them 1; as signed numbers the
    sign bit counts the other way round."""
    umin, umax, smin, smax, u32min, u32max, s32min, s32max = bounds
    umin, umax = max(umin, value), min(umax, value | mask)
    if mask & _SIGN:
        low, high = value - (1 << 63), (value | mask) & ~_SIGN
    else:
        low, high = value, value | mask
        if value & _SIGN:
            low, high = low - (1 << 64), high - (1 << 64)
    smin, smax = max(smin, low), min(smax, high)
    value, mask = value & U32, mask & U32
    u32min, u32max = max(u32min, value), min(u32max, value | mask)
    if mask & _SIGN32:
        low, high = value - (1 << 31), (value | mask) & ~_SIGN32
    else:
        low, high = value, value | mask
        if value & _SIGN32:
            low, high = low - (1 << 32), high - (1 << 32)
    s32min, s32max = max(s32min, low), min(s32max, high)
    return umin, umax, smin, smax, u32min, u32max, s32min, s32max


def _to_halves(bounds: tuple[int, ...]) -> tuple[int, ...]:
    """Numbers whose upper halves are equal are ordered as their lower halves are."""
    umin, umax, smin, smax, u32min, u32max, s32min, s32max = bounds
    if umin >> 32 == umax >> 32:
        u32min, u32max = max(u32min, umin & U32), min(u32max, umax & U32)
    if smin >> 32 == smax >> 32:
        u32min, u32max = max(u32min, smin & U32), min(u32max, smax & U32)
    if smin >= S32_MIN and smax <= S32_MAX:
        s32min, s32max = max(s32min, smin), min(s32max, smax)
        smin, smax = max(smin, s32min), min(smax, s32max)
    return umin, umax, smin, smax, u32min, u32max, s32min, s32max


def _between_signs(bounds: tuple[int, ...]) -> tuple[int, ...]:
    """Words on one side of the sign are ordered alike as signed and as unsigned numbers."""
    umin, umax, smin, smax, u32min, u32max, s32min, s32max = bounds
    if u32min > S32_MAX:
        s32min, s32max = max(s32min, u32min - (1 << 32)), min(s32max, u32max - (1 << 32))
    elif u32max <= S32_MAX:
        s32min, s32max = max(s32min, u32min), min(s32max, u32max)
    if s32min >= 0:
        u32min, u32max = max(u32min, s32min), min(u32max, s32max)
    elif s32max < 0:
        u32min, u32max = max(u32min, s32min & U32), min(u32max, s32max & U32)
    if umin > S64_MAX:
        smin, smax = max(smin, umin - (1 << 64)), min(smax, umax - (1 << 64))
    elif umax <= S64_MAX:
        smin, smax = max(smin, umin), min(smax, umax)
    if smin >= 0:
        umin, umax = max(umin, smin), min(umax, smax)
    elif smax < 0:
        umin, umax = max(umin, smin & U64), min(umax, smax & U64)
    return umin, umax, smin, smax, u32min, u32max, s32min, s32max


def _to_wholes(bounds: tuple[int, ...]) -> tuple[int, ...]:
    """A word of at least L whose low half is at least l is at least ``high half of L : l``, since
    its high half is at least L's; the same from above."""
    umin, umax, smin, smax, u32min, u32max, s32min, s32max = bounds
    umin, umax = max(umin, (umin & _HIGH) | u32min), min(umax, (umax & _HIGH) | u32max)
    smin, smax = max(smin, (smin & ~U32) | u32min), min(smax, (smax & ~U32) | u32max)
    return umin, umax, smin, smax, u32min, u32max, s32min, s32max


def _bits_of(value: int, mask: int, bounds: tuple[int, ...]) -> tuple[int, int] | None:
    """All words between two bounds share the bits above the highest one where the bounds differ."""
    bits = tnum.intersect((value, mask), tnum.from_bounds(bounds[0], bounds[1]))
    if bits is None:
        return None
    low, unknown = tnum.from_bounds(bounds[4], bounds[5])
    return tnum.intersect(bits, (low, unknown | _HIGH))


def _one_arc(bounds: tuple[int, ...]) -> tuple[int, ...]:
    """Signed or unsigned bounds where both cross: see the module's head."""
    umin, umax, smin, smax, u32min, u32max, s32min, s32max = bounds
    if smin < 0 <= smax and umin <= S64_MAX < umax:
        if umax - umin < smax - smin:
            smin, smax = S64_MIN, S64_MAX
        else:
            umin, umax = 0, U64
    if s32min < 0 <= s32max and u32min <= S32_MAX < u32max:
        if u32max - u32min < s32max - s32min:
            s32min, s32max = S32_MIN, S32_MAX
        else:
            u32min, u32max = 0, U32
    return umin, umax, smin, smax, u32min, u32max, s32min, s32max
