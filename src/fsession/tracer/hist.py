"""Distributions, counted in the kernel.

with hist("vfs_read", by=["comm"]) as counted:
    time.sleep(1)
    for row in counted.read():
        print(row.keys, row.count, row.average, row.percentile(0.99))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.errors import BadInputError
from fsession.trace.buckets import Linear, Log2
from fsession.trace.counted import Distribution
from fsession.trace.fields import Form, field_reader
from fsession.trace.tally import CELL, MAX_KEY_BYTES, Hist, key_fields
from fsession.tracer.tally import Counter, filters_of
from fsession.tracer.wants import Wishes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.host import Host
    from fsession.trace.values import Value
    from fsession.tracer.selection import Selection

__all__ = ["Histogram", "hist"]

DURATION = "duration"
FUNCTION = "function"
MAX_KEYS = 16384
_NUMBERS = (Form.INT, Form.BOOL, Form.CHAR, Form.POINTER, Form.TYPED)


def hist(
    *targets: str,
    of: str = DURATION,
    by: str | Sequence[str] = (),
    linear: tuple[int, int, int] | None = None,
    host: Host | None = None,
    strategy: str = "auto",
    pid: int | None = None,
    tid: int | None = None,
    comm: str | None = None,
    min_duration_ns: int = 0,
    errors: bool = False,
    filter: str | Sequence[str] = (),
    max_keys: int = MAX_KEYS,
) -> Histogram:
    """A histogram of the calls of the functions that `targets` name, to be used in a ``with``.

    `of` is the duration in ns or an expression of C; `by` are expressions whose values are told
    apart, and ``function``. Buckets are powers of two, or `linear` ``(min, max, step)``. The rest
    is as for `fsession.trace`.
    """
    filters = filters_of(pid, tid, comm, min_duration_ns, errors, filter)
    keys = (by,) if isinstance(by, str) else tuple(by)
    expressions = tuple(key for key in keys if key != FUNCTION)
    of = of.strip()
    wishes = Wishes(filters, (*((of,) if of != DURATION else ()), *expressions))
    return Histogram(targets, wishes, keys, linear, max_keys, host, strategy)


class Histogram(Counter):
    """Counts from its start to its end; `read` may be called at any time."""

    def __init__(
        self,
        names: Sequence[str],
        wishes: Wishes,
        keys: tuple[str, ...],
        linear: tuple[int, int, int] | None,
        max_keys: int,
        host: Host | None,
        strategy: str,
    ) -> None:
        super().__init__(names, wishes, host, strategy)
        if keys.count(FUNCTION) > 1:
            raise BadInputError("'function' is a key twice")
        self.keys = keys
        self._of_field = len(wishes.prints) > len([key for key in keys if key != FUNCTION])
        self.of = wishes.prints[0] if self._of_field else DURATION
        self._linear = linear
        self._max_keys = max_keys

    def plan(self, selection: Selection) -> Hist:
        first, *others = selection.wanted
        if any(other.fields != first.fields for other in others):
            raise BadInputError("the expressions have several types in these functions").hint(
                "count functions that are alike, or one by one"
            )
        value = first.fields[0] if self._of_field else None
        if value and (value.form not in _NUMBERS or value.size > 8):
            raise BadInputError(f"'{value.text}' is no number, so it has no distribution")
        signed = bool(value and value.signed)
        buckets = Linear.checked(*self._linear, signed=signed) if self._linear else Log2(signed)
        made = Hist(first, self._of_field, FUNCTION in self.keys, buckets, self._max_keys)
        if made.key_bytes > MAX_KEY_BYTES:
            raise BadInputError(f"keys of {made.key_bytes} bytes, more than {MAX_KEY_BYTES}")
        return made

    def counted(self) -> int:
        return sum(row.count for row in self.read())

    def read(self) -> list[Distribution]:
        """One for each combination of keys, until now; the one with most calls first."""
        tally = self.tally
        assert isinstance(tally, Hist)
        rows: dict[tuple[str, ...], tuple[tuple[Value, ...], dict[int, tuple[int, int]]]] = {}
        for key, value in self.map.items():
            count = total = 0
            for some, amount in CELL.iter_unpack(value):
                count, total = count + some, total + amount
            if count:
                self._add(rows, tally, key, count, total)
        found = [Distribution(keys, cells, tally.buckets) for keys, cells in rows.values()]
        return sorted(found, key=lambda row: -row.count)

    def _add(
        self,
        rows: dict[tuple[str, ...], tuple[tuple[Value, ...], dict[int, tuple[int, int]]]],
        tally: Hist,
        key: bytes,
        count: int,
        total: int,
    ) -> None:
        """Keys that read alike are one: bytes behind the end of a text do not count."""
        bucket = int.from_bytes(key[:8], "little")
        values = self._values(tally, key) if tally.has_keys else ()
        _, cells = rows.setdefault(tuple(map(repr, values)), (values, {}))
        before = cells.get(bucket, (0, 0))
        cells[bucket] = before[0] + count, before[1] + total

    def _values(self, tally: Hist, key: bytes) -> tuple[Value, ...]:
        types = self.selection.targets[0].types
        read = {
            one.text: field_reader(one, types, lambda _: None)(key, at)
            for one, at in key_fields(tally, key)
        }
        if tally.by_function:
            index = int.from_bytes(key[8:16], "little")
            read[FUNCTION] = self.selection.targets[index].name
        return tuple(read[name.strip()] for name in self.keys)
