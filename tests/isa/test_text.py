"""Instructions to the verifier's notation and back; labels; errors with their place."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsession.errors import CompileError
from fsession.isa import asm, disasm
from fsession.isa.asm import assemble
from fsession.isa.disasm import disassemble, format_insn, helper_name, helper_number, xlated
from fsession.isa.insn import (
    Insn,
    alu,
    alu32,
    atomic,
    call_helper,
    call_kfunc,
    call_local,
    exit_,
    ja,
    jmp,
    jmp32,
    lddw,
    ldx,
    load_map_fd,
    load_map_value,
    mov,
    mov32,
    stx,
)
from fsession.isa.insn import st as store
from fsession.isa.notation import RAW, rules, shapes
from fsession.isa.opcode import Alu, Atomic, Jmp, Pseudo, Size

from .strategies import ANY, VALID

B, H, W, DW = Size.B, Size.H, Size.W, Size.DW

BOTH_WAYS = [
    ("r6 = r1", mov(6, 1)),
    ("w6 = w1", mov32(6, 1)),
    ("r0 = -1", alu(Alu.MOV, 0, imm=-1)),
    ("w0 = 1", alu32(Alu.MOV, 0, imm=1)),
    ("r1 += -8", alu(Alu.ADD, 1, imm=-8)),
    ("w1 s>>= w2", alu32(Alu.ARSH, 1, 2)),
    ("r1 s/= r2", alu(Alu.DIV, 1, 2, off=1)),
    ("w1 s%= 5", alu32(Alu.MOD, 1, imm=5, off=1)),
    ("r1 = (s32)r2", alu(Alu.MOV, 1, 2, off=32)),
    ("w1 = (s8)w2", alu32(Alu.MOV, 1, 2, off=8)),
    ("r3 = -r3", alu(Alu.NEG, 3)),
    ("w3 = -w3", alu32(Alu.NEG, 3)),
    ("r1 = be16 r1", Insn(0xDC, 1, imm=16)),
    ("r1 = le64 r1", Insn(0xD4, 1, imm=64)),
    ("r1 = bswap32 r1", Insn(0xD7, 1, imm=32)),
    ("r1 = addr_space_cast(r2, 1, 0)", Insn(0xBF, 1, 2, 1, 0x10000)),
    ("r1 = addr_space_cast(r2, 65535, 1)", Insn(0xBF, 1, 2, 1, -65535)),
    ("r0 = *(u64 *)(r1 +8)", ldx(DW, 0, 1, 8)),
    ("r0 = *(s16 *)(r1 -2)", ldx(H, 0, 1, -2, signed=True)),
    ("*(u32 *)(r10 -4) = r1", stx(W, 10, 1, -4)),
    ("*(u8 *)(r10 -1) = -5", store(B, 10, -1, -5)),
    ("r0 = *(u16 *)skb[12]", Insn(0x28, imm=12)),
    ("r0 = *(u8 *)skb[r2 + -1]", Insn(0x50, src=2, imm=-1)),
    ("lock *(u64 *)(r1 +0) += r2", atomic(Atomic.ADD, DW, 1, 2)),
    ("lock *(u32 *)(r1 +4) ^= r2", atomic(Atomic.XOR, W, 1, 2, 4)),
    ("r2 = atomic64_fetch_add((u64 *)(r1 +0), r2)", atomic(Atomic.FETCH_ADD, DW, 1, 2)),
    ("r2 = atomic_xchg((u32 *)(r1 +0), r2)", atomic(Atomic.XCHG, W, 1, 2)),
    ("r0 = atomic64_cmpxchg((u64 *)(r1 -8), r0, r2)", atomic(Atomic.CMPXCHG, DW, 1, 2, -8)),
    ("r2 = load_acquire((u16 *)(r1 +0))", atomic(Atomic.LOAD_ACQ, H, 2, 1)),
    ("store_release((u8 *)(r1 +0), r2)", atomic(Atomic.STORE_REL, B, 1, 2)),
    ("r1 = 0xdeadbeef", lddw(1, 0xDEADBEEF)),
    ("r1 = 0xffffffffffffffff", lddw(1, -1)),
    ("r1 = map[fd:5]", load_map_fd(1, 5)),
    ("r1 = map[fd:5][0]+16", load_map_value(1, 5, 16)),
    ("r1 = map[idx:1]", lddw(1, 1, Pseudo.MAP_IDX)),
    ("r1 = map[idx:1]+8", lddw(1, 1 | 8 << 32, Pseudo.MAP_IDX_VALUE)),
    ("r1 = btf[fd:3][id:77]", lddw(1, 77 | 3 << 32, Pseudo.BTF_ID)),
    ("r2 = subprog[-4]", lddw(2, 0xFFFF_FFFC, Pseudo.FUNC)),
    ("if r0 == 0x0 goto pc+3", jmp(Jmp.JEQ, 0, imm=0, off=3)),
    ("if r0 s< 0xffffffff goto pc-3", jmp(Jmp.JSLT, 0, imm=-1, off=-3)),
    ("if w1 & w2 goto pc+0", jmp32(Jmp.JSET, 1, 2)),
    ("goto pc-1", ja(-1)),
    ("gotol pc+70000", Insn(0x06, imm=70000)),
    ("gotox r3", Insn(0x0D, 3)),
    ("may_goto pc+2", Insn(0xE5, off=2)),
    ("call bpf_ktime_get_ns#5", call_helper(5)),
    ("call unknown#100000", call_helper(100000)),
    ("call kernel-function#77", call_kfunc(77)),
    ("call kernel-function#77 fd_array[2]", call_kfunc(77, 2)),
    ("call pc+2", call_local(2)),
    ("exit", exit_()),
    (".insn 0xff, r1, r2, -3, -4", Insn(0xFF, 1, 2, -3, -4)),
    (".insn 0x95, r0, r0, 0, 7", Insn(0x95, imm=7)),  # a field that should be 0
    (".insn 0x85, r1, r0, 0, 5", Insn(0x85, 1, 0, 0, 5)),
    (".insn 0x18, r1, r1, 0, 4294967296", lddw(1, 1 << 32, Pseudo.MAP_FD)),
]


@pytest.mark.parametrize(("text", "insn"), BOTH_WAYS, ids=[text for text, _ in BOTH_WAYS])
def test_text_both_ways(text, insn):
    assert format_insn(insn) == text
    assert assemble(text) == (insn,)


SPELLINGS = [
    ("r1 = 5 ll", lddw(1, 5)),
    ("r1 = -1 ll", lddw(1, -1)),
    ("r1 = 0x5 ll", lddw(1, 5)),
    ("r1 += 0x10", alu(Alu.ADD, 1, imm=16)),
    ("w1 &= 0xffffffff", alu32(Alu.AND, 1, imm=-1)),
    ("if r1 > 3 goto +2", jmp(Jmp.JGT, 1, imm=3, off=2)),
    ("if r1 > -1 goto pc+2", jmp(Jmp.JGT, 1, imm=-1, off=2)),
    ("goto -3", ja(-3)),
    ("r0 = *(u64*)(r1+8)", ldx(DW, 0, 1, 8)),
    ("r0 = *(u64 *)(r1 - 8)", ldx(DW, 0, 1, -8)),
    ("call 5", call_helper(5)),
    ("call bpf_ktime_get_ns", call_helper(5)),
    ("call bpf_session_cookie#21337", call_kfunc(21337)),
    ("call pc+2#bpf_prog_1234_f", call_local(2)),
    ("  12: (b7) r1 = 5", alu(Alu.MOV, 1, imm=5)),
    ("r1 = 5 ; R1_w=5", alu(Alu.MOV, 1, imm=5)),
    ("call 5 # by number", call_helper(5)),
    ("exit // done", exit_()),
]


@pytest.mark.parametrize(("text", "insn"), SPELLINGS, ids=[text for text, _ in SPELLINGS])
def test_other_spellings_of_the_same(text, insn):
    assert assemble(text) == (insn,)


@settings(max_examples=500)
@given(VALID)
def test_every_valid_instruction_has_a_text_of_its_own(insn):
    text = format_insn(insn)
    assert not text.startswith(".insn")
    assert assemble(text) == (insn,)


@settings(max_examples=500)
@given(ANY)
def test_any_fields_survive_the_text(insn):
    assert assemble(format_insn(insn)) == (insn,)


@given(st.lists(VALID, max_size=20))
def test_a_listing_is_assembler_text(insns):
    assert assemble("\n".join(disassemble(insns))) == tuple(insns)


def test_no_two_instructions_are_written_alike():
    assert len(shapes()) == sum(len(group) for group in rules().values()) + 1
    assert RAW in [rule for rule, _ in shapes().values()]


PROGRAM = """
; counts r1 down
main:  r6 = r1
       r1 = subprog[double]     # the address, two slots
loop:  r1 = r6
       call double
       r6 -= 1
       if r6 != 0 goto loop
       if w0 s> 7 goto out
       goto out
out:   exit

double: r0 = r1
        gotol end
end:    may_goto double
        exit
"""


def test_labels():
    assert assemble(PROGRAM) == (
        mov(6, 1),
        lddw(1, 8, Pseudo.FUNC),
        mov(1, 6),
        call_local(5),
        alu(Alu.SUB, 6, imm=1),
        jmp(Jmp.JNE, 6, imm=0, off=-4),
        jmp32(Jmp.JSGT, 0, imm=7, off=1),
        ja(0),
        exit_(),
        mov(0, 1),
        Insn(0x06, imm=0),
        Insn(0xE5, off=-3),
        exit_(),
    )


def test_a_label_named_like_a_helper_is_the_label_only_where_no_helper_has_the_name():
    assert assemble("call f\nexit\nf: exit")[0] == call_local(1)
    assert assemble("call bpf_loop\nbpf_loop: exit")[0] == call_helper(181)


ERRORS = [
    ("unknown instruction", "foo r1", (1, 1), "no instruction has 'foo' here"),
    ("no such register", "exit\n  r11 = 3", (2, 3), "register r11 does not exist"),
    ("something left over", "r1 = 5 6", (1, 8), "no instruction has '6' here"),
    ("something missing", "r1 +=  ; why", (1, 6), "the instruction is not complete"),
    ("no such label", "a: if r1 > 3 goto b", (1, 19), "no label 'b'"),
    ("label twice", "a: exit\na: exit", (2, 1), "label 'a' is defined twice"),
    ("constant too large", "r1 = 4294967296", (1, 6), "4294967296 is not in"),
    ("64 bits want all bits said", "r1 &= 0xffffffff", (1, 7), "0xffffffff is not in"),
    ("compare too large", "if r1 > 4294967295 goto +1", (1, 9), "4294967295 is not in"),
    ("offset too large", "r1 = *(u8 *)(r2 +32768)", (1, 17), "+32768 is not in"),
    ("digits without end", f"r1 = {'9' * 5000}", (1, 6), "is not in"),
    ("not the same register", "r1 = -r2", (1, 7), "'r2' must be 'r1' here"),
    ("not r0", "r0 = atomic64_cmpxchg((u64 *)(r1 +0), r3, r2)", (1, 39), "'r3' must be 'r0'"),
    ("wrong helper", "call bpf_ktime_get_ns#6", (1, 23), "bpf_ktime_get_ns is helper 5"),
    ("a kfunc needs its id", "call bpf_session_cookie", (1, 6), "no label"),
    ("call of nothing", "call", (1, 5), "not complete"),
    ("call of a sign", "call *", (1, 6), "'*' can't be called"),
    ("goto nowhere", "goto", (1, 5), "not complete"),
    ("mixed widths", "r1 = w2", (1, 6), "no instruction has 'w2' here"),
]


@pytest.mark.parametrize(
    ("text", "place", "words"), [pytest.param(*c[1:], id=c[0]) for c in ERRORS]
)
def test_errors_have_their_place(text, place, words):
    with pytest.raises(CompileError) as caught:
        assemble(text, file="x.s")
    error = caught.value
    assert (error.file, error.line, error.column) == ("x.s", *place)
    assert words in str(error)
    source, caret = error.__notes__[0].splitlines()
    assert source == f"  {text.splitlines()[place[0] - 1]}"
    assert caret.index("^") == place[1] + 1


def test_a_label_too_far_for_its_jump():
    far = "goto end\n" + "exit\n" * 32768 + "end: exit"
    with pytest.raises(CompileError, match="'end' is 32768 slots away") as caught:
        assemble(far)
    assert "gotol" in caught.value.__notes__[1]
    assert assemble(far.replace("goto end", "gotol end"))[0] == Insn(0x06, imm=32768)


WORDS = st.sampled_from([*(token for text, _ in BOTH_WAYS for token in text.split()), *"'é٣#:;"])


@settings(max_examples=500)
@given(st.one_of(st.text(), st.lists(WORDS).map(" ".join), st.lists(WORDS).map("".join)))
def test_any_text_assembles_or_is_a_compile_error(text):
    try:
        insns = assemble(text)
    except CompileError as error:
        place = error.line, error.column
    else:
        place = (1, 1)
        assert assemble("\n".join(disassemble(insns))) == insns
    assert min(place) > 0


def test_naming_says_what_is_called_and_loaded():
    names = {0: "map[id:7]", 2: "pc+3#handle", 3: "bpf_session_cookie#42"}
    insns = (load_map_fd(1, 7), call_local(3), call_kfunc(42), call_helper(5), exit_())
    assert list(disassemble(insns, lambda at, _: names.get(at))) == [
        "   0: (18) r1 = map[id:7]",
        "   2: (85) call pc+3#handle",
        "   3: (85) call bpf_session_cookie#42",
        "   4: (85) call bpf_ktime_get_ns#5",
        "   5: (95) exit",
    ]


def test_xlated_maps_have_ids_and_calls_their_distance_in_off():
    insns = (load_map_fd(1, 7), load_map_value(2, 8, 4), Insn(0x85, 0, 1, 9, 1), lddw(1, 5))
    assert [line.split(") ", 1)[1] for line in disassemble(insns, xlated)] == [
        "r1 = map[id:7]",
        "r2 = map[id:8][0]+4",
        "call pc+9",
        "r1 = 0x5",
    ]


@pytest.mark.parametrize("module", [asm, disasm], ids=["asm", "disasm"])
def test_the_examples_of_the_docstrings(module):
    failed, tried = doctest.testmod(module)
    assert (failed, tried > 0) == (0, True)


def test_helper_names():
    assert (helper_name(1), helper_number("bpf_map_lookup_elem")) == ("bpf_map_lookup_elem", 1)
    assert (helper_name(0), helper_name(99999), helper_number("bpf_unspec")) == (None, None, None)
