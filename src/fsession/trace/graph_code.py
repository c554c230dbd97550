"""What both sides of a graph's program have in common: where its state is, and its records.

Registers: r6 context, r7 attach cookie or a frame, r8 state, r9 level or a record. A frame is
`State.FRAMES` behind what its register says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.frozen import frozen
from fsession.isa.insn import alu, atomic, ldx, mov, st, stx
from fsession.isa.opcode import R0, R1, R2, R3, R4, R8, R9, R10, Alu, Atomic, Jmp, Size
from fsession.trace import graph_record as record
from fsession.trace.graph_record import Frame, GraphCounts, State
from fsession.uapi import FuncId

if TYPE_CHECKING:
    from fsession.btf.types import TypeId
    from fsession.isa.insn import Insn
    from fsession.spec import Reloc
    from fsession.trace.code import Code
    from fsession.trace.graph_level import Level

__all__ = [
    "CPUS_MAP",
    "GRAPH_COUNTS_MAP",
    "GRAPH_RING_MAP",
    "KERNEL_STACK_BYTES",
    "KEY_OFF",
    "SPILL_OFF",
    "TASKS_MAP",
    "Making",
    "Part",
    "RootFilters",
    "check_free",
    "count",
    "fill_header",
    "find_state",
    "leave",
    "reserve",
    "submit",
    "take",
    "task_state",
]

GRAPH_RING_MAP = "graph"
GRAPH_COUNTS_MAP = "graph_counts"
TASKS_MAP = "graph_tasks"
CPUS_MAP = "graph_cpus"

KERNEL_STACK_BYTES = 1 << 16
"""At least THREAD_SIZE of every architecture: calls further apart are not inside each other."""

KEY_OFF, SPILL_OFF = -8, -16
_W, _DW, _H = Size.W, Size.DW, Size.H


@frozen
class RootFilters:
    """Which calls of a root begin a tree: by a process (tgid), a thread, the thread's name, a
    CPU, expressions."""

    pid: int | None = None
    tid: int | None = None
    comm: bytes | None = None
    cpu: int | None = None
    conditions: tuple[str, ...] = ()


@frozen
class Part:
    """A function that was compiled for those of the graph with one of `indices`."""

    indices: tuple[int, ...]
    insns: tuple[Insn, ...]
    relocs: tuple[Reloc, ...]


@frozen
class Making:
    """What a program is made for.

    `slots`: argument words of the function with most. `words`: a struct of the kernel that begins
    with as many members of 8 bytes, as which ``bpf_rdonly_cast`` lets them be read (Linux 6.2);
    without one, a helper reads each. `alone`: it is the only program of the graph, so the kernel
    itself keeps it from running inside itself. `texts`: of the function with most. `stack`: that
    above a root is sent. `conditions` are what `filters` has of them: functions of the context that
    say whether a root begins a tree. `values` are functions of the context, the tree and the call's
    order, which send what is shown of its arguments.
    """

    slots: int
    level: Level
    filters: RootFilters = RootFilters()
    stack_bytes: int = KERNEL_STACK_BYTES
    words: TypeId | None = None
    alone: bool = False
    texts: int = 0
    stack: bool = False
    conditions: tuple[Part, ...] = ()
    values: tuple[Part, ...] = ()

    @property
    def has_notes(self) -> bool:
        """Whether other records are sent than those of calls."""
        return bool(self.texts or self.stack or self.values)


def find_state(code: Code, side: str, level: int) -> None:
    """r8 = the state of the level in the register `level`, at the label `side`: of no task."""
    code.emit(stx(_W, R10, level, KEY_OFF), mov(R2, R10), alu(Alu.ADD, R2, imm=KEY_OFF))
    code.map(R1, CPUS_MAP)
    code.helper(FuncId.map_lookup_elem)
    code.goto(side)


def task_state(code: Code, *, flags: int = 0) -> None:
    """r0 = the task's state, or 0."""
    code.helper(FuncId.get_current_task_btf)
    code.emit(mov(R2, R0), alu(Alu.MOV, R3, imm=0), alu(Alu.MOV, R4, imm=flags))
    code.map(R1, TASKS_MAP)
    code.helper(FuncId.task_storage_get)


def check_free(code: Code, making: Making) -> None:
    """To "missed" if another run has the state. Clobbers r1."""
    if not making.alone:
        code.emit(ldx(_W, R1, R8, State.BUSY))
        code.jump(Jmp.JNE, R1, "missed", imm=0)


def take(code: Code, making: Making) -> None:
    """The state is this run's."""
    if not making.alone:
        code.emit(st(_W, R8, State.BUSY, 1))


def leave(code: Code, making: Making) -> None:
    """The state is no one's."""
    if not making.alone:
        code.emit(st(_W, R8, State.BUSY, 0))


def reserve(code: Code, size: int, full: str) -> None:
    """r9 = a record; to `full` if there is no room."""
    code.map(R1, GRAPH_RING_MAP)
    code.emit(alu(Alu.MOV, R2, imm=size), alu(Alu.MOV, R3, imm=0))
    code.helper(FuncId.ringbuf_reserve)
    code.jump(Jmp.JEQ, R0, full, imm=0)
    code.emit(mov(R9, R0))


def fill_header(code: Code, frame: int) -> None:
    """Of the record r9: what it takes from the state and from the frame in a saved register."""
    code.helper(FuncId.get_smp_processor_id)
    code.emit(stx(_W, R9, R0, record.CPU))
    for base, source, target, size in (
        (R8, State.TREE, record.TREE, _DW),
        (frame, State.FRAMES + Frame.ORDER, record.ORDER, _DW),  # and the parent
        (R8, State.NEXT_ORDER, record.NEXT, _DW),  # and the depth
        (frame, State.FRAMES + Frame.START_NS, record.START_NS, _DW),
        (R8, State.PID_TGID, record.PID_TGID, _DW),
        (frame, State.FRAMES + Frame.FUNCTION, record.FUNCTION, _W),
        (R8, State.COMM, record.COMM, _DW),
        (R8, State.COMM + 8, record.COMM + 8, _DW),
    ):
        code.emit(ldx(size, R1, base, source), stx(size, R9, R1, target))


def submit(code: Code, kind: int) -> None:
    """The kind comes last: it lies in the upper half of the depth."""
    code.emit(st(_H, R9, record.KIND, kind), mov(R1, R9), alu(Alu.MOV, R2, imm=0))
    code.helper(FuncId.ringbuf_submit)


def count(code: Code, name: str) -> None:
    code.map_value(R1, GRAPH_COUNTS_MAP, GraphCounts.offset(name))
    code.emit(alu(Alu.MOV, R2, imm=1), atomic(Atomic.ADD, _DW, R1, R2))
