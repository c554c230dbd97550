"""Branches of machine code written by hand: `at` is where each case's code lies."""

from __future__ import annotations

import pytest

from fsession.callees import Branch, branches, disassemble
from fsession.callees.machine import stub_pointer
from fsession.errors import UnsupportedError

AT = 0xFFFF_FFFF_8100_0000
ENDBR = bytes.fromhex("f30f1efa")
NOP5 = bytes.fromhex("0f1f440000")
RET, INT3 = b"\xc3", b"\xcc"


def rel32(opcode: str, distance: int) -> bytes:
    return bytes.fromhex(opcode) + distance.to_bytes(4, "little", signed=True)


def a64(word: int) -> bytes:
    return word.to_bytes(4, "little")


BTI_C, NOP, MOV_X9_X30 = 0xD503245F, 0xD503201F, 0xAA1E03E9
X86 = {
    "call": (NOP5 + rel32("e8", 0x100) + RET, [Branch(AT + 5, AT + 0x10A, True)]),
    "backwards": (NOP5 + rel32("e8", -0x100), [Branch(AT + 5, AT - 0xF6, True)]),
    "tail jump": (NOP5 + rel32("e9", 0x100), [Branch(AT + 5, AT + 0x10A, False)]),
    "conditional": (NOP5 + rel32("0f84", 0x100), [Branch(AT + 5, AT + 0x10B, False)]),
    "jump inside": (NOP5 + b"\xeb\x01" + INT3 + RET, []),
    "itself": (NOP5 + rel32("e8", -10), []),
    "indirect": (NOP5 + bytes.fromhex("ffd0"), []),
    "bytes of a constant": (NOP5 + bytes.fromhex("48b8e800010000e80001") + RET, []),
    "patched entry": (rel32("e8", 0x100) + RET, []),
    "patched entry, landing pad": (ENDBR + rel32("e8", 0x100) + RET, []),
    "behind it": (
        ENDBR + rel32("e8", 0x100) + rel32("e8", 0x200),
        [Branch(AT + 9, AT + 0x20E, True)],
    ),
}
ARM64 = {
    "call": ((BTI_C, MOV_X9_X30, NOP, 0x9400_0010), [Branch(AT + 12, AT + 12 + 64, True)]),
    "backwards": ((BTI_C, MOV_X9_X30, NOP, 0x97FF_FFF0), [Branch(AT + 12, AT + 12 - 64, True)]),
    "tail jump": ((BTI_C, MOV_X9_X30, NOP, 0x1400_0010), [Branch(AT + 12, AT + 12 + 64, False)]),
    "jump inside": ((BTI_C, MOV_X9_X30, NOP, 0x1400_0001, NOP), []),
    "patched entry": ((BTI_C, MOV_X9_X30, 0x9400_0010), []),
    "indirect": ((BTI_C, MOV_X9_X30, NOP, 0xD63F_0000), []),
    "of a BPF program": (  # movn x10, #0xfffe; movk x10, #0x8000, lsl 16; blr x10
        (BTI_C, MOV_X9_X30, NOP, 0x929F_FFCA, 0xF2B0_000A, 0xD63F_0140),
        [Branch(AT + 20, 0xFFFF_FFFF_8000_0001, True)],
    ),
    "of another register": ((BTI_C, MOV_X9_X30, NOP, 0x929F_FFCA, 0xD63F_0160), []),
    "not right behind": ((BTI_C, MOV_X9_X30, NOP, 0x929F_FFCA, NOP, 0xD63F_0140), []),
}


@pytest.mark.parametrize(("code", "expected"), X86.values(), ids=list(X86))
def test_x86_64(code, expected):
    assert branches(code, AT, "x86_64") == expected


@pytest.mark.parametrize(("words", "expected"), ARM64.values(), ids=list(ARM64))
def test_arm64(words, expected):
    assert branches(b"".join(map(a64, words)), AT, "aarch64") == expected


def test_lines():
    lines = list(disassemble(ENDBR + rel32("e8", 0x100) + RET, AT, "x86_64"))
    assert [line.text for line in lines] == ["endbr64", f"call {AT + 0x109:#x}", "ret"]
    assert [line.target for line in lines] == [0, AT + 0x109, 0]
    assert b"".join(line.code for line in lines) == ENDBR + rel32("e8", 0x100) + RET


def test_another_machine():
    with pytest.raises(UnsupportedError, match="riscv64"):
        branches(b"", AT, "riscv64")


LOW = 0x5555_5000_1020
STUBS = [
    ("jump", "x86_64", rel32("ff25", 0x2FE0), LOW + 6 + 0x2FE0),
    ("landing pad", "x86_64", ENDBR + rel32("ff25", -0x20), LOW + 10 - 0x20),
    ("landing pad, bnd", "x86_64", ENDBR + rel32("f2ff25", 0x40), LOW + 11 + 0x40),
    ("first entry", "x86_64", rel32("ff35", 0x40) + rel32("ff25", 0x40), None),
    ("cut", "x86_64", b"\xff", None),
    ("adrp, ldr", "aarch64", a64(0xB000_0090) + a64(0xF947_FE11), 0x5555_5001_2FF8),
    ("behind bti c", "aarch64", a64(BTI_C) + a64(0x9000_0010) + a64(0xF940_0611), 0x5555_5000_1008),
    ("backwards", "aarch64", a64(0xF0FF_FFF0) + a64(0xF940_0211), 0x5555_5000_0000),
    ("something else", "aarch64", a64(NOP) + a64(NOP), None),
    ("unknown", "riscv64", bytes(16), None),
]


@pytest.mark.parametrize(
    ("machine", "code", "pointer"), [row[1:] for row in STUBS], ids=[row[0] for row in STUBS]
)
def test_stubs_of_the_linker(machine, code, pointer):
    assert stub_pointer(code, LOW, machine) == pointer
