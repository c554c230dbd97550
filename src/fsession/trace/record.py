"""The wire layout of a call's record: the only place that knows it.

The generated programs (`fsession.trace.program`) write it into the ring buffer, one record a call,
at the exit; `fsession.trace.decode` and `fsession.trace.columns` read it. Little endian, all
fields at their natural alignment::

    byte  0         8        16          24    28         32        48    56
    +----------+--------+----------+-----+----------+----------+-----+----------------+
    | start_ns | end_ns | pid_tgid | cpu | function | comm     | ret | slots, n × u64 |
    | u64      | u64    | u64      | u32 | u32      | char[16] | u64 |                |
    +----------+--------+----------+-----+----------+----------+-----+----------------+
    | fields of the exit | fields of the entry | strings |
    +--------------------+---------------------+---------+

`start_ns` and `end_ns` are ``bpf_ktime_get_ns()`` (CLOCK_MONOTONIC). `pid_tgid` has the process id
in its upper half and the thread id in the lower one. `function` is the index of the function in
the list that the programs were made for. A slot is an argument word of the trampoline's context: an
argument of 9 to 16 bytes takes two. Fields are values of expressions (`fsession.trace.fields`).
At the end is an area of `STRING_BYTES` for each string argument::

    byte  0                                   8                             96
    +-----------------------------------------+------------------------------+
    | length s64: with the NUL, or an errno   | text char[88]                |
    +-----------------------------------------+------------------------------+

A record of one argument word has 64 bytes.
"""

from __future__ import annotations

import struct

from fsession.frozen import frozen

__all__ = [
    "COMM",
    "COMM_BYTES",
    "CPU",
    "END_NS",
    "FUNCTION",
    "HEADER",
    "HEADER_BYTES",
    "MAX_STRINGS",
    "NOT_SAVED",
    "PID_TGID",
    "RET",
    "SLOT_BYTES",
    "START_NS",
    "STRING_BYTES",
    "STRING_LENGTH",
    "TEXT_BYTES",
    "Counts",
    "Layout",
]

START_NS, END_NS, PID_TGID, CPU, FUNCTION, COMM, RET = 0, 8, 16, 24, 28, 32, 48
HEADER = struct.Struct("<QQQII16sQ")
HEADER_BYTES = HEADER.size
COMM_BYTES = 16  # TASK_COMM_LEN
SLOT_BYTES = 8
STRING_LENGTH = struct.Struct("<q")
STRING_BYTES = 96
TEXT_BYTES = STRING_BYTES - STRING_LENGTH.size
MAX_STRINGS = 4  # their areas are filled on the program's stack, which has 512 bytes
NOT_SAVED = -4096
"""Length of a string that could not be carried from the entry to the exit; no errno is so low."""


@frozen
class Layout:
    """Of the records of one program: how many argument words and strings they have, and how many
    bytes the fields of the exit and of the entry take."""

    slots: int
    strings: int = 0
    exit_bytes: int = 0
    entry_bytes: int = 0

    @property
    def exit_at(self) -> int:
        """Offset of the first field of the exit, in bytes."""
        return HEADER_BYTES + SLOT_BYTES * self.slots

    @property
    def entry_at(self) -> int:
        """Offset of the first field of the entry, in bytes."""
        return self.exit_at + self.exit_bytes

    @property
    def strings_at(self) -> int:
        """Offset of the first string area, in bytes."""
        return self.entry_at + self.entry_bytes

    @property
    def saved_bytes(self) -> int:
        """What is carried from the entry to the exit: fields and strings."""
        return self.entry_bytes + STRING_BYTES * self.strings

    @property
    def size(self) -> int:
        """Of a record, in bytes."""
        return self.strings_at + STRING_BYTES * self.strings


class Counts:
    """Offsets in the value of the array map that the programs count in, each a u64.

    `LOST`: the ring buffer was full, the record of a finished call was dropped. `UNPAIRED`: an
    exit ran whose entry did not. `FAULTED`: a value could not be read. `UNSAVED`: a call's values
    of the entry found no room. `SEEN`: calls that passed the filters of the entry, where one of
    several is taken.
    """

    LOST = 0
    UNPAIRED = 8
    FAULTED = 16
    UNSAVED = 24
    SEEN = 32
    STRUCT = struct.Struct("<QQQQQ")
