"""The wire layout of a graph's records, and of what the programs keep for each tree under way.

Two kinds of records, in one form. ``EXIT`` is a finished call and says all of it. ``ENTRY`` is a
call under way, sent when the first traced call that it makes begins: `end_ns`, `next` and `result`
mean nothing there. A call that makes no other has its ``EXIT`` alone::

    byte  0      8       12       16     20      22     24         32       40         48    52
    +------+-------+--------+------+-------+------+----------+--------+----------+-----+----------+
    | tree | order | parent | next | depth | kind | start_ns | end_ns | pid_tgid | cpu | function |
    | u64  | u32   | u32    | u32  | u16   | u16  | u64      | u64    | u64      | u32 | u32      |
    +------+-------+--------+------+-------+------+----------+--------+----------+-----+----------+
    byte  56         72       80
    +----------+--------+-----------------+
    | comm     | result | slots, n × u64  |
    | char[16] | u64    |                 |
    +----------+--------+-----------------+

Three more kinds are notes on a call, in front of its first record: ``TEXTS`` are those that its
``const char *`` arguments pointed to at its entry, each as in `fsession.trace.record`; ``VALUES``
are what else is shown of its arguments (`fsession.trace.fields`); ``STACK`` is the kernel's stack
above a root. Of the header they have `tree`, `order` and `kind`, then data::

    byte  0      8       12       22     24
    +------+-------+--------+------+-------------------------------------------------+
    | tree | order |        | kind | texts, n × 96, fields, or status s64 and frames |
    +------+-------+--------+------+-------------------------------------------------+

`next` is how many calls of the tree had begun when this one ended: of the root, all of them. So
a reader knows of every call that it has no record of. `parent` of a root is `NO_PARENT`.

The state of a tree, one for each task and, as interrupts are no part of the task they hit, one for
softirqs, hard interrupts and NMIs on each CPU::

    byte  0      8          16         32           36      40     44    48          52    64
    +------+----------+----------+------------+-------+------+-----+-----------+-----+--------
    | tree | pid_tgid | comm     | next_order | depth | busy |     | NO_PARENT |     | frames
    | u64  | u64      | char[16] | u32        | u32   | u32  |     | u32       |     | of 32
    +------+----------+----------+------------+-------+------+-----+-----------+-----+--------

    a frame:  0       8          16      20       24         28     29      30
    +---------+----------+-------+--------+----------+------+-------+-------+
    | context | start_ns | order | parent | function | sent | slots | texts |
    | u64     | u64      | u32   | u32    | u32      | u8   | u8    | u16   |
    +---------+----------+-------+--------+----------+------+-------+-------+

`NO_PARENT` stands where the order of a frame in front of the first would be. `context` is the
address of the trampoline's frame: it tells a call from all others under way, and those further up
the stack have higher ones. The last 8 bytes of a frame are the attach cookie of its function:
`graph_cookie`. What is copied together stands together: `order` and `parent`, `next_order` and
`depth` are so in records, too.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from fsession.frozen import frozen
from fsession.ring import HEADER_BYTES as RING_HEADER_BYTES
from fsession.ring import runs

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "COMM",
    "COUNTS_STRUCT",
    "CPU",
    "DEPTH",
    "END_NS",
    "FUNCTION",
    "HEADER",
    "KIND",
    "MAX_DEPTH",
    "NEXT",
    "NOTE",
    "NOTE_HEAD",
    "NO_PARENT",
    "ORDER",
    "PARENT",
    "PID_TGID",
    "RESULT",
    "ROOT_BIT",
    "SENT_BIT",
    "SLOTS",
    "START_NS",
    "TEXT_BITS",
    "TREE",
    "Frame",
    "GraphCounts",
    "Kind",
    "State",
    "count_ends",
    "graph_cookie",
    "record_bytes",
]

HEADER = struct.Struct("<QIIIHHQQQII16sQ")
TREE, ORDER, PARENT, NEXT, DEPTH, KIND = 0, 8, 12, 16, 20, 22
START_NS, END_NS, PID_TGID, CPU, FUNCTION, COMM, RESULT = 24, 32, 40, 48, 52, 56, 72
SLOTS = HEADER.size

MAX_DEPTH = 64
"""Calls of a tree that can be inside each other; a power of two."""

NO_PARENT = 0xFFFF_FFFF

NOTE_HEAD = struct.Struct("<QI")
"""Of a note: the tree and the call's order."""

NOTE = 24
"""Where the data of a note begin."""


def record_bytes(slots: int) -> int:
    """Of a record with room for so many argument words."""
    return SLOTS + 8 * slots


def count_ends(span: bytes, size: int | None) -> tuple[int, int]:
    """How many finished calls are in a span of the ring buffer, and how many of them roots.

    `size` is what each record has, where there are no notes: then they are not looked at.
    """
    if size is not None:
        return _count_alike(span, size + RING_HEADER_BYTES)
    ends = roots = 0
    for at, step, length, count in runs(span):
        if length >= 0:
            more = _count_alike(span[at : at + step * count], step)
            ends, roots = ends + more[0], roots + more[1]
    return ends, roots


def _count_alike(span: bytes, step: int) -> tuple[int, int]:
    at = RING_HEADER_BYTES
    kinds, depths = span[at + KIND :: step], span[at + DEPTH :: step]
    ends = kinds.count(Kind.EXIT)
    pairs = zip(kinds, depths, strict=True)
    return ends, sum(1 for kind, depth in pairs if kind == Kind.EXIT and not depth)


class Kind:
    """What a record is about."""

    ENTRY, EXIT, TEXTS, STACK, VALUES = range(5)


class State:
    """Offsets in a tree's state, in bytes."""

    TREE, PID_TGID, COMM, NEXT_ORDER, DEPTH, BUSY, FIRST_PARENT = 0, 8, 16, 32, 36, 40, 48
    FRAMES = 64
    BYTES = FRAMES + 32 * MAX_DEPTH


class Frame:
    """Offsets in a frame, in bytes, and its size as a shift."""

    CONTEXT, START_NS, ORDER, PARENT, FUNCTION, SENT, SLOTS, TEXTS = 0, 8, 16, 20, 24, 28, 29, 30
    BYTES = 32
    SHIFT = 5


ROOT_BIT = 39
"""Of an attach cookie: of the byte that is `Frame.SENT`."""

SENT_BIT = 0
"""Of `Frame.SENT`: the call's entry was sent."""

TEXT_BITS = 4
"""For each text: the word that points to it and 1, or 0 if there are no more."""


def graph_cookie(index: int, slots: int, *, root: bool, texts: Sequence[int] = ()) -> int:
    """The attach cookie of the function with this index in records, and so many argument words,
    of which `texts` point to texts."""
    cookie = index | slots << 8 * (Frame.SLOTS - Frame.FUNCTION) | root << ROOT_BIT
    for place, slot in enumerate(texts):
        cookie |= (slot + 1) << 8 * (Frame.TEXTS - Frame.FUNCTION) + TEXT_BITS * place
    return cookie


@frozen
class GraphCounts:
    """What the programs count, each a u64 of the counts map in this order.

    `trees` is how many have begun, and the id of the last. `lost` finished calls have no record,
    since the ring buffer was full; `lost_entries` are other records: of begun calls, texts, stacks.
    `missed` calls were
    made while a program of the graph ran in the same place; `deep` ones were below `MAX_DEPTH`
    others. `abandoned` calls were left without a return, or their exit was missed; `unpaired` exits
    found that the call had been taken for abandoned. `stateless` roots found no memory. `faulted`
    are texts and values of a filter that could not be read.
    """

    trees: int = 0
    lost: int = 0
    lost_entries: int = 0
    missed: int = 0
    deep: int = 0
    abandoned: int = 0
    unpaired: int = 0
    stateless: int = 0
    faulted: int = 0

    @classmethod
    def decode(cls, value: bytes) -> GraphCounts:
        return cls(*COUNTS_STRUCT.unpack(value))

    @classmethod
    def offset(cls, name: str) -> int:
        """Of a counter in the value, in bytes."""
        return 8 * list(cls.__annotations__).index(name)


COUNTS_STRUCT = struct.Struct(f"<{len(GraphCounts.__annotations__)}Q")
