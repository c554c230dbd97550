"""The table of a split session: which calls are inside the function now, with their cookies.

One array map with one value, used by direct address::

    0                                       slots * 16  + 64
    +---------+---------+-- ... --+---------+---------+---------------+-- ...
    | key u64 | key u64 |         | key u64 | scratch | busy u64      |  a line of 64 bytes
    | cookie  | cookie  |         | cookie  |         | missed u64    |  for each CPU
    +---------+---------+-- ... --+---------+---------+---------------+-- ...
     `----- a bucket is 8 slots -----'

A key is ``ctx - table``: the address of the trampoline's frame tells one call from all others
that are inside a function at the same time, on whatever CPU, task or interrupt level, and is the
same in the fentry and the fexit program. The verifier lets a privileged program subtract two
pointers. Key 0 is a free slot.

`busy` is raised while one of the two programs runs its body on the CPU, as the kernel's own guard
does for one program: a call made from inside the body is missed at both of its sides, not at one.

The argument for exactness is in docs/sessions.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.attach.sequence import Sequence, address, compose, jump
from fsession.errors import BadInputError
from fsession.frozen import frozen
from fsession.isa.insn import (
    alu,
    alu32,
    atomic,
    call_helper,
    exit_,
    ldx,
    mov,
    mov32,
    st,
    stx,
)
from fsession.isa.opcode import R0, R1, R2, R3, R4, R5, R6, R7, R10, Alu, Atomic, Jmp, Size
from fsession.spec import MapSpec
from fsession.uapi import FuncId, MapType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsession.attach.sequence import Address, Jump
    from fsession.isa.insn import Insn

__all__ = ["BUCKET_SLOTS", "SPILL_BYTES", "Table"]

BUCKET_SLOTS = 8
SPILL_BYTES = 16

_SLOT_BYTES = 16
_COOKIE = 8  # in a slot
_BUCKET_SHIFT = 7
_LINE_BYTES = 64
_LINE_SHIFT = 6
_MISSED = 8  # in a line
_GOLDEN = -1640531535  # 2**32 / golden ratio, odd: spreads stacks at equal distances evenly
_DW = Size.DW


@frozen
class Table:
    """Shape of a table. `slots` and `cpus` are powers of two; `cpus` covers all possible CPUs.

    `name` stands for it in relocations and is no C identifier, so no map of an object has it.
    """

    cpus: int
    slots: int
    name: str = ".session"

    def __post_init__(self) -> None:
        for what, number, least in (
            ("slots", self.slots, 2 * BUCKET_SLOTS),
            ("cpus", self.cpus, 1),
        ):
            if number < least or number & (number - 1):
                raise BadInputError(f"{number} {what} of a session table: not a power of two")

    @classmethod
    def for_cpus(cls, count: int, slots: int) -> Table:
        """A table for a host with `count` possible CPUs."""
        return cls(1 << (count - 1).bit_length(), slots)

    def map_spec(self) -> MapSpec:
        """The array map with the table as its only value."""
        size = self._lines + self.cpus * _LINE_BYTES
        return MapSpec(self.name, MapType.ARRAY, 4, size, 1)

    def missed(self, value: bytes) -> int:
        """How many times a side was left out: no slot was free, or a body was running."""
        starts = range(self._lines + _MISSED, len(value), _LINE_BYTES)
        return sum(int.from_bytes(value[at : at + 8], "little") for at in starts)

    def taken(self, value: bytes) -> int:
        """How many slots hold a key."""
        starts = range(0, self._scratch, _SLOT_BYTES)
        return sum(any(value[at : at + 8]) for at in starts)

    # Code. Registers on the way: r6 ctx, r7 the CPU's line, r2 key, r3 slot, r5 table, and when
    # the slot is found r5 the address of its cookie.

    def claim(self, spill: int) -> Sequence:
        """Entry: take a slot for this call, or leave. The context comes and goes in r1.

        Behind it the cookie's address is at r10 - `spill` - 8, the CPU's line at r10 - `spill` -
        16. The first slot that is free or has the own key is taken: with the own key it is one
        whose exit never ran.
        """
        return compose(
            mov(R6, R1),
            *self._line(),
            *self._bucket(),
            ldx(_DW, R0, R7),
            jump(Jmp.JNE, R0, "busy", imm=0),
            *_take_slot(),
            jump(Jmp.JA, R0, "leave"),
            "busy",
            *_forget_call(),
            "leave",
            *_count_miss(),
            alu(Alu.MOV, R0, imm=0),
            exit_(),
            "taken",
            *self._same_for_all(),
            st(_DW, R5, 0, 0),
            stx(_DW, R10, R5, -spill - 8),
            *_enter(spill),
        )

    def find(self, spill: int) -> Sequence:
        """Exit: find the slot of this call, or leave. Stack and r1 as for `claim`."""
        return compose(
            mov(R6, R1),
            *self._bucket(),
            *_search(),
            jump(Jmp.JA, R0, "leave"),
            "busy",
            *_count_miss(),
            ldx(_DW, R1, R10, -spill - 8),
            *_release(R1),
            "leave",
            alu(Alu.MOV, R0, imm=0),
            exit_(),
            "found",
            *self._same_for_all(),
            stx(_DW, R10, R5, -spill - 8),
            *self._line(),
            ldx(_DW, R0, R7),
            jump(Jmp.JNE, R0, "busy", imm=0),
            *_enter(spill),
        )

    def cookie(self) -> Sequence:
        """A function: r0 = address of the cookie of the call whose context is in r1.

        The verifier wants an address on all paths; the scratch slot is for those that never are.
        """
        return compose(
            mov(R6, R1),
            *self._bucket(),
            *_search(),
            address(R3, self._scratch),
            "found",
            mov(R0, R3),
            alu(Alu.ADD, R0, imm=_COOKIE),
            exit_(),
        )

    @staticmethod
    def load_cookie(spill: int) -> tuple[Insn, ...]:
        """In the main function: r0 = address of the cookie."""
        return (ldx(_DW, R0, R10, -spill - 8),)

    @staticmethod
    def leave(spill: int, *, release: bool) -> tuple[Insn, ...]:
        """What the body's ``exit`` becomes. r0 stays; on the exit side the slot is given back."""
        give_back = (ldx(_DW, R1, R10, -spill - 8), *_release(R1)) if release else ()
        return *give_back, ldx(_DW, R1, R10, -spill - 16), st(_DW, R1, 0, 0), exit_()

    @property
    def _scratch(self) -> int:
        return self.slots * _SLOT_BYTES

    @property
    def _lines(self) -> int:
        """Offset of the per-CPU lines, on a line boundary."""
        return self._scratch + _LINE_BYTES

    def _line(self) -> Iterator[Insn | Address]:
        """r7 = this CPU's line. Clobbers r0 to r5."""
        yield call_helper(FuncId.get_smp_processor_id)
        yield alu(Alu.AND, R0, imm=self.cpus - 1)
        yield alu(Alu.LSH, R0, imm=_LINE_SHIFT)
        yield address(R7, self._lines)
        yield alu(Alu.ADD, R7, R0)

    def _bucket(self) -> Iterator[Insn | Address]:
        """r2 = key of the call, r3 = its bucket, r5 = table. Clobbers r4."""
        bits = (self.slots // BUCKET_SLOTS).bit_length() - 1
        yield mov(R2, R6)
        yield address(R5, 0)
        yield alu(Alu.SUB, R2, R5)
        yield mov32(R4, R2)
        yield alu32(Alu.MUL, R4, imm=_GOLDEN)
        yield alu32(Alu.RSH, R4, imm=32 - bits)
        yield alu(Alu.LSH, R4, imm=_BUCKET_SHIFT)
        yield mov(R3, R5)
        yield alu(Alu.ADD, R3, R4)

    def _same_for_all(self) -> Iterator[Insn]:
        """r5 = address of the cookie, the same to the verifier whichever of the 8 slots r3 is.

        With r3 itself, it would verify the body behind eight times.
        """
        yield alu(Alu.SUB, R3, R5)
        yield alu(Alu.AND, R3, imm=self._scratch - _SLOT_BYTES)
        yield alu(Alu.ADD, R5, R3)
        yield alu(Alu.ADD, R5, imm=_COOKIE)


def _take_slot() -> Iterator[Insn | Jump]:
    """r3 = the first slot of the bucket that is free or has the own key; goes to "taken"."""
    for _ in range(BUCKET_SLOTS):
        yield alu(Alu.MOV, R0, imm=0)
        yield atomic(Atomic.CMPXCHG, _DW, R3, R2)
        yield jump(Jmp.JEQ, R0, "taken", imm=0)
        yield jump(Jmp.JEQ, R0, "taken", R2)
        yield alu(Alu.ADD, R3, imm=_SLOT_BYTES)


def _search() -> Iterator[Insn | Jump]:
    """r3 = the first slot of the bucket with the own key; goes to "found"."""
    for _ in range(BUCKET_SLOTS):
        yield ldx(_DW, R0, R3)
        yield jump(Jmp.JEQ, R0, "found", R2)
        yield alu(Alu.ADD, R3, imm=_SLOT_BYTES)


def _forget_call() -> Iterator[Insn | Jump | str]:
    """Free all slots with the own key, so that the exit of this call finds none."""
    for index in range(BUCKET_SLOTS):
        yield ldx(_DW, R0, R3, index * _SLOT_BYTES)
        yield jump(Jmp.JNE, R0, f"other{index}", R2)
        yield st(_DW, R3, index * _SLOT_BYTES, 0)
        yield f"other{index}"


def _count_miss() -> tuple[Insn, ...]:
    return alu(Alu.MOV, R0, imm=1), atomic(Atomic.ADD, _DW, R7, R0, _MISSED)


def _release(cookie: int) -> tuple[Insn, ...]:
    """Give the slot back. A full barrier: the body's use of the cookie must come before it."""
    return alu(Alu.MOV, R2, imm=0), atomic(Atomic.XCHG, _DW, cookie, R2, -_COOKIE)


def _enter(spill: int) -> tuple[Insn, ...]:
    """The body begins: raise `busy`, keep the line, put the context where it came from."""
    return st(_DW, R7, 0, 1), stx(_DW, R10, R7, -spill - 16), mov(R1, R6)
