"""`EngineProgram`: a program loaded into a machine, and how it gets there."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from fsession.engine import helpers
from fsession.engine.check import check_code
from fsession.engine.faults import faults
from fsession.engine.functions import call_test_functions
from fsession.engine.jit.code import place
from fsession.engine.memory import Block
from fsession.engine.native import architecture
from fsession.engine.slow import SLOW
from fsession.engine.stacks import STACK_CALLS
from fsession.engine.threads import MISSES, RUNS, slot_of, threads
from fsession.errors import KernelError, UnsupportedError
from fsession.host import ProgramInfo, TestResult
from fsession.isa.disasm import helper_name
from fsession.isa.insn import Insn, encode, lddw, slot_count
from fsession.isa.opcode import POISON, Pseudo
from fsession.uapi import AttachType, ProgType

if TYPE_CHECKING:
    from fsession.engine.jit.code import Code
    from fsession.engine.machine import Machine
    from fsession.engine.step import Stepped
    from fsession.engine.table import EngineMap
    from fsession.host import Fd, LoadRequest

__all__ = ["CONTEXT_PROGRAMS", "SESSIONS", "EngineProgram"]

SESSIONS = (AttachType.TRACE_FSESSION, AttachType.TRACE_FSESSION_MULTI)
CONTEXT_PROGRAMS = (ProgType.SYSCALL, ProgType.RAW_TRACEPOINT, ProgType.KPROBE)
_ONLY_SESSIONS = ("bpf_session_is_return", "bpf_session_cookie")
_TAG_BYTES = 8


class EngineProgram:
    """A loaded program; `entry` is the address of its code."""

    def __init__(self, machine: Machine, request: LoadRequest, id: int, index: int) -> None:
        self.machine, self.request, self._id, self.index = machine, request, id, index
        self.calls: set[str] = set()
        self.maps: dict[int, EngineMap] = {}
        self._closed, self._held = False, True
        self.users = 0  # links and maps that hold it
        insns = [self._lowered(insn) for insn in request.insns]
        check_code(insns)
        self._code: Code = architecture().compile_code(insns, self._call_target)
        self.image = place(self._code)
        self.image.holds = tuple(self.maps.values())
        self._faults = faults().add(self.image, self._code)
        self._stepped: Stepped | None = None
        if machine.step is not None:
            from fsession.engine.step import Stepped

            self._stepped = Stepped(self, insns, self._call_target, machine.step)

    @property
    def entry(self) -> int:
        if self._stepped is not None:
            return self._stepped.address
        return self.image.entry(self._code)

    @property
    def tail_entry(self) -> int:
        return self.image.address + self._code.tail_entry

    def entry_of(self, slot: int) -> int:
        """Address of the function that starts at instruction `slot`."""
        return self.image.entry(self._code, slot)

    def _lowered(self, insn: Insn) -> Insn:
        """References to maps and variables become addresses of this process."""
        if not insn.is_lddw or insn.src in (Pseudo.NONE, Pseudo.FUNC):
            return insn
        low, high = insn.imm & 0xFFFF_FFFF, insn.imm >> 32
        if insn.src in (Pseudo.MAP_FD, Pseudo.MAP_VALUE):
            found = self.machine.map_of(low)
            self.maps[found.id] = found
            if insn.src == Pseudo.MAP_VALUE:
                return lddw(insn.dst, found.values.address + high)
            return lddw(insn.dst, found.address)
        if insn.src == Pseudo.BTF_ID:
            return lddw(insn.dst, self.machine.world.symbol_of_id(low))
        raise KernelError(f"load program '{self.name}'", errno.EINVAL)

    def _call_target(self, insn: Insn) -> int | bytes:
        name = self.machine.world.kfunc_name(insn.imm, insn.off) if insn.is_kfunc_call else None
        name = name or f"bpf_{helper_name(insn.imm) or ''}".replace("bpf_bpf_", "bpf_")
        self.calls.add(name)
        if name in _ONLY_SESSIONS and self.request.attach_type not in SESSIONS:
            raise KernelError(f"load program '{self.name}'", errno.EACCES)
        if name in helpers.TASKS:
            self.machine.world.describe_tasks()
        if name in STACK_CALLS and self.type is not ProgType.TRACING:
            raise UnsupportedError(f"the call of {name} in the engine, but for tracing programs,")
        code = helpers.inline(name)
        if code is not None:
            return code
        if name in SLOW:
            return self.machine.slow(name)
        function = helpers.function(name)
        if function is None:
            what = f"the call of {name}" if insn.imm != POISON else "what the kernel lacks"
            raise UnsupportedError(f"{what} in the engine")
        return function.address

    # What it is.

    @property
    def name(self) -> str:
        return self.request.name

    @property
    def id(self) -> int:
        return self._id

    @property
    def fd(self) -> Fd:
        """A number that stands for the program; no descriptor of the system."""
        if self._closed:
            raise ValueError(f"the program '{self.name}' is closed")
        return self._id  # type: ignore[return-value]

    @property
    def type(self) -> ProgType:
        return self.request.type

    @property
    def slot(self) -> int:
        return slot_of(self.index)

    @property
    def info(self) -> ProgramInfo:
        code = encode(replace_addresses(self.request.insns))
        types = self.request.types
        names = [types.name_of(func.type) for func in self.request.funcs] if types else []
        return ProgramInfo(
            id=self._id,
            name=self.name,
            type=self.type,
            tag=hashlib.sha1(code).digest()[:_TAG_BYTES].hex(),
            run_cnt=threads().sum(self.index, RUNS),
            run_time_ns=0,
            recursion_misses=threads().sum(self.index, MISSES),
            verified_insns=slot_count(self.request.insns),
            btf_id=self._id if types else 0,
            map_ids=tuple(sorted(self.maps)),
            func_names=tuple(names),
        )

    # Running it.

    def run(self, context: int) -> int:
        """r0 of one run, unguarded, with r1 the context's address."""
        threads().block()
        function = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)(self.entry)
        result: int = function(context)
        return result

    def test_run(self, *, data: bytes = b"", ctx: bytes = b"", repeat: int = 1) -> TestResult:
        """As BPF_PROG_TEST_RUN: a tracing program by a call of the test functions."""
        started = time.monotonic_ns()
        if self.type is ProgType.TRACING:
            value = call_test_functions(self.machine.function, self.request.attach_type)
            block = Block(0)
        elif self.type in CONTEXT_PROGRAMS and not data:
            block = Block(len(ctx), ctx)
            value = self.run(block.address) & 0xFFFF_FFFF
        else:
            raise KernelError(f"test run of '{self.name}'", errno.ENOTSUP)
        del repeat  # as the kernel: only for programs that get a packet
        return TestResult(value, time.monotonic_ns() - started, b"", block.read())

    def pin(self, path: str) -> None:
        raise KernelError(f"pin as {path}", errno.EOPNOTSUPP).hint(
            "the engine's programs live in this process only"
        )

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.release()

    def release(self) -> None:
        """Free the code when nobody holds the program any more."""
        if self._closed and not self.users and self._held:
            self._held = False
            self.machine.forget_program(self)
            self.maps = {}
            if self._faults:
                self._faults.close()
            self.machine.graveyard.add(self.image)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def replace_addresses(insns: tuple[Insn, ...]) -> list[Insn]:
    """For the tag: the same program has the same on every machine."""
    return [replace(insn, imm=0) if insn.is_lddw and insn.src else insn for insn in insns]
