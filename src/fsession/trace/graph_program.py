"""The generated BPF side of a graph: one session program for all of its functions.

What differs between functions, their index, their argument words and whether they are roots, comes
in the attach cookie (`graph_cookie`), so the same instructions serve a multi link and one link a
function. The layout of records, and of the state of a tree, is `fsession.trace.graph_record`'s.

- At the entry (`graph_entry`): find the state of this context: the task's, or the CPU's for a
  softirq, an interrupt, an NMI. Where no tree is under way, a root that passes the filters begins
  one; other functions leave. Push a frame, and put its place into the cookie. If it is the first
  call that the one above makes, send the entry of that: its arguments are where its own trampoline
  saved them.
- At the exit (`graph_exit`): take the call's frame off, and send the call. A frame that is not this
  call's is no pair.

A frame on top whose call is over (its exit was missed, or it was left without a return) is known by
its address, which lies below that of the new call on the same stack, and is taken off first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.encode import Builder
from fsession.btf.types import Array, Int, TypeId
from fsession.isa.insn import alu, exit_, mov
from fsession.isa.opcode import R0, R1, R6, Alu, Jmp
from fsession.spec import MapSpec, ProgramSpec
from fsession.trace.code import Code
from fsession.trace.graph_code import (
    CPUS_MAP,
    GRAPH_COUNTS_MAP,
    GRAPH_RING_MAP,
    KERNEL_STACK_BYTES,
    TASKS_MAP,
    Making,
    Part,
    RootFilters,
    count,
)
from fsession.trace.graph_entry import build_entry
from fsession.trace.graph_exit import build_exit
from fsession.trace.graph_level import LEVELS
from fsession.trace.graph_record import COUNTS_STRUCT, State
from fsession.uapi import AttachType, MapFlag, MapType, ProgType

if TYPE_CHECKING:
    from fsession.btf.catalog import Types

__all__ = [
    "GRAPH_COUNTS_MAP",
    "GRAPH_RING_MAP",
    "KERNEL_STACK_BYTES",
    "Making",
    "Part",
    "RootFilters",
    "graph_maps",
    "graph_program",
    "state_types",
]


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
        MapSpec(GRAPH_COUNTS_MAP, MapType.ARRAY, 4, COUNTS_STRUCT.size, 1),
        MapSpec(CPUS_MAP, MapType.PERCPU_ARRAY, 4, State.BYTES, LEVELS),
        MapSpec(
            TASKS_MAP, MapType.TASK_STORAGE, 4, State.BYTES, 0, MapFlag.NO_PREALLOC, key, value
        ),
    )


def graph_program(making: Making) -> ProgramSpec:
    """A session on functions that are linked by their `graph_cookie`."""
    code = Code()
    code.emit(mov(R6, R1))
    code.kfunc("bpf_session_is_return")
    code.jump(Jmp.JNE, R0, "exit", imm=0)
    build_entry(code, making)
    for name in ("deep", "unpaired", "stateless", *(() if making.alone else ("missed",))):
        code.label(name)
        count(code, name)
        code.goto("out")
    build_exit(code, making)
    code.label("out")
    code.emit(alu(Alu.MOV, R0, imm=0), exit_())
    for kind, parts in (("condition", making.conditions), ("values", making.values)):
        for number, part in enumerate(parts):
            code.function(f"function of {kind} {number}", part.insns, part.relocs)
    return ProgramSpec(
        name="fsession_graph",
        type=ProgType.TRACING,
        insns=code.insns(),
        attach_type=AttachType.TRACE_FSESSION_MULTI,
        relocs=code.relocs,
    )
