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

`next` is how many calls of the tree had begun when this one ended: of the root, all of them. So
a reader knows of every call that it has no record of. `parent` of a root is `NO_PARENT`.

The state of a tree, one for each task and, as interrupts are no part of the task they hit, one for
softirqs, hard interrupts and NMIs on each CPU::

    byte  0      8          16         32           36      40     44    48          52    64
    +------+----------+----------+------------+-------+------+-----+-----------+-----+--------
    | tree | pid_tgid | comm     | next_order | depth | busy |     | NO_PARENT |     | frames
    | u64  | u64      | char[16] | u32        | u32   | u32  |     | u32       |     | of 32
    +------+----------+----------+------------+-------+------+-----+-----------+-----+--------

    a frame:  0       8          16      20       24         28     29      30     31
    +---------+----------+-------+--------+----------+------+-------+------+-----+
    | context | start_ns | order | parent | function | sent | slots | root |     |
    | u64     | u64      | u32   | u32    | u32      | u8   | u8    | u8   |     |
    +---------+----------+-------+--------+----------+------+-------+------+-----+

`NO_PARENT` stands where the order of a frame in front of the first would be. `context` is the
address of the trampoline's frame: it tells a call from all others under way, and those further up
the stack have higher ones. The last 8 bytes of a frame are the attach cookie of its function:
`graph_cookie`. What is copied together stands together: `order` and `parent`, `next_order` and
`depth` are so in records, too.
"""

from __future__ import annotations

import struct

from fsession.frozen import frozen

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
    "NO_PARENT",
    "ORDER",
    "PARENT",
    "PID_TGID",
    "RESULT",
    "ROOT_BIT",
    "SLOTS",
    "START_NS",
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


def record_bytes(slots: int) -> int:
    """Of a record with room for so many argument words."""
    return SLOTS + 8 * slots


def count_ends(span: bytes, size: int) -> tuple[int, int]:
    """How many finished calls are in a span of the ring buffer, and how many of them roots.

    All records have `size` bytes, and stand behind 8 of the ring buffer's.
    """
    step = size + 8
    kinds, depths = span[8 + KIND :: step], span[8 + DEPTH :: step]
    ends = kinds.count(Kind.EXIT)
    roots = sum(1 for kind, depth in zip(kinds, depths, strict=True) if kind > depth)
    return ends, roots


class Kind:
    """What a record is about."""

    ENTRY, EXIT = range(2)


class State:
    """Offsets in a tree's state, in bytes."""

    TREE, PID_TGID, COMM, NEXT_ORDER, DEPTH, BUSY, FIRST_PARENT = 0, 8, 16, 32, 36, 40, 48
    FRAMES = 64
    BYTES = FRAMES + 32 * MAX_DEPTH


class Frame:
    """Offsets in a frame, in bytes, and its size as a shift."""

    CONTEXT, START_NS, ORDER, PARENT, FUNCTION, SENT, SLOTS = 0, 8, 16, 20, 24, 28, 29
    BYTES = 32
    SHIFT = 5


ROOT_BIT = 48
"""Of an attach cookie; none is above it."""


def graph_cookie(index: int, slots: int, *, root: bool) -> int:
    """The attach cookie of the function with this index in records, and so many argument words."""
    return index | slots << 8 * (Frame.SLOTS - Frame.FUNCTION) | root << ROOT_BIT


@frozen
class GraphCounts:
    """What the programs count, each a u64 of the counts map in this order.

    `trees` is how many have begun, and the id of the last. `lost` finished calls and
    `lost_entries` begun ones have no record, since the ring buffer was full. `missed` calls were
    made while a program of the graph ran in the same place; `deep` ones were below `MAX_DEPTH`
    others. `abandoned` calls were left without a return, or their exit was missed; `unpaired` exits
    found that the call had been taken for abandoned. `stateless` roots found no memory.
    """

    trees: int = 0
    lost: int = 0
    lost_entries: int = 0
    missed: int = 0
    deep: int = 0
    abandoned: int = 0
    unpaired: int = 0
    stateless: int = 0

    @classmethod
    def decode(cls, value: bytes) -> GraphCounts:
        return cls(*COUNTS_STRUCT.unpack(value))

    @classmethod
    def offset(cls, name: str) -> int:
        """Of a counter in the value, in bytes."""
        return 8 * list(cls.__annotations__).index(name)


COUNTS_STRUCT = struct.Struct(f"<{len(GraphCounts.__annotations__)}Q")
