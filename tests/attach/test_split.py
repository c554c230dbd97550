"""A session program becomes two: calls, results, places of relocations and infos."""

from __future__ import annotations

import pytest

from fsession.attach.split import NOT_LOADED, loaded_words, split
from fsession.attach.table import Table
from fsession.btf.encode import Builder
from fsession.btf.types import Func, FuncProto, Int, Param, Ptr
from fsession.errors import UnsupportedError
from fsession.isa.cfg import subprograms
from fsession.isa.disasm import disassemble
from fsession.isa.insn import (
    Insn,
    InsnOff,
    alu,
    atomic,
    call_helper,
    call_kfunc,
    call_local,
    exit_,
    ja,
    jmp,
    lddw,
    ldx,
    mov,
    offsets,
    st,
    stx,
)
from fsession.isa.opcode import R0, R1, R2, R3, R6, R7, R10, Alu, Atomic, Jmp, Pseudo, Size
from fsession.spec import (
    FuncInfo,
    KfuncCall,
    KsymRef,
    LineInfo,
    MapRef,
    MapValueRef,
    ProgramSpec,
    Reloc,
)
from fsession.uapi import AttachType, FuncId, ProgType

DW, W = Size.DW, Size.W
ZERO = alu(Alu.MOV, R0, imm=0)
COOKIE, IS_RETURN = "bpf_session_cookie", "bpf_session_is_return"
TABLE = Table(cpus=2, slots=16)


def program(*insns: Insn, relocs: tuple[Reloc, ...] = (), **more) -> ProgramSpec:
    return ProgramSpec(
        "p", ProgType.TRACING, insns, AttachType.TRACE_FSESSION, relocs=relocs, **more
    )


def body(half: ProgramSpec, skip: int = 0) -> list[str]:
    """The text of a half's main function behind what was put before it, numbers taken off."""
    lines = [line.split(") ", 1)[1] for line in disassemble(half.insns)]
    start = lines.index("r1 = r6") + 1
    return lines[start + skip :]


LEAVE_ENTRY = ["r1 = *(u64 *)(r10 -16)", "*(u64 *)(r1 +0) = 0", "exit"]
LEAVE_EXIT = [
    "r1 = *(u64 *)(r10 -8)",
    "r2 = 0",
    "r2 = atomic64_xchg((u64 *)(r1 -8), r2)",
    *LEAVE_ENTRY,
]
KFUNC = KfuncCall
ROWS = [
    ("nothing", (ZERO, exit_()), (), ["r0 = 0"], ["r0 = 0"]),
    (
        "the side",
        (call_kfunc(0), ZERO, exit_()),
        (KFUNC(InsnOff(0), IS_RETURN),),
        ["r0 = 0", "r0 = 0"],
        ["r0 = 1", "r0 = 0"],
    ),
    (
        "the cookie",
        (call_kfunc(0), ZERO, exit_()),
        (KFUNC(InsnOff(0), COOKIE),),
        ["r0 = *(u64 *)(r10 -8)", "r0 = 0"],
        ["r0 = *(u64 *)(r10 -8)", "r0 = 0"],
    ),
    (
        "are the kfuncs there?",
        (lddw(R3, 0), ZERO, exit_()),
        (KsymRef(InsnOff(0), COOKIE, weak=True),),
        ["r3 = 0x1", "r0 = 0"],
        ["r3 = 0x1", "r0 = 0"],
    ),
    (
        "the result",
        (ldx(DW, R2, R1, 24), ldx(W, R2, R1, 24), ldx(DW, R2, R1, 16), ZERO, exit_()),
        (),
        ["r2 = 0", "r2 = 0", "r2 = *(u64 *)(r1 +16)", "r0 = 0"],
        [
            "r2 = *(u64 *)(r1 +24)",
            "r2 = *(u32 *)(r1 +24)",
            "r2 = *(u64 *)(r1 +16)",
            "r0 = 0",
        ],
    ),
    (
        "the result by the helper",
        (call_helper(FuncId.get_func_ret), ZERO, exit_()),
        (),
        ["*(u64 *)(r2 +0) = 0", "r0 = 0", "r0 = 0"],
        ["call bpf_get_func_ret#184", "r0 = 0"],
    ),
    (
        "the same offset of something else",
        (mov(R2, R10), ldx(DW, R3, R2, 24), ZERO, exit_()),
        (),
        ["r2 = r10", "r3 = *(u64 *)(r2 +24)", "r0 = 0"],
        ["r2 = r10", "r3 = *(u64 *)(r2 +24)", "r0 = 0"],
    ),
]


@pytest.mark.parametrize(
    ("insns", "relocs", "entry", "exit"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_rewritten(insns, relocs, entry, exit):
    halves = split(program(*insns, relocs=relocs), TABLE, return_slot=3)
    assert body(halves.entry) == entry + LEAVE_ENTRY
    assert body(halves.exit) == exit + LEAVE_EXIT


def test_halves():
    """Names and all else stay; attach types and the table are what they must be."""
    spec = program(ZERO, exit_(), sleepable=True, license="Dual MIT/GPL", target="f")
    halves = split(spec, TABLE, 0)
    assert halves.entry.attach_type == AttachType.TRACE_FENTRY
    assert halves.exit.attach_type == AttachType.TRACE_FEXIT
    for half in (halves.entry, halves.exit):
        assert (half.name, half.sleepable, half.license, half.target) == (
            "p",
            True,
            "Dual MIT/GPL",
            "f",
        )
    assert halves.table == TABLE.map_spec()


def test_every_exit_gives_back():
    halves = split(program(jmp(Jmp.JEQ, R1, imm=0, off=2), ZERO, exit_(), ZERO, exit_()), TABLE, 0)
    assert body(halves.exit).count("r2 = atomic64_xchg((u64 *)(r1 -8), r2)") == 2
    assert body(halves.entry) == [
        "if r1 == 0x0 goto pc+4",
        "r0 = 0",
        *LEAVE_ENTRY,
        "r0 = 0",
        *LEAVE_ENTRY,
    ]


@pytest.mark.parametrize(
    ("insns", "lowest"),
    [
        pytest.param((st(DW, R10, -24, 0),), 24, id="direct"),
        pytest.param((stx(W, R10, R1, -20),), 24, id="rounded up"),
        pytest.param((mov(R2, R10), alu(Alu.ADD, R2, imm=-64)), 64, id="a buffer"),
        pytest.param((mov(R2, R10), alu(Alu.ADD, R2, imm=-64), st(DW, R2, -8, 0)), 72, id="below"),
        pytest.param((atomic(Atomic.ADD, DW, R10, R1, -40),), 40, id="atomic"),
    ],
)
def test_stack(insns, lowest):
    """The two addresses lie below everything that the program uses of its stack."""
    half = split(program(*insns, ZERO, exit_()), TABLE, 0).entry
    assert f"r1 = *(u64 *)(r10 -{lowest + 16})" in body(half)


def test_full_stack():
    with pytest.raises(UnsupportedError, match="stack is full"):
        split(program(st(DW, R10, -504, 0), ZERO, exit_()), TABLE, 0)


REFUSED = [
    pytest.param(program(call_helper(FuncId.tail_call), exit_()), "tail_call", id="tail call"),
    pytest.param(
        program(call_kfunc(0), exit_(), relocs=(KFUNC(InsnOff(0), "bpf_throw"),)),
        "bpf_throw",
        id="exception",
    ),
]


@pytest.mark.parametrize(("spec", "word"), REFUSED)
def test_refused(spec, word):
    with pytest.raises(UnsupportedError, match=word):
        split(spec, TABLE, 0)


def typed() -> tuple[Builder, int, int]:
    build = Builder()
    number = build.add(Int("int", 4, 32, 1))
    ctx = build.add(Ptr(build.add(Int("unsigned long long", 8, 64))))
    proto = build.add(FuncProto(number, (Param("ctx", ctx),)))
    return build, build.add(Func("p", proto, 1)), build.add(Func("helper", proto))


def with_subprogram() -> ProgramSpec:
    """main: calls helper, loads a map; helper: asks for the cookie."""
    build, main, helper = typed()
    insns = (
        mov(R6, R1),
        call_local(5),
        lddw(R2, 0),
        ja(0),
        ZERO,
        exit_(),
        call_kfunc(0),
        ldx(DW, R0, R0),
        exit_(),
    )
    lines = [(0, 10), (1, 11), (2, 12), (6, 13), (7, 20), (9, 21)]
    return program(
        *insns,
        relocs=(MapRef(InsnOff(2), "hits"), KFUNC(InsnOff(7), COOKIE)),
        funcs=(FuncInfo(InsnOff(0), main), FuncInfo(InsnOff(7), helper)),
        lines=tuple(LineInfo(InsnOff(at), "p.c", "", line, 1) for at, line in lines),
        types=build.types("p"),
    )


@pytest.mark.parametrize("side", ["entry", "exit"])
def test_subprogram(side):
    """The cookie is found by a function of ours; infos and relocations are where they belong."""
    before = with_subprogram()
    half = getattr(split(before, TABLE, 0), side)
    at = dict(zip(offsets(half.insns), half.insns, strict=False))
    starts = [start for start, _ in subprograms(half.insns)]
    assert [info.at for info in half.funcs] == starts
    assert [half.types[info.type].name for info in half.funcs] == ["p", "helper", "fsession_cookie"]
    assert half.types[half.funcs[0].type] == before.types[before.funcs[0].type]
    lines = {info.at: info.line for info in half.lines}
    assert set(starts) <= lines.keys()
    assert [info.line for info in half.lines][:-1] == [10, 11, 12, 13, 20, 21]
    assert sorted(lines) == [info.at for info in half.lines]
    hits = next(reloc for reloc in half.relocs if isinstance(reloc, MapRef))
    assert at[hits.at] == lddw(R2, 0)
    for reloc in half.relocs:
        if isinstance(reloc, MapValueRef):
            assert at[reloc.at].src == Pseudo.MAP_VALUE
            assert at[reloc.at].imm >> 32 == reloc.offset
            assert reloc.map == TABLE.name
    values = sum(insn.is_lddw and insn.src == Pseudo.MAP_VALUE for insn in half.insns)
    assert sum(isinstance(reloc, MapValueRef) for reloc in half.relocs) == values
    assert not any(isinstance(reloc, KfuncCall) for reloc in half.relocs)


def test_without_infos():
    """A program made without BTF stays without."""
    insns = (call_local(1), exit_(), call_kfunc(0), exit_())
    half = split(program(*insns, relocs=(KFUNC(InsnOff(2), COOKIE),)), TABLE, 0).exit
    assert (half.funcs, half.lines, half.types) == ((), (), None)
    assert len(subprograms(half.insns)) == 3


def test_other_relocations_are_kept():
    relocs = (KFUNC(InsnOff(1), "bpf_get_kmem_cache"), KsymRef(InsnOff(2), "jiffies"))
    half = split(
        program(mov(R7, R1), call_kfunc(0), lddw(R1, 0), ZERO, exit_(), relocs=relocs), TABLE, 0
    )
    kept = [reloc for reloc in half.entry.relocs if not isinstance(reloc, MapValueRef)]
    at = dict(zip(offsets(half.entry.insns), half.entry.insns, strict=False))
    assert [reloc.name for reloc in kept] == ["bpf_get_kmem_cache", "jiffies"]
    assert at[kept[0].at].is_kfunc_call
    assert at[kept[1].at].is_lddw


def test_programs_that_do_not_load_the_result_have_the_same_halves_for_all_functions():
    plain = program(ldx(DW, R2, R1, 8), mov(R0, R2), exit_())
    assert loaded_words(plain) == {1}
    assert split(plain, TABLE, 0) == split(plain, TABLE, 2) == split(plain, TABLE, NOT_LOADED)
    assert split(plain, TABLE, 1).entry != split(plain, TABLE, NOT_LOADED).entry
    assert loaded_words(program(ZERO, exit_())) == frozenset()
