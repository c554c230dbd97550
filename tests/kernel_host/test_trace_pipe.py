"""Lines of bpf_printk: parsed from text, and read from this kernel's trace_pipe."""

from __future__ import annotations

import struct

import pytest

from fsession.errors import UnsupportedError
from fsession.host import LoadRequest
from fsession.isa.insn import Insn, alu, call_helper, exit_, lddw, mov, stx
from fsession.isa.opcode import R0, R1, R2, R3, R10, Alu, Size
from fsession.kernel import KernelHost
from fsession.kernel.trace_pipe import Messages
from fsession.uapi import FuncId, ProgType

HEAD = "            ping-1432    [001] ...2.  6442.927779: "
PRINTED = HEAD + "bpf_trace_printk: "

LINES: list[tuple[str, list[str], list[str], int]] = [
    ("one", [f"{PRINTED}hello"], ["hello"], 0),
    ("empty message", [PRINTED.rstrip()], [""], 0),
    ("another event", [f"{HEAD}sched_switch: prev_comm=a"], [], 0),
    ("a task with spaces and dashes", [f" a b-c{HEAD.strip()[4:]} bpf_trace_printk: x"], ["x"], 0),
    ("a task without a name", ["  <...>-9  [000] d..1  1.5: bpf_trace_printk: x"], ["x"], 0),
    ("flags of a 5.x kernel", ["ping-1  [000] .... 1.5: bpf_trace_printk: x"], ["x"], 0),
    ("with a thread group", ["ping-1 (  1) [000] .... 1.5: bpf_trace_printk: x"], ["x"], 0),
    ("two lines", [f"{PRINTED}one", "two", f"{PRINTED}three"], ["one", "two", "three"], 0),
    ("newline of its own", [f"{PRINTED}one", "", f"{PRINTED}two"], ["one", "two"], 0),
    ("more of another event", [f"{HEAD}kernel_stack: <stack>", " => f+0x1"], [], 0),
    ("lost", [f"{PRINTED}a", "CPU:1 [LOST 12 EVENTS]", f"{PRINTED}b"], ["a", "b"], 12),
    ("marker in the message", [f"{PRINTED}a: bpf_trace_printk: b"], ["a: bpf_trace_printk: b"], 0),
]


@pytest.mark.parametrize(
    ("lines", "texts", "lost"), [row[1:] for row in LINES], ids=[row[0] for row in LINES]
)
def test_messages(lines: list[str], texts: list[str], lost: int):
    messages = Messages()
    assert [text for line in lines if (text := messages.of(line)) is not None] == texts
    assert messages.lost == lost


def _printing(text: str) -> tuple[Insn, ...]:
    """A program that prints `text` (at most 39 bytes), with 42 as its argument."""
    raw = text.encode() + b"\0"
    insns: list[Insn] = []
    for at in range(0, 40, 8):
        word = struct.unpack_from("<Q", raw.ljust(40, b"\0"), at)[0]
        insns += [lddw(R1, word), stx(Size.DW, R10, R1, at - 40)]
    insns += [mov(R1, R10), alu(Alu.ADD, R1, imm=-40), alu(Alu.MOV, R2, imm=len(raw))]
    insns += [alu(Alu.MOV, R3, imm=42), call_helper(FuncId.trace_printk)]
    return (*insns, alu(Alu.MOV, R0, imm=0), exit_())


@pytest.mark.kernel
def test_what_a_program_prints_is_read():
    with KernelHost() as host:
        try:
            pipe = host.printk_lines()
        except UnsupportedError as error:
            pytest.skip(f"trace_pipe: {error}")
        request = LoadRequest("print", ProgType.RAW_TRACEPOINT, _printing("fsession %d\nand more"))
        with pipe, host.load(request) as program:
            pipe.read(0)
            program.test_run()
            got: list[str] = []
            while len(got) < 2 and (more := pipe.read(5)):
                got += more
            assert got == ["fsession 42", "and more"]
            assert pipe.read(0) == []
