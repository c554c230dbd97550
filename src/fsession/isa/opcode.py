"""The fields of a BPF opcode (RFC 9669, section 3), and the kernel's pseudo source registers.

An opcode is one byte. Its three low bits are the class, and the class says what the rest is::

    ALU, ALU64, JMP, JMP32         LD, LDX, ST, STX
    +-----------+---+-------+      +-------+-----+-------+
    | operation | S | class |      | mode  | size| class |
    +-----------+---+-------+      +-------+-----+-------+
     7         4  3  2     0        7     5 4   3 2     0

S is the source: K (the 32-bit immediate) or X (the source register).
"""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "CALL_HELPER",
    "CALL_KFUNC",
    "CALL_LOCAL",
    "POISON",
    "R0",
    "R1",
    "R2",
    "R3",
    "R4",
    "R5",
    "R6",
    "R7",
    "R8",
    "R9",
    "R10",
    "REG_COUNT",
    "Alu",
    "Atomic",
    "Class",
    "Jmp",
    "Mode",
    "Pseudo",
    "Size",
    "Source",
]

REG_COUNT = 11
R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = range(REG_COUNT)


class Class(IntEnum):
    """Bits 0..2 of the opcode (RFC 9669, section 3.1)."""

    LD = 0x00
    LDX = 0x01
    ST = 0x02
    STX = 0x03
    ALU = 0x04
    JMP = 0x05
    JMP32 = 0x06
    ALU64 = 0x07


class Source(IntEnum):
    """Bit 3 of arithmetic and jump opcodes (RFC 9669, section 4). For END: K is le, X is be."""

    K = 0x00
    X = 0x08


class Alu(IntEnum):
    """Bits 4..7 of ALU and ALU64 opcodes (RFC 9669, section 4.1).

    Signed division and modulo are DIV and MOD with offset 1; sign-extending moves are MOV with
    offset 8, 16 or 32; byte swaps are END, in class ALU64 the unconditional ``bswap``.
    """

    ADD = 0x00
    SUB = 0x10
    MUL = 0x20
    DIV = 0x30
    OR = 0x40
    AND = 0x50
    LSH = 0x60
    RSH = 0x70
    NEG = 0x80
    MOD = 0x90
    XOR = 0xA0
    MOV = 0xB0
    ARSH = 0xC0
    END = 0xD0


class Jmp(IntEnum):
    """Bits 4..7 of JMP and JMP32 opcodes (RFC 9669, section 4.3). JCOND is the kernel's own.

    JA of class JMP32 is ``gotol``, whose distance is `imm`; JA of class JMP with source X is the
    indirect ``gotox`` of Linux 6.19.
    """

    JA = 0x00
    JEQ = 0x10
    JGT = 0x20
    JGE = 0x30
    JSET = 0x40
    JNE = 0x50
    JSGT = 0x60
    JSGE = 0x70
    CALL = 0x80
    EXIT = 0x90
    JLT = 0xA0
    JLE = 0xB0
    JSLT = 0xC0
    JSLE = 0xD0
    JCOND = 0xE0  # src 0: may_goto (include/uapi/linux/bpf.h: BPF_JCOND)


class Size(IntEnum):
    """Bits 3..4 of load and store opcodes (RFC 9669, section 5)."""

    W = 0x00  # 4 bytes
    H = 0x08  # 2 bytes
    B = 0x10  # 1 byte
    DW = 0x18  # 8 bytes

    @property
    def size_bytes(self) -> int:
        return (4, 2, 1, 8)[self >> 3]


class Mode(IntEnum):
    """Bits 5..7 of load and store opcodes (RFC 9669, section 5)."""

    IMM = 0x00
    ABS = 0x20
    IND = 0x40
    MEM = 0x60
    MEMSX = 0x80
    ATOMIC = 0xC0


class Atomic(IntEnum):
    """The `imm` of an ATOMIC store (RFC 9669, section 5.3; LOAD_ACQ, STORE_REL: Linux 6.15)."""

    ADD = 0x00
    OR = 0x40
    AND = 0x50
    XOR = 0xA0
    FETCH_ADD = 0x01
    FETCH_OR = 0x41
    FETCH_AND = 0x51
    FETCH_XOR = 0xA1
    XCHG = 0xE1
    CMPXCHG = 0xF1
    LOAD_ACQ = 0x100
    STORE_REL = 0x110


class Pseudo(IntEnum):
    """Source register of a 64-bit immediate load (RFC 9669, section 5.4; BPF_PSEUDO_* in uapi).

    Of a call: 0 is a helper, 1 (`CALL`) a function of the program, 2 (`KFUNC`) a kfunc by BTF id.
    """

    NONE = 0
    MAP_FD = 1
    MAP_VALUE = 2
    BTF_ID = 3
    FUNC = 4
    MAP_IDX = 5
    MAP_IDX_VALUE = 6


CALL_HELPER, CALL_LOCAL, CALL_KFUNC = 0, 1, 2

POISON = 0xBAD2310
"""Number of a helper that is none, "bad relo": a call to it stands for what can't be resolved."""
