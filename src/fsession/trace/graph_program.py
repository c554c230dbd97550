"""The generated BPF side of a graph: one session program for all of its functions.

What differs between functions, their index and whether they are roots, comes in the attach cookie
(`graph_cookie`), so the same instructions serve a multi link and one link a function. The layout of
records, and of the state of a tree, is `fsession.trace.graph_record`'s.

- At the entry: find the state of this context: the task's, or the CPU's for a softirq, an
  interrupt, an NMI. Where no tree is under way, a root that passes the filters begins one; other
  functions leave. Push a frame, and put its place into the cookie. If it is the first call that
  the one above makes, send the entry of that: its arguments are where its own trampoline saved
  them.
- At the exit: send the call, take its frame off. A frame that is not this call's is no pair.

A frame on top whose call is over (its exit was missed, or it was left without a return) is known by
its address, which lies below that of the new call on the same stack, and is taken off first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fsession.btf.encode import Builder
from fsession.btf.types import Array, Int, TypeId
from fsession.frozen import frozen
from fsession.isa.insn import alu, atomic, exit_, lddw, ldx, mov, st, stx
from fsession.isa.opcode import (
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
    Alu,
    Atomic,
    Jmp,
    Pseudo,
    Size,
)
from fsession.spec import MapSpec, ProgramSpec
from fsession.trace import graph_record as record
from fsession.trace.code import Code
from fsession.trace.graph_record import MAX_DEPTH, Frame, GraphCounts, Kind, State
from fsession.uapi import AttachType, FuncId, MapFlag, MapType, ProgType

if TYPE_CHECKING:
    from fsession.btf.catalog import Types

__all__ = [
    "GRAPH_COUNTS_MAP",
    "GRAPH_RING_MAP",
    "KERNEL_STACK_BYTES",
    "CurrentTask",
    "Level",
    "NoLevel",
    "PerCpu",
    "RootFilters",
    "graph_cookie",
    "graph_maps",
    "graph_program",
    "state_types",
]

GRAPH_RING_MAP = "graph"
GRAPH_COUNTS_MAP = "graph_counts"
TASKS_MAP = "graph_tasks"
CPUS_MAP = "graph_cpus"

LEVELS = 8
"""0 is a task; else a softirq (1), a hard interrupt (2), an NMI (4) or those inside each other."""

_LEVEL_BITS = 3
_NMI_MASK, _HARDIRQ_MASK, _SOFTIRQ_SERVED = 0x00F0_0000, 0x000F_0000, 0x100  # linux/preempt.h
_UNWOUND_AT_ONCE = 4
_ROOT_BIT = 32
KERNEL_STACK_BYTES = 1 << 16
"""At least THREAD_SIZE of every architecture: calls further apart are not inside each other."""
_KEY_OFF, _SPILL_OFF, _LEVEL_OFF = -8, -16, -24
_CREATE = 1  # BPF_LOCAL_STORAGE_GET_F_CREATE
_COMM_BYTES = 16
_DW, _W, _H = Size.DW, Size.W, Size.H


@frozen
class RootFilters:
    """Which calls of a root begin a tree: by a process (tgid), a thread, the thread's name, a
    CPU."""

    pid: int | None = None
    tid: int | None = None
    comm: bytes | None = None
    cpu: int | None = None


class Level(Protocol):
    """Where a kernel keeps the preemption count, which tells interrupts from tasks."""

    def load(self, code: Code) -> None:
        """r9 = the count. Clobbers r0 to r5."""


@frozen
class PerCpu:
    """In a variable of each CPU (x86_64): its BTF id, and where in it the count is."""

    variable: int
    offset: int = 0

    def load(self, code: Code) -> None:
        code.emit(lddw(R1, self.variable, Pseudo.BTF_ID))
        code.helper(FuncId.this_cpu_ptr)
        code.emit(ldx(_W, R9, R0, self.offset))


@frozen
class CurrentTask:
    """In the task (arm64)."""

    offset: int

    def load(self, code: Code) -> None:
        code.helper(FuncId.get_current_task_btf)
        code.emit(ldx(_W, R9, R0, self.offset))


@frozen
class NoLevel:
    """Not known: interrupts count as the task they hit."""

    def load(self, code: Code) -> None:
        code.emit(alu(Alu.MOV, R9, imm=0))


def graph_cookie(index: int, *, root: bool) -> int:
    """The attach cookie of the function with this index in records."""
    return index | root << _ROOT_BIT


def state_types() -> Types:
    """BTF of the key and value of the map of tasks: ids 1 and 3."""
    build = Builder()
    key = build.add(Int("int", 4, 32, 1))
    word = build.add(Int("unsigned long long", 8, 64))
    build.add(Array(word, key, State.BYTES // 8))
    return build.types()


def graph_maps(ring_bytes: int) -> tuple[MapSpec, ...]:
    """Maps of a graph; that of tasks needs `state_types`."""
    types = state_types()
    key, _, value = map(TypeId, types.own_ids())
    return (
        MapSpec(GRAPH_RING_MAP, MapType.RINGBUF, 0, 0, ring_bytes),
        MapSpec(GRAPH_COUNTS_MAP, MapType.ARRAY, 4, record.COUNTS_STRUCT.size, 1),
        MapSpec(CPUS_MAP, MapType.PERCPU_ARRAY, 4, State.BYTES, LEVELS),
        MapSpec(
            TASKS_MAP, MapType.TASK_STORAGE, 4, State.BYTES, 0, MapFlag.NO_PREALLOC, key, value
        ),
    )


def graph_program(
    slots: int, level: Level, filters: RootFilters, stack_bytes: int = KERNEL_STACK_BYTES
) -> ProgramSpec:
    """A session on functions of at most `slots` argument words, linked by their `graph_cookie`."""
    code = _Graph(slots, level, filters, stack_bytes).build()
    return ProgramSpec(
        name="fsession_graph",
        type=ProgType.TRACING,
        insns=code.insns(),
        attach_type=AttachType.TRACE_FSESSION_MULTI,
        relocs=code.relocs,
    )


class _Graph:
    """Registers: r6 context, r7 attach cookie, or the session's at the exit, r8 state, r9 level,
    end time, scratch."""

    def __init__(self, slots: int, level: Level, filters: RootFilters, stack_bytes: int) -> None:
        self.slots = slots
        self.stack_bytes = stack_bytes
        self.level = level
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
        for name in ("missed", "deep", "unpaired", "stateless"):
            code.label(name)
            self._count(name)
            code.goto("out")
        code.label("out")
        code.emit(alu(Alu.MOV, R0, imm=0), exit_())
        return code

    # The entry

    def _entry(self) -> None:
        code = self.code
        code.emit(mov(R1, R6))
        code.helper(FuncId.get_attach_cookie)
        code.emit(mov(R7, R0))
        self._find_level()
        code.emit(stx(_DW, R10, R9, _LEVEL_OFF))
        self._find_state("entry")
        code.jump(Jmp.JEQ, R8, "no state", imm=0)
        code.emit(ldx(_W, R1, R8, State.BUSY))
        code.jump(Jmp.JNE, R1, "missed", imm=0)
        code.emit(ldx(_W, R2, R8, State.DEPTH))
        code.jump(Jmp.JEQ, R2, "begin", imm=0)
        self._nest()
        code.label("push")
        self._push()
        self._begin()

    def _find_level(self) -> None:
        """r9 = level of this context.

        Computed without branches, or the verifier would go through all that follows for each.
        """
        code = self.code
        self.level.load(code)
        code.emit(alu(Alu.AND, R9, imm=_NMI_MASK | _HARDIRQ_MASK | _SOFTIRQ_SERVED))
        code.jump(Jmp.JEQ, R9, "level found", imm=0)
        code.emit(mov(R1, R9), alu(Alu.RSH, R1, imm=8), alu(Alu.AND, R1, imm=1))
        for mask, shift in ((_HARDIRQ_MASK, 1), (_NMI_MASK, 2)):
            code.emit(mov(R2, R9), alu(Alu.AND, R2, imm=mask), alu(Alu.NEG, R2))
            code.emit(alu(Alu.RSH, R2, imm=63), alu(Alu.LSH, R2, imm=shift), alu(Alu.OR, R1, R2))
        code.emit(mov(R9, R1))
        code.label("level found")

    def _find_state(self, side: str) -> None:
        """r8 = the state of level r9, which is clobbered, or 0."""
        code = self.code
        code.jump(Jmp.JNE, R9, f"{side}: no task", imm=0)
        self._task_state(flags=0)
        code.goto(f"{side}: state found")
        code.label(f"{side}: no task")
        code.emit(stx(_W, R10, R9, _KEY_OFF))
        code.emit(mov(R2, R10), alu(Alu.ADD, R2, imm=_KEY_OFF))
        code.map(R1, CPUS_MAP)
        code.helper(FuncId.map_lookup_elem)
        code.label(f"{side}: state found")
        code.emit(mov(R8, R0))

    def _task_state(self, *, flags: int) -> None:
        """r0 = the task's state, or 0."""
        code = self.code
        code.helper(FuncId.get_current_task_btf)
        code.emit(mov(R2, R0), alu(Alu.MOV, R3, imm=0), alu(Alu.MOV, R4, imm=flags))
        code.map(R1, TASKS_MAP)
        code.helper(FuncId.task_storage_get)

    def _nest(self) -> None:
        """A call below another; r2 is the depth, not 0."""
        code = self.code
        code.jump(Jmp.JGE, R2, "deep", imm=MAX_DEPTH)
        code.emit(st(_W, R8, State.BUSY, 1))
        code.emit(stx(_DW, R8, R6, State.SCRATCH), ldx(_DW, R1, R8, State.SCRATCH))
        code.emit(alu(Alu.MOV, R5, imm=0))
        code.label("nest")
        self._top()
        code.emit(ldx(_DW, R4, R3, State.FRAMES + Frame.CONTEXT))
        code.emit(alu(Alu.SUB, R4, R1), alu(Alu.SUB, R4, imm=1))
        code.jump(Jmp.JGE, R4, "left", imm=self.stack_bytes)
        code.label("nested")
        code.emit(ldx(_W, R1, R3, State.FRAMES + Frame.SENT))
        code.jump(Jmp.JNE, R1, "push", imm=0)
        code.emit(st(_W, R3, State.FRAMES + Frame.SENT, 1))
        self._send_entry()
        code.goto("push")
        code.label("left")
        self._other_stack()
        code.label("over")
        self._unwind()

    def _other_stack(self) -> None:
        """A task has one stack: what lies far away from it is an interrupt's, or an exception's,
        where the count of interrupts is not up yet, or no more. r4 is how far below the top.
        """
        code = self.code
        code.emit(alu(Alu.ADD, R4, imm=self.stack_bytes))
        code.jump(Jmp.JLT, R4, "over", imm=self.stack_bytes)
        code.emit(ldx(_DW, R4, R10, _LEVEL_OFF))
        code.jump(Jmp.JEQ, R4, "nested", imm=0)

    def _top(self) -> None:
        """r3: the frame of the call above is at r3 + `State.FRAMES`; r2 is the depth."""
        code = self.code
        code.emit(mov(R3, R2), alu(Alu.SUB, R3, imm=1), alu(Alu.AND, R3, imm=MAX_DEPTH - 1))
        code.emit(alu(Alu.LSH, R3, imm=Frame.SHIFT), alu(Alu.ADD, R3, R8))

    def _unwind(self) -> None:
        """Take off the frame on top, whose call is over; r1 is the context, r2 the depth.

        After some of them, which r5 counts, all: the tree is over.
        """
        code = self.code
        code.map_value(R3, GRAPH_COUNTS_MAP, GraphCounts.offset("abandoned"))
        code.jump(Jmp.JEQ, R5, "all over", imm=_UNWOUND_AT_ONCE)
        code.emit(alu(Alu.MOV, R4, imm=1), atomic(Atomic.ADD, _DW, R3, R4))
        code.emit(alu(Alu.ADD, R5, imm=1))
        code.emit(alu(Alu.SUB, R2, imm=1), alu(Alu.AND, R2, imm=MAX_DEPTH - 1))
        code.emit(stx(_W, R8, R2, State.DEPTH))
        code.jump(Jmp.JNE, R2, "nest", imm=0)
        code.label("all over")
        code.emit(atomic(Atomic.ADD, _DW, R3, R2))
        code.emit(st(_W, R8, State.DEPTH, 0), st(_W, R8, State.BUSY, 0))
        code.goto("begin")

    def _send_entry(self) -> None:
        """The record of the call above."""
        code = self.code
        self._reserve("entry lost")
        code.emit(ldx(_W, R2, R8, State.DEPTH))
        self._top()
        code.emit(mov(R9, R0), alu(Alu.SUB, R2, imm=1), stx(_H, R9, R2, record.DEPTH))
        code.emit(st(_H, R9, record.KIND, Kind.ENTRY), st(_DW, R9, record.END_NS, 0))
        code.emit(st(_DW, R9, record.RESULT, 0))
        self._fill_header()
        code.emit(ldx(_W, R1, R3, State.FRAMES + Frame.ORDER), alu(Alu.ADD, R1, imm=1))
        code.emit(stx(_W, R9, R1, record.NEXT))
        code.emit(ldx(_DW, R3, R3, State.FRAMES + Frame.CONTEXT))
        if self.slots:
            code.emit(mov(R1, R9), alu(Alu.ADD, R1, imm=record.SLOTS))
            code.emit(alu(Alu.MOV, R2, imm=8 * self.slots))
            code.helper(FuncId.probe_read_kernel)
        self._submit()
        code.goto("push")
        code.label("entry lost")
        self._count("lost_entries")

    def _push(self) -> None:
        """A frame for this call; its place goes into the session's cookie."""
        code = self.code
        code.emit(ldx(_W, R2, R8, State.DEPTH), alu(Alu.AND, R2, imm=MAX_DEPTH - 1))
        code.emit(mov(R9, R2), alu(Alu.LSH, R9, imm=Frame.SHIFT), alu(Alu.ADD, R9, R8))
        code.emit(alu(Alu.ADD, R2, imm=1), stx(_W, R8, R2, State.DEPTH))
        code.emit(alu(Alu.LSH, R2, imm=_LEVEL_BITS))
        code.emit(ldx(_DW, R1, R10, _LEVEL_OFF), alu(Alu.OR, R2, R1))
        code.emit(stx(_DW, R10, R2, _SPILL_OFF))
        frame = State.FRAMES
        code.emit(ldx(_W, R1, R9, frame - Frame.BYTES + Frame.ORDER))
        code.emit(stx(_W, R9, R1, frame + Frame.PARENT))
        code.emit(ldx(_W, R1, R8, State.NEXT_ORDER), stx(_W, R9, R1, frame + Frame.ORDER))
        code.emit(alu(Alu.ADD, R1, imm=1), stx(_W, R8, R1, State.NEXT_ORDER))
        code.emit(stx(_DW, R9, R6, frame + Frame.CONTEXT), stx(_W, R9, R7, frame + Frame.FUNCTION))
        code.emit(st(_W, R9, frame + Frame.SENT, 0), mov(R1, R6))
        code.kfunc("bpf_session_cookie")
        code.emit(ldx(_DW, R1, R10, _SPILL_OFF), stx(_DW, R0, R1))
        code.emit(st(_W, R8, State.BUSY, 0))
        code.helper(FuncId.ktime_get_ns)
        code.emit(stx(_DW, R9, R0, frame + Frame.START_NS))
        code.goto("out")

    def _begin(self) -> None:
        """No tree is under way: a root begins one."""
        code = self.code
        code.label("no state")
        self._only_roots()
        self._task_state(flags=_CREATE)
        code.jump(Jmp.JEQ, R0, "stateless", imm=0)
        code.emit(mov(R8, R0))
        code.goto("new tree")
        code.label("begin")
        self._only_roots()
        code.label("new tree")
        code.emit(st(_W, R8, State.BUSY, 1))
        code.helper(FuncId.get_current_pid_tgid)
        code.emit(stx(_DW, R8, R0, State.PID_TGID))
        for at in range(0, _COMM_BYTES, 8):  # Linux 6.1 leaves what was behind the name
            code.emit(st(_DW, R8, State.COMM + at, 0))
        code.emit(mov(R1, R8), alu(Alu.ADD, R1, imm=State.COMM), alu(Alu.MOV, R2, imm=_COMM_BYTES))
        code.helper(FuncId.get_current_comm)
        self._filter()
        code.map_value(R1, GRAPH_COUNTS_MAP, GraphCounts.offset("trees"))
        code.emit(alu(Alu.MOV, R2, imm=1), atomic(Atomic.FETCH_ADD, _DW, R1, R2))
        code.emit(alu(Alu.ADD, R2, imm=1), stx(_DW, R8, R2, State.TREE))
        code.emit(st(_W, R8, State.DEPTH, 0), st(_W, R8, State.NEXT_ORDER, 0))
        code.emit(st(_W, R8, State.FIRST_PARENT, -1))
        code.goto("push")
        if self.filters != RootFilters():
            code.label("filtered")
            code.emit(st(_W, R8, State.BUSY, 0))
            code.goto("out")

    def _only_roots(self) -> None:
        self.code.emit(mov(R1, R7), alu(Alu.RSH, R1, imm=_ROOT_BIT))
        self.code.jump(Jmp.JEQ, R1, "out", imm=0)

    def _filter(self) -> None:
        """To "filtered" if the task that is in the state, or the CPU, is not wanted."""
        code, wanted = self.code, self.filters
        for number, shift in ((wanted.pid, 32), (wanted.tid, 0)):
            if number is not None:
                code.emit(ldx(_W, R1, R8, State.PID_TGID + shift // 8))
                code.jump(Jmp.JNE, R1, "filtered", imm=number)
        if wanted.comm is not None:
            padded = wanted.comm.ljust(_COMM_BYTES, b"\0")
            for at in range(0, _COMM_BYTES, 8):
                code.emit(ldx(_DW, R1, R8, State.COMM + at))
                code.emit(lddw(R2, int.from_bytes(padded[at : at + 8], "little")))
                code.jump(Jmp.JNE, R1, "filtered", R2)
        if wanted.cpu is not None:
            code.helper(FuncId.get_smp_processor_id)
            code.jump(Jmp.JNE, R0, "filtered", imm=wanted.cpu)

    # The exit

    def _exit(self) -> None:
        code = self.code
        code.emit(mov(R1, R6))
        code.kfunc("bpf_session_cookie")
        code.emit(ldx(_DW, R7, R0))
        code.jump(Jmp.JEQ, R7, "out", imm=0)
        code.helper(FuncId.ktime_get_ns)
        code.emit(stx(_DW, R10, R0, _LEVEL_OFF))
        code.emit(mov(R9, R7), alu(Alu.AND, R9, imm=LEVELS - 1))
        code.emit(alu(Alu.RSH, R7, imm=_LEVEL_BITS))
        self._find_state("exit")
        code.jump(Jmp.JEQ, R8, "unpaired", imm=0)
        code.emit(ldx(_W, R1, R8, State.BUSY))
        code.jump(Jmp.JNE, R1, "missed", imm=0)
        code.emit(ldx(_W, R1, R8, State.DEPTH))
        code.jump(Jmp.JLT, R1, "unpaired", R7)
        code.emit(mov(R2, R7))
        self._top()
        code.emit(ldx(_DW, R2, R3, State.FRAMES + Frame.CONTEXT))
        code.jump(Jmp.JNE, R2, "unpaired", R6)
        code.emit(st(_W, R8, State.BUSY, 1), alu(Alu.SUB, R1, R7))
        code.jump(Jmp.JEQ, R1, "on top", imm=0)
        code.map_value(R2, GRAPH_COUNTS_MAP, GraphCounts.offset("abandoned"))
        code.emit(atomic(Atomic.ADD, _DW, R2, R1))
        code.label("on top")
        self._send_exit()
        code.label("pop")
        code.emit(alu(Alu.SUB, R7, imm=1), stx(_W, R8, R7, State.DEPTH))
        code.emit(st(_W, R8, State.BUSY, 0))
        code.goto("out")
        code.label("lost")
        self._count("lost")
        code.goto("pop")

    def _send_exit(self) -> None:
        code = self.code
        self._reserve("lost")
        code.emit(mov(R9, R0), mov(R2, R7))
        self._top()
        code.emit(alu(Alu.SUB, R2, imm=1), stx(_H, R9, R2, record.DEPTH))
        code.emit(st(_H, R9, record.KIND, Kind.EXIT), ldx(_DW, R1, R10, _LEVEL_OFF))
        code.emit(stx(_DW, R9, R1, record.END_NS))
        code.emit(ldx(_W, R1, R8, State.NEXT_ORDER), stx(_W, R9, R1, record.NEXT))
        self._fill_header()
        code.emit(mov(R1, R6), mov(R2, R9), alu(Alu.ADD, R2, imm=record.RESULT))
        code.helper(FuncId.get_func_ret)
        self._fill_slots()
        self._submit()

    def _fill_slots(self) -> None:
        code = self.code
        if not self.slots:
            return
        code.emit(mov(R1, R6))
        code.helper(FuncId.get_func_arg_cnt)
        code.emit(stx(_DW, R10, R0, _KEY_OFF))
        for slot in range(self.slots):
            code.emit(ldx(_DW, R0, R10, _KEY_OFF))
            code.jump(Jmp.JLE, R0, "filled", imm=slot)
            code.emit(mov(R1, R6), alu(Alu.MOV, R2, imm=slot), mov(R3, R9))
            code.emit(alu(Alu.ADD, R3, imm=record.SLOTS + 8 * slot))
            code.helper(FuncId.get_func_arg)
        code.label("filled")

    # Both

    def _reserve(self, full: str) -> None:
        """r0 = a record; to `full` if there is no room."""
        code = self.code
        code.map(R1, GRAPH_RING_MAP)
        code.emit(alu(Alu.MOV, R2, imm=record.record_bytes(self.slots)), alu(Alu.MOV, R3, imm=0))
        code.helper(FuncId.ringbuf_reserve)
        code.jump(Jmp.JEQ, R0, full, imm=0)

    def _fill_header(self) -> None:
        """From the state r8 and the frame of r3 to the record r9. Keeps r3."""
        code = self.code
        frame = State.FRAMES
        copies = (
            (_DW, R8, State.TREE, record.TREE),
            (_W, R3, frame + Frame.ORDER, record.ORDER),
            (_W, R3, frame + Frame.PARENT, record.PARENT),
            (_DW, R3, frame + Frame.START_NS, record.START_NS),
            (_DW, R8, State.PID_TGID, record.PID_TGID),
            (_W, R3, frame + Frame.FUNCTION, record.FUNCTION),
            (_DW, R8, State.COMM, record.COMM),
            (_DW, R8, State.COMM + 8, record.COMM + 8),
        )
        code.emit(stx(_DW, R10, R3, _SPILL_OFF))
        code.helper(FuncId.get_smp_processor_id)
        code.emit(stx(_W, R9, R0, record.CPU), ldx(_DW, R3, R10, _SPILL_OFF))
        for size, base, source, target in copies:
            code.emit(ldx(size, R1, base, source), stx(size, R9, R1, target))

    def _submit(self) -> None:
        code = self.code
        code.emit(mov(R1, R9), alu(Alu.MOV, R2, imm=0))
        code.helper(FuncId.ringbuf_submit)

    def _count(self, name: str) -> None:
        code = self.code
        code.map_value(R1, GRAPH_COUNTS_MAP, GraphCounts.offset(name))
        code.emit(alu(Alu.MOV, R2, imm=1), atomic(Atomic.ADD, _DW, R1, R2))
