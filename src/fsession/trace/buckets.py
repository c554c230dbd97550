"""Buckets of a histogram: which one a number falls into, in programs and when they are read.

Powers of two: bucket 0 holds 0, bucket n (1 to 64) the numbers of n bits, from 2^(n-1) to
2^n - 1; of signed numbers, 64 + n those below 0 whose amount has n bits. Linear: `low` to `high` in
steps, bucket 0 what is below, the last one what is not below `high`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.errors import BadInputError
from fsession.frozen import frozen
from fsession.lang.ir import BinaryOp, Test

if TYPE_CHECKING:
    from fsession.lang.build import Builder
    from fsession.lang.ir import Value

__all__ = ["MAX_BUCKETS", "Buckets", "Linear", "Log2"]

MAX_BUCKETS = 4096
_BITS = 64
_LOWEST, _HIGHEST = {True: -(1 << 63), False: 0}, {True: (1 << 63) - 1, False: (1 << 64) - 1}


@frozen
class Log2:
    """Powers of two."""

    signed: bool = False

    @property
    def count(self) -> int:
        return 1 + _BITS * (1 + self.signed)

    def index(self, build: Builder, number: Value) -> Value:
        """The bucket of a number, 64 bits."""
        if not self.signed:
            return _bit_count(build, number)
        below, above, done = build.block(), build.block(), build.block()
        build.branch(Test.SLT, number, build.const(0), below, above)
        build.begin(above)
        build.jump(done, _bit_count(build, number))
        build.begin(below)
        amount = build.binary(BinaryOp.SUB, build.const(0), number)
        build.jump(done, build.add(_bit_count(build, amount), _BITS))
        (found,) = build.begin(done, 1)
        return found

    def bounds(self, index: int) -> tuple[int, int]:
        """The least and the greatest number of a bucket."""
        if index > _BITS:
            low, high = self.bounds(index - _BITS)
            return -high, -low
        return (1 << index >> 1, (1 << index) - 1)


@frozen
class Linear:
    """Steps of one size."""

    low: int
    high: int
    step: int
    signed: bool = False

    @classmethod
    def checked(cls, low: int, high: int, step: int, *, signed: bool = False) -> Linear:
        """Raises `BadInputError` where that is nothing, or too many."""
        if step <= 0 or high <= low or cls(low, high, step).count > MAX_BUCKETS:
            error = BadInputError(f"'{low}:{high}:{step}' gives no buckets")
            raise error.hint(f"write MIN:MAX:STEP, with at most {MAX_BUCKETS - 2} steps")
        return cls(low, high, step, signed)

    @property
    def count(self) -> int:
        return self._steps + 2

    @property
    def _steps(self) -> int:
        return -(-(self.high - self.low) // self.step)

    def index(self, build: Builder, number: Value) -> Value:
        less, at_least, inside, above, done = (build.block() for _ in range(5))
        low, high = build.const(self.low), build.const(self.high)
        under, over = (Test.SLT, Test.SGE) if self.signed else (Test.ULT, Test.UGE)
        if self.signed or self.low > 0:
            build.branch(under, number, low, less, at_least)
        else:
            build.jump(at_least)
        build.begin(less)
        build.jump(done, build.const(0))
        build.begin(at_least)
        build.branch(over, number, high, above, inside)
        build.begin(above)
        build.jump(done, build.const(self._steps + 1))
        build.begin(inside)
        offset = build.binary(BinaryOp.SUB, number, low)
        place = build.binary(BinaryOp.UDIV, offset, build.const(self.step))
        build.jump(done, build.add(place, 1))
        (found,) = build.begin(done, 1)
        return found

    def bounds(self, index: int) -> tuple[int, int]:
        if index == 0:
            return _LOWEST[self.signed], self.low - 1
        if index > self._steps:
            return self.high, _HIGHEST[self.signed]
        start = self.low + (index - 1) * self.step
        return start, min(start + self.step, self.high) - 1


Buckets = Log2 | Linear


def _bit_count(build: Builder, number: Value) -> Value:
    """How many bits a number has: 0 for 0, 64 for the greatest."""
    bits = build.const(0)
    for shift in (32, 16, 8, 4, 2, 1):
        wide, done = build.block(), build.block()
        narrow = build.block()
        build.branch(Test.UGT, number, build.const((1 << shift) - 1), wide, narrow)
        build.begin(narrow)
        build.jump(done, number, bits)
        build.begin(wide)
        rest = build.binary(BinaryOp.LSHR, number, build.const(shift))
        build.jump(done, rest, build.add(bits, shift))
        number, bits = build.begin(done, 2)
    return build.binary(BinaryOp.ADD, bits, number)
