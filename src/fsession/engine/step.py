"""Programs step by step: the interpreter in the place of machine code, each instruction told.

For looking at what a program does, not for speed: each run is a call of Python. Helpers are those
of the machine code; callbacks that helpers call run as machine code too.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from fsession.engine.interp import Interpreter
from fsession.engine.memory import poke, probe_read
from fsession.engine.native import Function, compile_text
from fsession.errors import UnsupportedError
from fsession.isa.disasm import format_insn
from fsession.isa.insn import InsnOff, offsets
from fsession.isa.opcode import REG_COUNT, Pseudo
from fsession.uapi import FuncId

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fsession.engine.memory import Region
    from fsession.engine.program import EngineProgram
    from fsession.isa.insn import Insn

__all__ = ["Stepped"]

_ENTRY = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)
_TEXT_COLUMNS = 48


class Stepped:
    """`address` is called instead of the program's own code; `tell` gets the lines."""

    def __init__(
        self,
        program: EngineProgram,
        insns: Sequence[Insn],
        target: Callable[[Insn], int | bytes],
        tell: Callable[[str], None],
    ) -> None:
        self._program, self._tell = program, tell
        shown = zip(offsets(program.request.insns), program.request.insns, strict=False)
        self._shown = dict(shown)
        self._calls = {
            (insn.imm, insn.off, insn.src): _callable(insn, target)
            for insn in insns
            if insn.is_call and not insn.is_local_call
        }
        self._insns = tuple(insns)
        self._callback = _ENTRY(self._run)
        self.address = ctypes.cast(self._callback, ctypes.c_void_p).value or 0

    def _run(self, context: int) -> int:
        """An exception must not pass through machine code."""
        name, told = self._program.name, _Told(self._tell, self._text)
        self._tell(f"{name}: r1={context:#x}")
        interpreter = Interpreter(
            self._insns,
            ProcessMemory(),
            call=self._call,
            function=self._program.entry_of,
            step=told.before,
        )
        try:
            result = interpreter.run(context)
            told.finish()
            self._tell(f"{name}: returns {result:#x}")
            return result
        except BaseException as error:
            self._program.machine.failures.append(error)
            return 0

    def _text(self, at: InsnOff) -> str:
        """Of the instruction as it was loaded, with names of maps."""
        insn = self._shown[at]
        return f"{at:4}: ({insn.opcode:02x}) {format_insn(insn, at, self._name)}"

    def _name(self, _: InsnOff, insn: Insn) -> str | None:
        machine, low, high = self._program.machine, insn.imm & 0xFFFF_FFFF, insn.imm >> 32
        if insn.is_kfunc_call:
            return f"{machine.world.kfunc_name(insn.imm, insn.off)}#{insn.imm}"
        if insn.is_lddw and insn.src == Pseudo.MAP_FD:
            return f"map[{machine.map_of(low).name}]"
        if insn.is_lddw and insn.src == Pseudo.MAP_VALUE:
            return f"map[{machine.map_of(low).name}][0]+{high}"
        return None

    def _call(self, insn: Insn, arguments: Sequence[int]) -> int:
        return self._calls[insn.imm, insn.off, insn.src](*arguments)


class _Told:
    """One run: each instruction with the registers that it changed."""

    def __init__(self, tell: Callable[[str], None], text: Callable[[InsnOff], str]) -> None:
        self._tell, self._text = tell, text
        self._line, self._last = "", [0] * REG_COUNT

    def before(self, at: InsnOff, _: Insn, registers: Sequence[int]) -> None:
        """Of an instruction: tell the one that ran before it."""
        pairs = enumerate(zip(self._last, registers, strict=True))
        notes = " ".join(f"r{number}={new:#x}" for number, (old, new) in pairs if new != old)
        if self._line:
            self._tell(f"{self._line:{_TEXT_COLUMNS}} ; {notes}" if notes else self._line)
        self._line, self._last = self._text(at), list(registers)

    def finish(self) -> None:
        self._tell(self._line)


def _callable(insn: Insn, target: Callable[[Insn], int | bytes]) -> Function:
    """What a call does, as a C function."""
    if not insn.src and insn.imm == FuncId.tail_call:
        raise UnsupportedError("a tail call, step by step,")
    return compile_text("call c:it\n exit", {"it": target(insn)})


class ProcessMemory:
    """All of the process: what a verified program may touch is its own affair. Loads never fault:
    they give 0, as in the kernel."""

    def add(self, region: Region) -> None:
        """Nothing is kept apart."""

    def remove(self, region: Region) -> None:
        """The same."""

    def load(self, address: int, size: int) -> int:
        return int.from_bytes(probe_read(address, size) or b"", "little")

    def store(self, address: int, size: int, value: int) -> None:
        poke(address, size, value)
