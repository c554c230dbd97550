"""Bytes to instructions and back; fields out of range."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsession.errors import BadInputError
from fsession.isa.insn import (
    LDDW,
    Insn,
    alu,
    alu32,
    atomic,
    call_helper,
    call_kfunc,
    call_local,
    decode,
    encode,
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
    offsets,
    slot_count,
    stx,
)
from fsession.isa.insn import st as store
from fsession.isa.opcode import Alu, Atomic, Jmp, Pseudo, Size

from .strategies import ANY

BYTES = [
    ("move", mov(6, 1), "bf16000000000000"),
    ("32-bit move", mov32(1, 2), "bc21000000000000"),
    ("constant", alu(Alu.MOV, 0, imm=-1), "b7000000ffffffff"),
    ("signed division", alu(Alu.DIV, 1, 2, off=1), "3f21010000000000"),
    ("sign extension", alu32(Alu.MOV, 1, 2, off=8), "bc21080000000000"),
    ("load", ldx(Size.W, 2, 1, 16), "6112100000000000"),
    ("signed load", ldx(Size.B, 2, 1, -1, signed=True), "9112ffff00000000"),
    ("store", stx(Size.DW, 10, 1, -8), "7b1af8ff00000000"),
    ("constant store", store(Size.H, 10, -8, 5), "6a0af8ff05000000"),
    ("atomic", atomic(Atomic.CMPXCHG, Size.DW, 1, 2, 8), "db210800f1000000"),
    ("64 bits", lddw(1, 0x1122334455667788), "18010000887766550000000044332211"),
    ("map", load_map_fd(1, 5), "18110000050000000000000000000000"),
    ("map value", load_map_value(1, 5, 16), "18210000050000000000000010000000"),
    ("jump", ja(-2), "0500feff00000000"),
    ("long jump", Insn(0x06, imm=-100000), "060000006079feff"),
    ("condition", jmp(Jmp.JEQ, 1, imm=5, off=3), "1501030005000000"),
    ("32-bit condition", jmp32(Jmp.JSGT, 1, 2, off=3), "6e21030000000000"),
    ("helper", call_helper(5), "8500000005000000"),
    ("function", call_local(-3), "85100000fdffffff"),
    ("kfunc", call_kfunc(77, 1), "852001004d000000"),
    ("exit", exit_(), "9500000000000000"),
]


@pytest.mark.parametrize(("insn", "data"), [pytest.param(*c[1:], id=c[0]) for c in BYTES])
def test_wire_form(insn, data):
    assert encode([insn]).hex() == data
    assert decode(bytes.fromhex(data)) == (insn,)


@given(st.lists(ANY))
def test_decode_gives_back_what_encode_took(insns):
    data = encode(insns)
    assert decode(data) == tuple(insns)
    assert len(data) == slot_count(insns) * 8
    assert offsets(insns)[-1] == slot_count(insns)


@given(st.binary())
def test_any_bytes_decode_or_are_bad_input(data):
    try:
        insns = decode(data)
    except BadInputError:
        return
    assert encode(insns) == data


BAD_BYTES = [
    ("not whole slots", "9500000000", "not a whole number", 5),
    ("no such register", "9500000000000000" + "bf1b000000000000", "r11 does not exist", 8),
    ("no such source", "bfe0000000000000", "r14 does not exist", 0),
    ("second half missing", "1801000000000000", "half of a 64-bit immediate is missing", 0),
    ("second half in use", "18010000000000000100000000000000", "more than an immediate", 8),
]


@pytest.mark.parametrize(
    ("data", "words", "offset"), [pytest.param(*c[1:], id=c[0]) for c in BAD_BYTES]
)
def test_bad_bytes(data, words, offset):
    with pytest.raises(BadInputError, match=words) as caught:
        decode(bytes.fromhex(data))
    assert caught.value.offset == offset


BAD_FIELDS = [
    ("opcode", Insn(256), "opcode 256 is not in 0..255"),
    ("dst", Insn(0xB7, 11), "dst 11 is not in 0..10"),
    ("negative dst", Insn(0xB7, -1), "dst -1 is not in 0..10"),
    ("src", Insn(0xBF, 0, 16), "src 16 is not in 0..10"),
    ("off", ja(40000), "off 40000 is not in -32768..32767"),
    ("imm", alu(Alu.ADD, 1, imm=1 << 31), "imm 2147483648 is not in"),
    ("64-bit imm", Insn(LDDW, imm=1 << 64), "imm 18446744073709551616 is not in"),
]


@pytest.mark.parametrize(("insn", "words"), [pytest.param(*c[1:], id=c[0]) for c in BAD_FIELDS])
def test_fields_out_of_range_name_the_instruction(insn, words):
    with pytest.raises(BadInputError) as caught:
        encode([lddw(0, 1), exit_(), insn])
    assert str(caught.value).startswith(f"instruction 3: {words}")


@given(ANY)
def test_properties_agree_with_the_fields_of_the_opcode(insn):
    cls, operation = insn.opcode & 7, insn.opcode & 0xF0
    assert insn.cls == cls
    assert insn.is_lddw == (insn.opcode == 0x18) == (insn.slots == 2)
    assert insn.is_exit == (insn.opcode == 0x95)
    assert insn.is_jump == (cls in (5, 6) and operation not in (0x80, 0x90))
    assert insn.is_call == (cls == 5 and operation == 0x80)
    assert insn.is_local_call == (insn.opcode == 0x85 and insn.src == 1)
    assert insn.is_kfunc_call == (insn.opcode == 0x85 and insn.src == 2)
    assert insn.is_func_ref == (insn.opcode == 0x18 and insn.src == 4)
    assert insn.jump_off == (insn.imm if insn.opcode == 0x06 else insn.off)


def test_a_function_reference_is_a_signed_distance():
    back = lddw(1, 0xFFFF_FFFB, Pseudo.FUNC)
    assert back.func_off == struct.unpack("<i", encode([back])[4:8])[0] == -5
    assert call_local(-5).func_off == -5
