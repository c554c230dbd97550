"""Images of trampolines in x86_64 machine code: see docs/engine.md for the frame."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from fsession.engine.jit.code import Buffer
from fsession.engine.jit.plan import Place, Plan, Stub, places
from fsession.engine.jit.sequence import Late, build
from fsession.engine.jit.x86_64_insns import (
    R8,
    R9,
    RAX,
    RBP,
    RBX,
    RCX,
    RDI,
    RDX,
    RSI,
    RSP,
    X10,
    X11,
    call_address,
    load_imm,
    patch_distance,
    pop,
    push,
    ri,
    rm,
    rr,
    thread_pointer_load,
)
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

REACH = 1 << 30
ARGUMENTS = (RDI, RSI, RDX, RCX, R8, R9)
FRAME_OF_CONTEXT = "r0 = *(u8 *)(r1 -8)\n r0 <<= 3\n r0 += r1\n r0 += 8"
"""BPF: from the context r1 to where the image keeps the caller's frame pointer, and above it the
address where the function returns to."""

_FROM_STACK = 16  # of the frame pointer: its caller's stack arguments
_RUNS, _MISSES = 8, 16
_NOP5 = bytes.fromhex("0f1f440008"), bytes.fromhex("0f1f440000")
_STUB_BYTES = 16
_ENDBR64 = bytes.fromhex("f30f1efa")


def nop_shapes(data: bytes) -> tuple[int, bytes] | None:
    """Offset and bytes of the patchable place at a function's start; None if there is none."""
    at = 4 if data.startswith(_ENDBR64) else 0
    found = data[at : at + 5]
    return (at, found) if found in (*_NOP5, b"\x90" * 5) else None


def entry_call(data: bytes, start: int, read: Read) -> tuple[int, bytes, int] | None:
    """Offset and bytes of a call at a function's start, and where it goes: by a word (gcc), or by a
    linker's stub and its word (clang)."""
    at = 4 if data.startswith(_ENDBR64) else 0
    size = {b"\xff\x15": 6, b"\xe8": 5}.get(data[at : at + (1 if data[at] == 0xE8 else 2)], 0)
    if not size:
        return None
    goal = start + at + size + _s32(data, at + size - 4)
    if size == 5:
        stub = read(goal, _STUB_BYTES) or bytes(_STUB_BYTES)
        skipped = 4 if stub.startswith(_ENDBR64) else 0
        skipped += stub[skipped] == 0xF2  # bnd
        if stub[skipped : skipped + 2] != b"\xff\x25":
            return None
        goal += skipped + 6 + _s32(stub, skipped + 2)
    word = read(goal, 8)
    return (at, data[at : at + size], int.from_bytes(word, "little")) if word else None


def _s32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little", signed=True)


def entry_jump(at: int, goal: int) -> bytes:
    """What stands at the entry of a target that has programs: a jump to its stub."""
    return b"\xe9" + struct.pack("<i", goal - at - 5)


def _jump(address: int) -> bytes:
    return load_imm(X11, address) + b"\x41\xff\xe3"


def stub(thread_offset: int, start: int, image_slot: int, body: int) -> Stub:
    """Counts the call in, goes to the image whose address is at `image_slot`; counts it out.

    Only r11 is lost. A thread that has no block yet gets one from `start`.
    """
    code = Buffer(patch_distance)
    code.label("enter")
    code.emit(thread_pointer_load(X11, thread_offset) + rr(0x85, X11, X11))
    code.emit_to("slow", b"\x0f\x84\0\0\0\0")
    code.emit(rm(0xFF, 0, X11, 0))
    code.emit(load_imm(X11, image_slot) + b"\x41\xff\x23")  # jmp [r11]
    leave = len(code)
    code.emit(thread_pointer_load(X11, thread_offset) + rm(0xFF, 1, X11, 0) + b"\xc3")
    to_body = len(code)
    code.emit(thread_pointer_load(X11, thread_offset) + rm(0xFF, 1, X11, 0) + _jump(body))
    code.label("slow")
    kept = (*ARGUMENTS, RAX, X10)
    code.emit(push(RBP) + rr(0x89, RSP, RBP) + b"".join(map(push, kept)))
    code.emit(ri(5, RSP, 128) + _vectors(b"\x29", RSP, 0, 8) + call_address(start))
    code.emit(_vectors(b"\x28", RSP, 0, 8) + ri(0, RSP, 128))
    code.emit(b"".join(map(pop, reversed(kept))) + pop(RBP))
    code.emit_to("enter", b"\xe9\0\0\0\0")
    return Stub(code.finish(), leave, to_body)


def _vectors(opcode: bytes, base: int, at: int, count: int) -> bytes:
    """movaps of xmm0 and following: 29 to memory, 28 from it."""
    return b"".join(rm(b"\x0f" + opcode, xmm, base, at + 16 * xmm, 0) for xmm in range(count))


def adapter(model: FuncModel, handler: int) -> bytes:
    """A function of this prototype whose body is `handler`, called with the address of the argument
    words; its result is the function's. Starts with the patchable entry."""
    slots = places(model, ARGUMENTS, in_order=False)
    size = 8 * model.slots + 8 * model.slots % 16
    code = bytes.fromhex("0f1f440000") + push(RBP) + rr(0x89, RSP, RBP) + ri(5, RSP, size)
    code += _save(slots, -size) + rm(0x8D, RDI, RBP, -size) + call_address(handler)
    return code + b"\xc9\xc3"


def _save(slots: list[Place], ctx: int) -> bytes:
    """Arguments to their slots. The upper half of a single small one from the stack is cleared."""
    out = b""
    from_stack = [place for place in slots if place.register is None]
    for place in slots:
        if place.register is not None:
            out += rm(0x89, place.register, RBP, ctx + 8 * place.slot)
            continue
        short = len(from_stack) == 1 and place is slots[-1] and place.size <= 4
        out += rm(0x8B, X11, RBP, _FROM_STACK + place.stack, 0 if short else 1)
        out += rm(0x89, X11, RBP, ctx + 8 * place.slot)
    return out


class _Frame:
    """Offsets from rbp, downwards."""

    def __init__(self, plan: Plan) -> None:
        self.result = -8
        self.ctx = self.result - 8 * plan.model.slots
        self.meta = self.ctx - 8
        self.ip = self.meta - 8 * plan.ip_arg
        self.cookies = self.ip - 8 * plan.cookies
        self.rbx = self.cookies - 8
        self.attach_cookie = self.rbx - 8
        self.rax, self.r10, self.rdx = (self.rbx - 8 * at for at in (2, 3, 4))
        self.vectors = (self.rdx - 128) // 16 * 16
        self.results = self.vectors - 32
        size = -self.results + (8 * plan.model.slots if plan.calls_body else 0)
        self.size = size + -size % 16


def image(plan: Plan) -> bytes:
    """The trampoline's code for one set of nodes."""
    return _Image(plan).build()


def unwind_rules(plan: Plan) -> Rules:
    """Of `image`: rbp and rbx are kept, everything else is the caller's. DWARF numbers registers in
    its own way (System V ABI, 3.6.2): rbx 3, rbp 6, rsp 7, return address 16."""
    frame = _Frame(plan)
    saved = len(ri(5, RSP, frame.size)) + len(rm(0x89, RBX, RBP, frame.rbx))
    return Rules(
        16,
        define_cfa(7, 8) + offset(16, 8),
        advance(len(push(RBP)))
        + define_cfa(7, 16)
        + offset(6, 16)
        + advance(len(rr(0x89, RSP, RBP)))
        + define_cfa(6, 16)
        + advance(saved)
        + offset(3, 16 - frame.rbx),
    )


class _Image:
    jump = b"\xe9\0\0\0\0"

    def __init__(self, plan: Plan) -> None:
        self._plan, self._frame = plan, _Frame(plan)
        self._slots = places(plan.model, ARGUMENTS, in_order=False)
        self._code = Buffer(patch_distance)
        self.late: Late = []

    def build(self) -> bytes:
        return build(self._plan, self._code, self)

    def enter(self) -> None:
        plan, frame, emit = self._plan, self._frame, self._code.emit
        emit(push(RBP) + rr(0x89, RSP, RBP) + ri(5, RSP, frame.size))
        emit(rm(0x89, RBX, RBP, frame.rbx) + thread_pointer_load(RBX, plan.thread_offset))
        emit(_store_imm(frame.meta, plan.model.slots))
        if plan.ip_arg:
            emit(load_imm(X11, plan.target) + rm(0x89, X11, RBP, frame.ip))
        emit(_save(self._slots, frame.ctx))
        if plan.vectors:
            emit(rm(0x89, RAX, RBP, frame.rax) + rm(0x89, X10, RBP, frame.r10))
            emit(_vectors(b"\x29", RBP, frame.vectors, 8))
        if plan.has_session:
            for at in range(plan.cookies):
                emit(_store_imm(frame.cookies + 8 * at, 0))
            emit(_store_imm(frame.result, 0))

    def set_meta(self, word: int) -> None:
        self._code.emit(load_imm(X11, word) + rm(0x89, X11, RBP, self._frame.meta))

    def run(self, node: Node, after: bytes = b"") -> None:
        code, frame = self._code, self._frame
        out, missed = code.new_label(), code.new_label()
        code.emit(load_imm(X11, node.enabled) + rm(0x80, 7, X11, 0, 0) + b"\0")
        code.emit_to(out, b"\x0f\x84\0\0\0\0")
        code.emit(rm(0x83, 7, RBX, node.slot) + b"\0")
        code.emit_to(missed, b"\x0f\x85\0\0\0\0")
        code.emit(rm(0xFF, 0, RBX, node.slot) + rm(0xFF, 0, RBX, node.slot + _RUNS))
        if node.attach_cookie is not None:
            code.emit(rm(0x8B, X11, RBX, 24) + rm(0x89, X11, RBP, frame.attach_cookie))
            code.emit(load_imm(X11, node.attach_cookie) + rm(0x89, X11, RBX, 24))
        code.emit(rm(0x8D, RDI, RBP, frame.ctx) + call_address(node.program))
        if node.attach_cookie is not None:
            code.emit(rm(0x8B, X11, RBP, frame.attach_cookie) + rm(0x89, X11, RBX, 24))
        code.emit(rm(0xFF, 1, RBX, node.slot) + after)
        code.label(out)
        self.late.append((missed, rm(0xFF, 0, RBX, node.slot + _MISSES), out))

    def modify(self) -> None:
        frame, code = self._frame, self._code
        code.emit(_store_imm(frame.result, 0))
        for node in self._plan.fmod_ret:
            self.run(node, rm(0x89, RAX, RBP, frame.result))
            code.emit(rm(0x83, 7, RBP, frame.result) + b"\0")
            code.emit_to("after", b"\x0f\x85\0\0\0\0")

    def leave(self, goal: int) -> None:
        self._code.emit(rm(0x8B, RBX, RBP, self._frame.rbx) + b"\xc9" + _jump(goal))

    def load_arguments(self) -> None:
        frame = self._frame
        out = b""
        if self._plan.vectors:
            out += _vectors(b"\x28", RBP, frame.vectors, 8)
            out += rm(0x8B, RAX, RBP, frame.rax) + rm(0x8B, X10, RBP, frame.r10)
        for place in self._slots:
            if place.register is not None:
                out += rm(0x8B, place.register, RBP, frame.ctx + 8 * place.slot)
        self._code.emit(out)

    def call_body(self) -> None:
        emit, frame = self._code.emit, self._frame
        for place in self._slots:
            if place.register is None:
                emit(rm(0x8B, X11, RBP, frame.ctx + 8 * place.slot))
                emit(rm(0x89, X11, RSP, place.stack))
        self.load_arguments()
        emit(call_address(self._plan.body))
        emit(rm(0x89, RAX, RBP, frame.result))
        if self._plan.vectors:
            emit(rm(0x89, RDX, RBP, frame.rdx) + _vectors(b"\x29", RBP, frame.results, 2))

    def load_results(self) -> None:
        frame = self._frame
        out = rm(0x8B, RAX, RBP, frame.result)
        if self._plan.vectors:
            out += rm(0x8B, RDX, RBP, frame.rdx) + _vectors(b"\x28", RBP, frame.results, 2)
        self._code.emit(out)


def _store_imm(at: int, value: int) -> bytes:
    return rm(0xC7, 0, RBP, at) + struct.pack("<i", value)
