"""The telling lines of verifier logs: of logs in their form, and of this kernel's own."""

from __future__ import annotations

import pytest

from fsession.btf.encode import Builder
from fsession.btf.types import Func, FuncProto, Int
from fsession.errors import VerifierError
from fsession.host import LoadRequest
from fsession.isa.insn import Insn, InsnOff, alu, call_helper, exit_, ja, ldx, stx
from fsession.isa.opcode import R0, R1, R5, R10, Alu, Size
from fsession.kernel import KernelHost
from fsession.kernel.verifier_log import telling_lines
from fsession.spec import FuncInfo, LineInfo
from fsession.uapi import FuncId, ProgType

ZERO = alu(Alu.MOV, R0, imm=0)
SOURCE = "; int x = *p; @ prog.c:7"

LOGS = [
    ("nothing", "", "the kernel gave no reason", ()),
    ("statistics only", "processed 0 insns (limit 1000000)\n", "the kernel gave no reason", ()),
    ("no walk", "unreachable insn 2\nprocessed 0 insns (limit 9)\n", "unreachable insn 2", ()),
    (
        "a reason that starts with a register",
        "0: R1=ctx() R10=fp0\n0: (79) r1 = *(u64 *)(r5 +0)\nR5 !read_ok\nprocessed 1 insns\n",
        "R5 !read_ok",
        ("0: (79) r1 = *(u64 *)(r5 +0)",),
    ),
    (
        "source before the instruction",
        f"0: R1=ctx() R10=fp0\n{SOURCE}\n0: (95) exit\nR0 !read_ok\n",
        "R0 !read_ok",
        (SOURCE, "0: (95) exit"),
    ),
    (
        "a state with marks of liveness, as up to 6.7",
        "1: (95) exit\nR0_w=inv0 R10=fp0\nR0 leaks addr as return value\n",
        "R0 leaks addr as return value",
        (),
    ),
    (
        "states behind the reason",
        "0: (05) goto pc-1\ninfinite loop detected at insn 0\ncur state: R10=fp0\n"
        "old state: R10=fp0\n",
        "infinite loop detected at insn 0",
        ("0: (05) goto pc-1",),
    ),
    (
        "a report in sections, as of 7.3",
        f"{SOURCE}\n0: (95) exit\nR0 !read_ok\n\nVerification failed: Register\n\nReason:\n"
        "  Nothing was written.\n\nAt:\n  insn 0\n\nSuggestion:\n  Write R0\n  first.\n\n"
        "processed 1 insns\n",
        "R0 !read_ok",
        (SOURCE, "0: (95) exit", "Write R0 first."),
    ),
]


@pytest.mark.parametrize(
    ("log", "summary", "lines"), [row[1:] for row in LOGS], ids=[row[0] for row in LOGS]
)
def test_telling_lines(log: str, summary: str, lines: tuple[str, ...]):
    assert telling_lines(log)[0] == summary
    assert set(lines) <= set(telling_lines(log)[1])


REFUSED: list[tuple[str, tuple[Insn, ...], str, str]] = [
    ("a register nobody wrote", (ldx(Size.DW, R1, R5), ZERO, exit_()), "R5 !read_ok", "(79)"),
    ("a number as a pointer", (ZERO, ldx(Size.DW, R1, R0), exit_()), "R0 invalid mem acc", "(79)"),
    ("no result", (exit_(),), "R0 !read_ok", "(95)"),
    ("a wrong argument", (call_helper(FuncId.map_lookup_elem), exit_()), "R1 type=ctx", "(85)"),
    ("outside the stack", (ZERO, ldx(Size.DW, R1, R10, -600), exit_()), "stack R10 off", "(79)"),
    ("a store to the context", (ZERO, stx(Size.DW, R1, R0), exit_()), "bpf_context", "(7b)"),
    ("no such helper", (call_helper(9999), exit_()), "9999", "(85)"),
    ("code never reached", (ZERO, ja(1), ZERO, exit_()), "unreachable insn 2", ""),
]


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("insns", "reason", "insn"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_reason_of_a_refused_program(insns: tuple[Insn, ...], reason: str, insn: str):
    with KernelHost() as host, pytest.raises(VerifierError) as refused:
        host.load(LoadRequest("refused", ProgType.SOCKET_FILTER, insns))
    assert reason in refused.value.summary
    assert insn in "\n".join(refused.value.lines)
    assert refused.value.summary in refused.value.log


@pytest.mark.kernel
def test_source_line_of_a_refused_program():
    build = Builder()
    proto = FuncProto(build.add(Int("int", 4, 32, 1)), ())
    func = build.add(Func("prog", build.add(proto), 1))
    request = LoadRequest(
        "refused",
        ProgType.SOCKET_FILTER,
        (ldx(Size.DW, R1, R5), ZERO, exit_()),
        types=build.types(),
        funcs=(FuncInfo(InsnOff(0), func),),
        lines=(LineInfo(InsnOff(0), "prog.c", "\tint x = *p;", 7, 3),),
    )
    with KernelHost() as host, pytest.raises(VerifierError) as refused:
        host.load(request)
    assert refused.value.summary == "R5 !read_ok"
    assert "int x = *p;" in refused.value.lines[0]


@pytest.mark.kernel
def test_a_log_longer_than_the_first_buffer_is_whole():
    many = (alu(Alu.ADD, R0, imm=1),) * 5000
    request = LoadRequest(
        "refused", ProgType.SOCKET_FILTER, (ZERO, *many, ldx(Size.DW, R1, R5), exit_())
    )
    with KernelHost() as host, pytest.raises(VerifierError) as refused:
        host.load(request)
    lines = refused.value.log.splitlines()
    assert lines[0].startswith("0: ")
    assert len(refused.value.log) > 1 << 16
    assert "R5 !read_ok" in lines
