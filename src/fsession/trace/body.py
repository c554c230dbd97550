"""A generated session program but for how it reads arguments: filters, times, header, strings.

`fsession.trace.program` completes it for one function and for many.
"""

from __future__ import annotations

from fsession.frozen import frozen
from fsession.isa.insn import alu, atomic, exit_, lddw, ldx, mov, st, stx
from fsession.isa.opcode import R0, R1, R2, R3, R4, R6, R7, R8, R9, R10, Alu, Atomic, Jmp, Size
from fsession.trace.code import Code
from fsession.trace.record import (
    COMM,
    COMM_BYTES,
    CPU,
    END_NS,
    NOT_SAVED,
    PID_TGID,
    START_NS,
    STRING_BYTES,
    STRING_LENGTH,
    TEXT_BYTES,
    Counts,
    Layout,
)
from fsession.uapi import FuncId

__all__ = [
    "COUNTS_MAP",
    "RING_MAP",
    "SAVED_AT",
    "Filters",
    "Session",
    "get_func_arg",
    "get_func_ret",
    "strings_map",
]

RING_MAP = "calls"
COUNTS_MAP = "counts"
SAVED_AT = 8
"""Of the string areas in a value of a strings map; in front stands the call's start time."""

MAX_ERRNO = 4095  # include/linux/err.h


def strings_map(count: int) -> str:
    """Name of the map for functions with `count` string arguments."""
    return f"strings{count}"


@frozen
class Filters:
    """What the programs themselves leave out. `pid` is a process (tgid), `comm` its task's name.

    `errors`: only calls whose result is a negative errno or an ``ERR_PTR``.
    """

    pid: int | None = None
    comm: bytes | None = None
    min_duration_ns: int = 0
    errors: bool = False

    @property
    def at_entry(self) -> bool:
        return self.pid is not None or self.comm is not None


class Session:
    """What the programs have in common; the two forms fill in how words are read.

    Registers: r6 context, r7 start time, r8 end time, later scratch, r9 record.
    """

    def __init__(self, layout: Layout, filters: Filters) -> None:
        self.layout = layout
        self.filters = filters
        self.code = Code()

    def build(self) -> Code:
        code = self.code
        code.emit(mov(R6, R1))
        code.kfunc("bpf_session_is_return")
        code.jump(Jmp.JNE, R0, "exit", imm=0)
        self._entry()
        code.label("exit")
        self._exit()
        return code

    def save_strings(self) -> None:
        """At the entry; r7 is the start time."""
        raise NotImplementedError

    def load_result(self) -> None:
        """r1 = the result as a signed 64-bit number; to "drop" if it can't tell an error."""
        raise NotImplementedError

    def fill_words(self) -> None:
        """Store function index, result and argument words to the record in r9."""
        raise NotImplementedError

    def note_strings(self) -> None:
        """At the exit: find out whether the function has string arguments, for `unless_strings`."""

    def unless_strings(self, label: str) -> None:
        """To `label` if the function has no string arguments though others of the program do."""

    # The entry

    def _entry(self) -> None:
        code = self.code
        if self.filters.pid is not None:
            self._filter_pid(self.filters.pid)
        if self.filters.comm is not None:
            self._filter_comm(self.filters.comm)
        code.helper(FuncId.ktime_get_ns)
        code.emit(mov(R7, R0))
        if self.layout.strings:
            self.save_strings()
        code.emit(mov(R1, R6))
        code.kfunc("bpf_session_cookie")
        code.emit(stx(Size.DW, R0, R7))
        self._leave()

    def _filter_pid(self, pid: int) -> None:
        code = self.code
        code.helper(FuncId.get_current_pid_tgid)
        code.emit(alu(Alu.RSH, R0, imm=32))
        code.jump(Jmp.JNE, R0, "out", imm=pid)

    def _filter_comm(self, comm: bytes) -> None:
        code = self.code
        for at in range(-COMM_BYTES, 0, 8):  # Linux 6.1 leaves what was behind the name
            code.emit(st(Size.DW, R10, at, 0))
        code.emit(mov(R1, R10), alu(Alu.ADD, R1, imm=-COMM_BYTES))
        code.emit(alu(Alu.MOV, R2, imm=COMM_BYTES))
        code.helper(FuncId.get_current_comm)
        padded = comm.ljust(COMM_BYTES, b"\0")
        for at in range(0, COMM_BYTES, 8):
            code.emit(ldx(Size.DW, R1, R10, at - COMM_BYTES))
            code.emit(lddw(R2, int.from_bytes(padded[at : at + 8], "little")))
            code.jump(Jmp.JNE, R1, "out", R2)

    # String arguments: an area of the stack as a value of the strings map, its key below it

    @property
    def saved_off(self) -> int:
        """Of the value on the stack, from r10."""
        return -(SAVED_AT + STRING_BYTES * self.layout.strings)

    @property
    def key_off(self) -> int:
        return self.saved_off - 8

    def area_off(self, place: int) -> int:
        """Of string area `place` on the stack, from r10."""
        return self.saved_off + SAVED_AT + STRING_BYTES * place

    def read_string(self, place: int) -> None:
        """Read the text that r3 points to: in the kernel, or else in user memory.

        Which of the two a pointer means is seldom in BTF (gcc writes no ``__user``), but the
        addresses are apart on x86_64 and arm64.
        """
        code = self.code
        text = self.area_off(place) + STRING_LENGTH.size
        done = f"string {place} read"
        code.emit(mov(R8, R3))
        for number in (FuncId.probe_read_kernel_str, FuncId.probe_read_user_str):
            code.emit(mov(R1, R10), alu(Alu.ADD, R1, imm=text))
            code.emit(alu(Alu.MOV, R2, imm=TEXT_BYTES), mov(R3, R8))
            code.helper(number)
            if number is FuncId.probe_read_kernel_str:
                code.jump(Jmp.JSGE, R0, done, imm=0)
        code.label(done)
        code.emit(stx(Size.DW, R10, R0, self.area_off(place)))

    def keep_strings(self) -> None:
        """Put the value on the stack into the map, under the context's address."""
        code = self.code
        code.emit(stx(Size.DW, R10, R7, self.saved_off))
        self._strings_key()
        code.emit(mov(R3, R10), alu(Alu.ADD, R3, imm=self.saved_off), alu(Alu.MOV, R4, imm=0))
        code.helper(FuncId.map_update_elem)

    def _strings_key(self) -> None:
        """r1 = the strings map, r2 = the key of this call."""
        code = self.code
        code.emit(stx(Size.DW, R10, R6, self.key_off))
        code.emit(mov(R2, R10), alu(Alu.ADD, R2, imm=self.key_off))
        code.map(R1, strings_map(self.layout.strings))

    # The exit

    def _exit(self) -> None:
        code = self.code
        code.emit(mov(R1, R6))
        code.kfunc("bpf_session_cookie")
        code.emit(ldx(Size.DW, R7, R0))
        code.jump(Jmp.JEQ, R7, "unpaired", imm=0)
        code.helper(FuncId.ktime_get_ns)
        code.emit(mov(R8, R0))
        if self.layout.strings:
            self.note_strings()
        self._filter_exit()
        self.reserve()
        self._fill_header()
        self.fill_words()
        self._copy_strings()
        code.emit(mov(R1, R9), alu(Alu.MOV, R2, imm=0))
        code.helper(FuncId.ringbuf_submit)
        if self.layout.strings:
            code.label("drop")
            self._forget_strings()
        self._leave()
        self._count("lost", Counts.LOST)
        code.goto("drop")
        self._count("unpaired", Counts.UNPAIRED, skip=self.filters.at_entry)
        if not self.layout.strings:
            code.label("drop")
        code.label("out")
        self._leave()

    def _filter_exit(self) -> None:
        code = self.code
        if self.filters.min_duration_ns:
            code.emit(mov(R1, R8), alu(Alu.SUB, R1, R7), lddw(R2, self.filters.min_duration_ns))
            code.jump(Jmp.JLT, R1, "drop", R2)
        if self.filters.errors:
            self.load_result()
            code.jump(Jmp.JLT, R1, "drop", imm=-MAX_ERRNO)

    def reserve(self) -> None:
        """r9 = room for the record; to "lost" if there is none."""
        self.reserve_bytes(self.layout.size)
        self.code.emit(mov(R9, R0))

    def reserve_bytes(self, size: int) -> None:
        code = self.code
        code.map(R1, RING_MAP)
        code.emit(alu(Alu.MOV, R2, imm=size), alu(Alu.MOV, R3, imm=0))
        code.helper(FuncId.ringbuf_reserve)
        code.jump(Jmp.JEQ, R0, "lost", imm=0)

    def _fill_header(self) -> None:
        code = self.code
        code.emit(stx(Size.DW, R9, R7, START_NS), stx(Size.DW, R9, R8, END_NS))
        code.helper(FuncId.get_current_pid_tgid)
        code.emit(stx(Size.DW, R9, R0, PID_TGID))
        code.helper(FuncId.get_smp_processor_id)
        code.emit(stx(Size.W, R9, R0, CPU))
        code.emit(mov(R1, R9), alu(Alu.ADD, R1, imm=COMM), alu(Alu.MOV, R2, imm=COMM_BYTES))
        code.helper(FuncId.get_current_comm)

    def _copy_strings(self) -> None:
        """From the map to the record; the value's start time proves that it is this call's."""
        if not self.layout.strings:
            return
        code = self.code
        self.unless_strings("submit")
        self._strings_key()
        code.helper(FuncId.map_lookup_elem)
        code.jump(Jmp.JEQ, R0, "not saved", imm=0)
        code.emit(ldx(Size.DW, R1, R0))
        code.jump(Jmp.JNE, R1, "not saved", R7)
        for at in range(0, STRING_BYTES * self.layout.strings, 8):
            code.emit(ldx(Size.DW, R1, R0, SAVED_AT + at))
            code.emit(stx(Size.DW, R9, R1, self.layout.strings_at + at))
        code.goto("submit")
        code.label("not saved")
        for place in range(self.layout.strings):
            code.emit(st(Size.DW, R9, self.layout.strings_at + STRING_BYTES * place, NOT_SAVED))
        code.label("submit")

    def _forget_strings(self) -> None:
        self.unless_strings("out")
        self._strings_key()
        self.code.helper(FuncId.map_delete_elem)

    def _count(self, label: str, offset: int, *, skip: bool = False) -> None:
        """Where `label` is: add one to a counter of the counts map."""
        code = self.code
        code.label(label)
        if not skip:
            code.map_value(R1, COUNTS_MAP, offset)
            code.emit(alu(Alu.MOV, R2, imm=1), atomic(Atomic.ADD, Size.DW, R1, R2))

    def _leave(self) -> None:
        self.code.emit(alu(Alu.MOV, R0, imm=0), exit_())


def get_func_arg(code: Code, slot: int, base: int, off: int) -> None:
    """``*(u64 *)(base + off) = word slot of the arguments``."""
    code.emit(mov(R1, R6), alu(Alu.MOV, R2, imm=slot), mov(R3, base), alu(Alu.ADD, R3, imm=off))
    code.helper(FuncId.get_func_arg)


def get_func_ret(code: Code, base: int, off: int) -> None:
    """``*(u64 *)(base + off) = the result``."""
    code.emit(mov(R1, R6), mov(R2, base), alu(Alu.ADD, R2, imm=off))
    code.helper(FuncId.get_func_ret)
