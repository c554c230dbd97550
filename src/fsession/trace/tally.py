"""What `hist` and `top` count, in maps of each CPU; `tally_program` makes the programs.

`hist` counts numbers, the durations of calls or an expression's values, by bucket; with keys each
combination of key and bucket is an element of a hash map, without any the bucket is an index::

    key   | bucket u64 | function u64 | fields of expressions (`trace.fields`), each 8-aligned |
    value | count u64  | sum s64      |

`top` counts calls, failures and time by function: an array's index. Everything is added by
atomic instructions to the CPU's own value, so that a call in an interrupt takes nothing away.

What is read of memory is read at the entry. If it is needed at the exit, it is carried there in a
hash map under the address of the context, as the tracer does with texts.
"""

from __future__ import annotations

import struct
from dataclasses import field
from typing import TYPE_CHECKING

from fsession.frozen import frozen
from fsession.spec import MapSpec
from fsession.trace.buckets import Buckets, Log2
from fsession.uapi import MapType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.trace.body import Wanted
    from fsession.trace.fields import Field

__all__ = [
    "CELL",
    "COUNTS_MAP",
    "MAX_KEY_BYTES",
    "ROW",
    "SAVED_MAP",
    "TALLY_MAP",
    "ZEROS_MAP",
    "Hist",
    "TallyCounts",
    "Top",
    "key_fields",
    "tally_maps",
]

TALLY_MAP = "tally"
CELL = struct.Struct("<Qq")
"""Of `hist`: how many numbers fell into a bucket, and their sum."""
ROW = struct.Struct("<QQQ")
"""Of `top`: calls, failed calls, nanoseconds."""

MAX_KEY_BYTES = 320  # on the program's stack, which has 512
SAVED_ENTRIES = 4096

COUNTS_MAP = "counts"
SAVED_MAP, ZEROS_MAP = "saved", "zeros"
_WORD = 8


class TallyCounts:
    """Offsets in the value of the counts map, each a u64.

    `UNPAIRED`: an exit ran whose entry did not. `FULL`: calls that are not counted because the
    map holds no more keys. `FAULTED`: whose value could not be read. `UNSAVED`: whose key of the
    entry found no room on the way to the exit.
    """

    UNPAIRED = 0
    FULL = 8
    FAULTED = 16
    UNSAVED = 24
    STRUCT = struct.Struct("<QQQQ")


@frozen
class Hist:
    """What is counted: durations, or the first field's numbers (`of_field`); by which keys."""

    wanted: Wanted
    of_field: bool = False
    by_function: bool = False
    buckets: Buckets = field(default_factory=Log2)
    max_keys: int = 16384

    @property
    def keys(self) -> tuple[Field, ...]:
        return self.wanted.fields[self.of_field :]

    @property
    def value(self) -> Field | None:
        return self.wanted.fields[0] if self.of_field else None

    @property
    def at_exit(self) -> bool:
        """Whether something of the exit is needed; else all is done at the entry."""
        filters, scope = self.wanted.filters, self.wanted.scope
        sources = [one.text for one in self.wanted.fields] + list(filters.conditions)
        expressions = scope is not None and any(scope.is_at_exit(one) for one in sources)
        return not self.of_field or bool(filters.min_duration_ns) or filters.errors or expressions

    @property
    def has_keys(self) -> bool:
        return self.by_function or bool(self.keys)

    @property
    def key_bytes(self) -> int:
        return _WORD + _WORD * self.by_function + sum(one.room for one in self.keys)

    @property
    def saved(self) -> tuple[Field, ...]:
        """What is carried from the entry to the exit."""
        return tuple(one for one in self.wanted.fields if self.at_exit and not one.at_exit)


@frozen
class Top:
    """Calls, failures and time of each of `functions`."""

    wanted: Wanted
    functions: int


def tally_maps(tally: Hist | Top) -> tuple[MapSpec, ...]:
    """Maps that the programs of one `tally` share."""
    counts = MapSpec(COUNTS_MAP, MapType.ARRAY, 4, TallyCounts.STRUCT.size, 1)
    if isinstance(tally, Top):
        return MapSpec(TALLY_MAP, MapType.PERCPU_ARRAY, 4, ROW.size, tally.functions), counts
    if not tally.has_keys:
        size = tally.buckets.count
        return MapSpec(TALLY_MAP, MapType.PERCPU_ARRAY, 4, CELL.size, size), counts
    cells = MapSpec(TALLY_MAP, MapType.PERCPU_HASH, tally.key_bytes, CELL.size, tally.max_keys)
    if not tally.saved:
        return cells, counts
    size = _WORD + sum(one.room for one in tally.saved)
    saved = MapSpec(SAVED_MAP, MapType.HASH, _WORD, size, SAVED_ENTRIES)
    return cells, counts, saved, MapSpec(ZEROS_MAP, MapType.ARRAY, 4, size, 1)


def key_fields(hist: Hist, key: bytes) -> Sequence[tuple[Field, int]]:
    """The keys' fields with their places in a key of the map."""
    at = _WORD + _WORD * hist.by_function
    places = []
    for one in hist.keys:
        places.append((one, at))
        at += one.room
    return places
