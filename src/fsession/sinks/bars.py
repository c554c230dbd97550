"""Histograms as text: bars, a heat map line by line; and as JSON."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from fsession.sinks.json import plain
from fsession.sinks.text import count, duration, summary_line
from fsession.trace.buckets import Log2
from fsession.trace.values import text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from fsession.trace import Summary
    from fsession.trace.buckets import Buckets
    from fsession.trace.counted import Distribution

__all__ = ["HistJson", "HistText"]

BAR = 40
MOST_HEAT_ROWS = 10
PERCENTILES = (0.5, 0.9, 0.99)
_SHADES = " ░▒▓█"
_EIGHTHS = " ▏▎▍▌▋▊▉"
_TIME = "duration"
_OPEN = frozenset({-(1 << 63), (1 << 63) - 1, (1 << 64) - 1})  # bounds that are none


class HistText:
    """For people. `of` and `keys` are what was asked for."""

    def __init__(self, out: TextIO, of: str, keys: Sequence[str], *, quiet: bool = False) -> None:
        self._out = out
        self._keys = tuple(keys)
        self._of = of
        self._quiet = quiet
        self._places: range | None = None

    def heat(self, rows: Sequence[Distribution]) -> None:
        """A line for each combination of keys: when, how many, the darker the more."""
        clock = time.strftime("%H:%M:%S")
        for row in rows[:MOST_HEAT_ROWS]:
            ranks = _ranks(row)
            self._widen(row.buckets_of, ranks)
            assert self._places is not None
            most = max(ranks.values(), default=0)
            cells = "".join(_shade(ranks.get(place, 0), most) for place in self._places)
            self._out.write(f"{clock} {row.count:>9} |{cells}| {self._name(row)}\n")
        if not rows:
            self._out.write(f"{clock} {0:>9} |\n")
        if len(rows) > MOST_HEAT_ROWS:
            self._out.write(f"{'':18} … and {len(rows) - MOST_HEAT_ROWS} more\n")
        self._out.flush()

    def _widen(self, buckets: Buckets, ranks: dict[int, int]) -> None:
        """A new scale where the old one is too short."""
        old = self._places
        first, last = min(ranks), max(ranks)
        if old and first >= old.start and last < old.stop:
            return
        start = min(first, old.start) if old else first
        stop = max(last + 1, old.stop) if old else last + 1
        self._places = range(start, stop)
        low, high = _bounds_of_rank(buckets, start)[0], _bounds_of_rank(buckets, stop - 1)[1]
        scale = f"{self._number(low) or '…'} to {self._number(high) or '…'}"
        self._out.write(f"{'':18} |{scale}\n")

    def end(self, rows: Sequence[Distribution], summary: Summary) -> None:
        """The distributions of the whole time."""
        for row in rows:
            self._distribution(row)
        if not self._quiet:
            self._out.write(summary_line(summary) + "\n")
        self._out.flush()

    def _distribution(self, row: Distribution) -> None:
        self._out.write(f"{self._name(row) or self._of}\n")
        ranks = _ranks(row)
        most = max(ranks.values())
        lines: list[tuple[str, str, int]] = []
        for rank in range(min(ranks), max(ranks) + 1):
            low, high = _bounds_of_rank(row.buckets_of, rank)
            lines.append((self._number(low), self._number(high), ranks.get(rank, 0)))
        left = max(len(low) for low, _, _ in lines)
        right = max(len(high) for _, high, _ in lines)
        for least, greatest, number in lines:
            span = f"{least:>{left}} … {greatest:>{right}}"
            self._out.write(f"  {span} {number:>10} |{_bar(number, most)}|\n")
        self._out.write(f"  {self._figures(row)}\n\n")

    def _figures(self, row: Distribution) -> str:
        parts = [count(row.count, "call"), f"average {self._number(round(row.average))}"]
        for share in PERCENTILES:
            low, high = row.percentile(share)
            bounds = f"{self._number(low)} … {self._number(high)}".strip()
            parts.append(f"p{share * 100:g} {bounds}")
        return "   ".join(parts)

    def _name(self, row: Distribution) -> str:
        pairs = zip(self._keys, row.keys, strict=True)
        return "   ".join(f"{name} = {text(value)}" for name, value in pairs)

    def _number(self, number: int) -> str:
        """ "" for the end of a bucket that has none."""
        if number in _OPEN:
            return ""
        return duration(number) if self._of == _TIME and number >= 0 else f"{number}"


class HistJson:
    """An object a line: of each interval, then of the whole time, then the summary."""

    def __init__(self, out: TextIO, of: str, keys: Sequence[str]) -> None:
        self._out = out
        self._of = of
        self._keys = tuple(keys)

    def heat(self, rows: Sequence[Distribution]) -> None:
        for row in rows:
            self._write({"type": "interval", "time": time.time(), **self._row(row)})

    def end(self, rows: Sequence[Distribution], summary: Summary) -> None:
        for row in rows:
            self._write({"type": "histogram", **self._row(row)})
        facts = {name: getattr(summary, name) for name in summary.__dataclass_fields__}
        self._write({"type": "summary", **facts})

    def _row(self, row: Distribution) -> dict[str, object]:
        keys = dict(zip(self._keys, map(plain, row.keys), strict=True))
        shares = {f"p{share * 100:g}": list(row.percentile(share)) for share in PERCENTILES}
        return {
            "of": self._of,
            "keys": keys,
            "count": row.count,
            "sum": row.total,
            "percentiles": shares,
            "buckets": [list(bucket) for bucket in row.buckets],
        }

    def _write(self, facts: dict[str, object]) -> None:
        self._out.write(json.dumps(facts) + "\n")
        self._out.flush()


def _ranks(row: Distribution) -> dict[int, int]:
    """Counts by the place of their bucket among all, which rises with the numbers in it."""
    return {_rank(row.buckets_of, at): number for at, (number, _) in row.cells.items()}


def _rank(buckets: Buckets, index: int) -> int:
    """Of powers of two, those below 0 come first, the greatest amount at the very first."""
    return 64 - index if isinstance(buckets, Log2) and index > 64 else index


def _bounds_of_rank(buckets: Buckets, rank: int) -> tuple[int, int]:
    return buckets.bounds(64 - rank if rank < 0 else rank)


def _shade(number: int, most: int) -> str:
    if not number:
        return _SHADES[0]
    return _SHADES[1 + (len(_SHADES) - 2) * number // most]


def _bar(number: int, most: int) -> str:
    eighths = 8 * BAR * number // most
    full = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return full.ljust(BAR)
