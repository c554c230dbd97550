"""What was counted in the kernel: a distribution, the calls of a function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.frozen import frozen

if TYPE_CHECKING:
    from fsession.trace.buckets import Buckets
    from fsession.trace.values import Value

__all__ = ["Distribution", "FunctionCounts"]


@frozen
class Distribution:
    """Of the calls with one combination of `keys`: `cells` are count and sum by bucket."""

    keys: tuple[Value, ...]
    cells: dict[int, tuple[int, int]]
    buckets_of: Buckets

    @property
    def count(self) -> int:
        return sum(count for count, _ in self.cells.values())

    @property
    def total(self) -> int:
        """The sum of all numbers."""
        return sum(total for _, total in self.cells.values())

    @property
    def average(self) -> float:
        return self.total / self.count if self.count else 0.0

    @property
    def buckets(self) -> list[tuple[int, int, int]]:
        """``(least, greatest, count)``, rising; empty ones are left out."""
        found = ((*self.buckets_of.bounds(at), count) for at, (count, _) in self.cells.items())
        return sorted(row for row in found if row[2])

    def percentile(self, share: float) -> tuple[int, int]:
        """The bounds of the bucket that the number at `share` (0 to 1) of all is in."""
        rank, seen = share * self.count, 0
        rows = self.buckets
        for low, high, count in rows:
            seen += count
            if seen >= rank:
                return low, high
        return (0, 0) if not rows else rows[-1][:2]

    def less(self, before: Distribution) -> Distribution:
        """What came since `before`."""
        cells = {}
        for at, (count, total) in self.cells.items():
            old_count, old_total = before.cells.get(at, (0, 0))
            if count > old_count:
                cells[at] = (count - old_count, total - old_total)
        return Distribution(self.keys, cells, self.buckets_of)


@frozen
class FunctionCounts:
    """Of one function; `total_ns` is the time of all calls that have ended, with what they call."""

    function: str
    calls: int
    errors: int
    total_ns: int

    @property
    def average_ns(self) -> float:
        return self.total_ns / self.calls if self.calls else 0.0

    def less(self, before: FunctionCounts) -> FunctionCounts:
        """What came since `before`."""
        return FunctionCounts(
            self.function,
            self.calls - before.calls,
            self.errors - before.errors,
            self.total_ns - before.total_ns,
        )
