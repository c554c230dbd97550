"""Images of trampolines in arm64 machine code: see docs/engine.md for the frame.

At the entry lr is the caller's: one branch is patched in, without link. x9 to x17 are free there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.engine.jit.arm64_insns import (
    BLR,
    BR,
    FP,
    LDP_POST,
    LDR,
    LR,
    SP,
    STP_PRE,
    STR,
    X9,
    X11,
    X12,
    ZR,
    add_imm,
    branch_reg,
    call_address,
    load_imm,
    memory,
    pair,
    patch_distance,
    thread_pointer_load,
    words,
)
from fsession.engine.jit.code import Buffer
from fsession.engine.jit.plan import Place, Plan, Stub, places
from fsession.engine.jit.sequence import Late, build
from fsession.engine.unwind import Rules, advance, define_cfa, offset

if TYPE_CHECKING:
    from fsession.btf.model import FuncModel
    from fsession.engine.jit.plan import Node, Read

__all__ = [
    "FRAME_OF_CONTEXT",
    "REACH",
    "adapter",
    "entry_call",
    "entry_jump",
    "image",
    "nop_shapes",
    "stub",
    "unwind_rules",
]

REACH = 1 << 26
ARGUMENTS = tuple(range(8))
FRAME_OF_CONTEXT = """
    r0 = *(u8 *)(r1 -8)
    r0 <<= 3
    r0 += r1
    r0 += 47
    r0 &= -16
    r0 += 192
"""
"""BPF: from the context r1 to where the image keeps the caller's frame pointer, and above it the
address where the function returns to: behind four words and twelve vector registers."""

_FROM_STACK = 16  # of the frame pointer: its caller's stack arguments
_RUNS, _MISSES = 8, 16
_NOP = bytes.fromhex("1f2003d5")
_BTI_C = bytes.fromhex("5f2403d5")
_RET = 0xD65F03C0
_BLOCK = 19  # the thread's block while an image runs
_INDIRECT = 8  # x8: where a large result goes
_BYTE = 0x39400000  # ldrb
_Q_STP, _Q_LDP = 0xAD000000, 0xAD400000


def nop_shapes(data: bytes) -> tuple[int, bytes] | None:
    """Offset and bytes of the patchable place at a function's start; None if there is none."""
    at = 4 if data.startswith(_BTI_C) else 0
    return (at, _NOP) if data[at : at + 4] == _NOP else None


def entry_call(data: bytes, start: int, read: Read) -> tuple[int, bytes, int] | None:
    """Compilers put no call before a function's prologue here."""
    return None


def entry_jump(at: int, goal: int) -> bytes:
    """What stands at the entry of a target that has programs: a branch to its stub."""
    return words(0x14000000 | (goal - at >> 2) & 0x3FFFFFF)


def _load(register: int, base: int, off: int) -> bytes:
    return _access(LDR, register, base, off)


def _store(register: int, base: int, off: int) -> bytes:
    return _access(STR, register, base, off)


def _access(opcode: int, register: int, base: int, off: int) -> bytes:
    found = memory(opcode, register, base, off, 3)
    if found is None:  # a program's numbers, far into the block
        add = words(0x8B000000 | X12 << 16 | base << 5 | X12)
        return load_imm(X12, off) + add + _access(opcode, register, X12, 0)
    return found


def _vectors(opcode: int, base: int, at: int, count: int) -> bytes:
    """stp and ldp of q0 and following, two at a time."""
    out = b""
    for first in range(0, count, 2):
        off = (at + 16 * first) // 16
        out += words(opcode | (off & 0x7F) << 15 | first + 1 << 10 | base << 5 | first)
    return out


def _count(offset: int, step: int) -> bytes:
    """The thread's count of calls inside, changed; x9 is the block, x10 is lost."""
    return (
        thread_pointer_load(X9, offset)
        + _load(10, X9, 0)
        + add_imm(10, 10, step)
        + (_store(10, X9, 0))
    )


def stub(thread_offset: int, start: int, image_slot: int, body: int) -> Stub:
    """Counts the call in, goes to the image whose address is at `image_slot`; counts it out.

    x9 to x17 are lost. A thread that has no block yet gets one from `start`.
    """
    code = Buffer(patch_distance)
    code.label("enter")
    code.emit(thread_pointer_load(X9, thread_offset))
    code.emit_to("slow", words(0xB4000000 | X9))
    code.emit(_load(10, X9, 0) + add_imm(10, 10, 1) + _store(10, X9, 0))
    code.emit(load_imm(X11, image_slot) + _load(16, X11, 0) + branch_reg(BR, 16))
    leave = len(code)
    code.emit(_count(thread_offset, -1) + words(_RET))
    to_body = len(code)
    code.emit(_count(thread_offset, -1) + load_imm(16, body) + branch_reg(BR, 16))
    code.label("slow")
    code.emit(pair(STP_PRE, FP, LR, SP, -16) + add_imm(FP, SP, 0) + add_imm(SP, SP, -208))
    for register in range(9):
        code.emit(_store(register, SP, 8 * register))
    code.emit(_vectors(_Q_STP, SP, 80, 8) + call_address(start) + _vectors(_Q_LDP, SP, 80, 8))
    for register in range(9):
        code.emit(_load(register, SP, 8 * register))
    code.emit(add_imm(SP, SP, 208) + pair(LDP_POST, FP, LR, SP, 16))
    code.emit_to("enter", words(0x14000000))
    return Stub(code.finish(), leave, to_body)


def adapter(model: FuncModel, handler: int) -> bytes:
    """A function of this prototype whose body is `handler`, called with the address of the argument
    words; its result is the function's. Starts with the patchable entry."""
    slots = places(model, ARGUMENTS, in_order=True)
    size = 8 * model.slots + 8 * model.slots % 16
    code = _NOP + pair(STP_PRE, FP, LR, SP, -16) + add_imm(FP, SP, 0)
    code += (add_imm(SP, SP, -size) if size else b"") + _save(slots, 0)
    code += add_imm(0, SP, 0) + call_address(handler) + (add_imm(SP, SP, size) if size else b"")
    return code + pair(LDP_POST, FP, LR, SP, 16) + words(_RET)


def _save(slots: list[Place], ctx: int) -> bytes:
    """Arguments to their slots, from sp; unused high bytes of those from the stack are cleared."""
    out = b""
    for place in slots:
        if place.register is not None:
            out += _store(place.register, SP, ctx + 8 * place.slot)
            continue
        out += _load(X9, FP, _FROM_STACK + place.stack)
        if place.size < 8:  # ubfx
            out += words(0xD3400000 | (8 * place.size - 1) << 10 | X9 << 5 | X9)
        out += _store(X9, SP, ctx + 8 * place.slot)
    return out


class _Frame:
    """Offsets from sp, upwards."""

    def __init__(self, plan: Plan) -> None:
        slots = plan.model.slots
        self.attach_cookie = 8 * slots if plan.calls_body else 0
        self.cookies = self.attach_cookie + 8
        self.ip = self.cookies + 8 * plan.cookies
        self.meta = self.ip + 8 * plan.ip_arg
        self.ctx = self.meta + 8
        self.result = self.ctx + 8 * slots
        self.block = self.result + 8
        self.second = self.block + 8
        self.indirect = self.second + 8
        self.vectors = (self.indirect + 8 + 15) // 16 * 16
        self.size = self.vectors + 128 + 64


def image(plan: Plan) -> bytes:
    """The trampoline's code for one set of nodes."""
    return _Image(plan).build()


def unwind_rules(plan: Plan) -> Rules:
    """Of `image`: fp, lr and x19 are kept, everything else is the caller's; sp is 31."""
    frame = _Frame(plan)
    saved = len(add_imm(SP, SP, -frame.size)) + len(_store(_BLOCK, SP, frame.block))
    return Rules(
        LR,
        define_cfa(31, 0),
        advance(4)
        + define_cfa(31, 16)
        + offset(FP, 16)
        + offset(LR, 8)
        + advance(len(add_imm(FP, SP, 0)))
        + define_cfa(FP, 16)
        + advance(saved)
        + offset(_BLOCK, 16 + frame.size - frame.block),
    )


class _Image:
    jump = words(0x14000000)

    def __init__(self, plan: Plan) -> None:
        self._plan, self._frame = plan, _Frame(plan)
        self._slots = places(plan.model, ARGUMENTS, in_order=True)
        self._code = Buffer(patch_distance)
        self.late: Late = []

    def build(self) -> bytes:
        return build(self._plan, self._code, self)

    def enter(self) -> None:
        plan, frame, emit = self._plan, self._frame, self._code.emit
        emit(pair(STP_PRE, FP, LR, SP, -16) + add_imm(FP, SP, 0) + add_imm(SP, SP, -frame.size))
        emit(_store(_BLOCK, SP, frame.block) + thread_pointer_load(_BLOCK, plan.thread_offset))
        emit(self._store_imm(frame.meta, plan.model.slots))
        if plan.ip_arg:
            emit(self._store_imm(frame.ip, plan.target))
        emit(_save(self._slots, frame.ctx))
        if plan.vectors:
            emit(_store(_INDIRECT, SP, frame.indirect))
            emit(_vectors(_Q_STP, SP, frame.vectors, 8))
        if plan.has_session:
            for at in range(plan.cookies):
                emit(_store(ZR, SP, frame.cookies + 8 * at))
            emit(_store(ZR, SP, frame.result))

    def _store_imm(self, at: int, value: int) -> bytes:
        return load_imm(X9, value) + _store(X9, SP, at)

    def set_meta(self, word: int) -> None:
        self._code.emit(self._store_imm(self._frame.meta, word))

    def run(self, node: Node, after: bytes = b"") -> None:
        code, frame, slot = self._code, self._frame, node.slot
        out, missed = code.new_label(), code.new_label()
        code.emit(load_imm(X9, node.enabled) + words(_BYTE | X9 << 5 | X9))
        code.emit_to(out, words(0xB4000000 | X9))
        code.emit(_load(X9, _BLOCK, slot))
        code.emit_to(missed, words(0xB5000000 | X9))
        code.emit(_step(slot, 1) + _step(slot + _RUNS, 1))
        if node.attach_cookie is not None:
            code.emit(_load(X9, _BLOCK, 24) + _store(X9, SP, frame.attach_cookie))
            code.emit(load_imm(X9, node.attach_cookie) + _store(X9, _BLOCK, 24))
        code.emit(add_imm(0, SP, frame.ctx) + call_address(node.program))
        code.emit(after)
        if node.attach_cookie is not None:
            code.emit(_load(X9, SP, frame.attach_cookie) + _store(X9, _BLOCK, 24))
        code.emit(_step(slot, -1))
        code.label(out)
        self.late.append((missed, _step(slot + _MISSES, 1), out))

    def modify(self) -> None:
        frame, code = self._frame, self._code
        code.emit(_store(ZR, SP, frame.result))
        for node in self._plan.fmod_ret:
            self.run(node, _store(0, SP, frame.result))
            code.emit(_load(X9, SP, frame.result))
            code.emit_to("after", words(0xB5000000 | X9))

    def leave(self, goal: int) -> None:
        frame, emit = self._frame, self._code.emit
        emit(_load(_BLOCK, SP, frame.block) + add_imm(SP, SP, frame.size))
        emit(pair(LDP_POST, FP, LR, SP, 16) + load_imm(16, goal) + branch_reg(BR, 16))

    def load_arguments(self) -> None:
        frame = self._frame
        out = b""
        if self._plan.vectors:
            out += _vectors(_Q_LDP, SP, frame.vectors, 8) + _load(_INDIRECT, SP, frame.indirect)
        for place in self._slots:
            if place.register is not None:
                out += _load(place.register, SP, frame.ctx + 8 * place.slot)
        self._code.emit(out)

    def call_body(self) -> None:
        emit, frame = self._code.emit, self._frame
        for place in self._slots:
            if place.register is None:
                emit(_load(X9, SP, frame.ctx + 8 * place.slot) + _store(X9, SP, place.stack))
        self.load_arguments()
        emit(load_imm(16, self._plan.body) + branch_reg(BLR, 16))
        emit(_store(0, SP, frame.result))
        if self._plan.vectors:
            emit(_store(1, SP, frame.second) + _vectors(_Q_STP, SP, frame.vectors + 128, 4))

    def load_results(self) -> None:
        frame = self._frame
        out = _load(0, SP, frame.result)
        if self._plan.vectors:
            out += _load(1, SP, frame.second) + _vectors(_Q_LDP, SP, frame.vectors + 128, 4)
        self._code.emit(out)


def _step(at: int, step: int) -> bytes:
    """A number of the thread's block, changed."""
    return _load(X9, _BLOCK, at) + add_imm(X9, X9, step) + _store(X9, _BLOCK, at)
