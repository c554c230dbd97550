"""The kernel's memory and symbols, read by BPF programs that run once when asked.

``BPF_PROG_TYPE_SYSCALL`` programs (5.14) need nothing to be attached to. Each handles up to a batch
of requests, which stand in an array map; the answers come in another::

    requests: u64 count, then u64 address, u64 size for each       (names: 128 bytes each)
    answers:  for each u64 errno or length, then its area
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

from fsession.isa.insn import alu, exit_, ldx, mov, stx
from fsession.isa.opcode import R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, Alu, Jmp, Size
from fsession.resolve import resolve
from fsession.spec import MapSpec, ProgramSpec
from fsession.trace.code import Code
from fsession.uapi import FuncId, MapFlag, MapType, ProgType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from fsession.host import Host, Map, Program

__all__ = ["KernelMemory", "Symbol"]

_T = TypeVar("_T")

_BATCH = 64
_AREA = 4096
_NAME = 256  # KSYM_SYMBOL_LEN and more
_KEY = bytes(4)
_SYMBOL = re.compile(r"(\S+)\+0x([0-9a-f]+)/0x([0-9a-f]+)(?: \[(\S+)\])?")


class Symbol(NamedTuple):
    """What the kernel calls an address: `offset` behind the start of a symbol of `size` bytes."""

    name: str
    offset: int
    size: int
    module: str

    @property
    def label(self) -> str:
        """``name`` or ``module:name``."""
        return f"{self.module}:{self.name}" if self.module else self.name


class KernelMemory:
    """Open until `close`: three programs and their maps."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._stack = ExitStack()
        self._maps: dict[str, Map] = {}
        with self._stack:
            self._create(MapSpec("requests", MapType.ARRAY, 4, 8 + 16 * _BATCH, 1))
            self._create(MapSpec("names", MapType.ARRAY, 4, _NAME * _BATCH, 1))
            self._create(MapSpec("answers", MapType.ARRAY, 4, (8 + _AREA) * _BATCH, 1))
            format_map = MapSpec("format", MapType.ARRAY, 4, 8, 1, MapFlag.RDONLY_PROG)
            self._create(format_map).update(_KEY, b"%pS".ljust(8, b"\0"))
            self._maps["format"].freeze()
            self._programs: dict[str, Program] = {}
            self._stack = self._stack.pop_all()

    def _create(self, spec: MapSpec) -> Map:
        made = self._host.create_map(spec)
        self._stack.callback(made.close)
        self._maps[spec.name] = made
        return made

    def _program(self, name: str, body: Callable[[Code], None]) -> Program:
        if name not in self._programs:
            request = resolve(_loop(name, body), self._host, self._maps)
            self._programs[name] = self._stack.enter_context(self._host.load(request))
        return self._programs[name]

    def read(self, ranges: Iterable[tuple[int, int]]) -> list[bytes]:
        """The bytes at each (address, size); where a page can't be read, those before it."""
        wanted = list(ranges)
        pieces = [
            (index, address + at, min(_AREA, size - at))
            for index, (address, size) in enumerate(wanted)
            for at in range(0, size, _AREA)
        ]
        out = [bytearray() for _ in wanted]
        expected = [0] * len(wanted)
        program = self._program("fsession_read", _read)
        for part in _batches(pieces):
            answers = self._run(program, [(address, size) for _, address, size in part])
            for (index, _, size), (status, area) in zip(part, answers, strict=True):
                if status == 0 and len(out[index]) == expected[index]:
                    out[index] += area[:size]
                expected[index] += size
        return [bytes(item) for item in out]

    def symbols(self, addresses: Iterable[int]) -> list[Symbol | None]:
        """What is at each address; None for what is no text of the kernel."""
        program = self._program("fsession_name", _name)
        found: list[Symbol | None] = []
        for part in _batches(list(addresses)):
            answers = self._run(program, [(address, 0) for address in part])
            found += [_symbol(area) for _, area in answers]
        return found

    def addresses(self, names: Iterable[str]) -> list[int]:
        """Where each symbol is, the first of that name; 0 for what there is not."""
        program = self._program("fsession_find", _find)
        found: list[int] = []
        for part in _batches(list(names)):
            padded = b"".join(name.encode()[: _NAME - 1].ljust(_NAME, b"\0") for name in part)
            self._maps["names"].update(_KEY, padded.ljust(_NAME * _BATCH, b"\0"))
            answers = self._run(program, [(0, len(name.encode()) + 1) for name in part])
            found += [
                0 if status else int.from_bytes(area[:8], "little") for status, area in answers
            ]
        return found

    def goals(self, places: Iterable[int]) -> list[int]:
        """Where calls of `places` get to: there are no stubs in between."""
        return list(places)

    def _run(self, program: Program, wanted: Sequence[tuple[int, int]]) -> list[tuple[int, bytes]]:
        words = [len(wanted), *(word for pair in wanted for word in pair)]
        raw = b"".join(word.to_bytes(8, "little") for word in words)
        self._maps["requests"].update(_KEY, raw.ljust(8 + 16 * _BATCH, b"\0"))
        program.test_run()
        answers = self._maps["answers"].lookup(_KEY) or b""
        size = 8 + _AREA
        parts = [answers[at * size : (at + 1) * size] for at in range(len(wanted))]
        return [(int.from_bytes(part[:8], "little"), part[8:]) for part in parts]

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _batches(items: Sequence[_T]) -> Iterable[Sequence[_T]]:
    return (items[at : at + _BATCH] for at in range(0, len(items), _BATCH))


def _symbol(area: bytes) -> Symbol | None:
    found = _SYMBOL.fullmatch(area.partition(b"\0")[0].decode("utf-8", "replace"))
    if found is None:
        return None
    return Symbol(found[1], int(found[2], 16), int(found[3], 16), found[4] or "")


def _loop(name: str, body: Callable[[Code], None]) -> ProgramSpec:
    """A program that does `body` for each request: r6 its number, r8 its answer, r9 its request."""
    code = Code()
    code.emit(alu(Alu.MOV, R6, imm=0))
    code.label("next")
    code.map_value(R9, "requests", 0)
    code.emit(ldx(Size.DW, R1, R9))
    code.jump(Jmp.JGE, R6, "done", R1)
    code.jump(Jmp.JGE, R6, "done", imm=_BATCH)
    code.emit(mov(R1, R6), alu(Alu.LSH, R1, imm=4), alu(Alu.ADD, R9, R1))
    code.map_value(R8, "answers", 0)
    code.emit(mov(R1, R6), alu(Alu.MUL, R1, imm=8 + _AREA), alu(Alu.ADD, R8, R1))
    body(code)
    code.emit(stx(Size.DW, R8, R0), alu(Alu.ADD, R6, imm=1))
    code.goto("next")
    code.label("done")
    code.emit(alu(Alu.MOV, R0, imm=0), exit_())
    spec = ProgramSpec(name=name, type=ProgType.SYSCALL, insns=code.insns(), relocs=code.relocs)
    return replace(spec, sleepable=True)  # the kernel runs them in no other way


def _read(code: Code) -> None:
    code.emit(ldx(Size.DW, R3, R9, 8), ldx(Size.DW, R2, R9, 16))
    code.jump(Jmp.JLE, R2, "short enough", imm=_AREA)
    code.emit(alu(Alu.MOV, R2, imm=_AREA))
    code.label("short enough")
    code.emit(mov(R1, R8), alu(Alu.ADD, R1, imm=8))
    code.helper(FuncId.probe_read_kernel)


def _name(code: Code) -> None:
    code.emit(mov(R1, R8), alu(Alu.ADD, R1, imm=8), alu(Alu.MOV, R2, imm=_NAME))
    code.map_value(R3, "format", 0)
    code.emit(mov(R4, R9), alu(Alu.ADD, R4, imm=8), alu(Alu.MOV, R5, imm=8))
    code.helper(FuncId.snprintf)


def _find(code: Code) -> None:
    code.map_value(R1, "names", 0)
    code.emit(mov(R2, R6), alu(Alu.LSH, R2, imm=8), alu(Alu.ADD, R1, R2))
    code.emit(ldx(Size.DW, R2, R9, 16), mov(R7, R8), alu(Alu.ADD, R7, imm=8))
    code.jump(Jmp.JLE, R2, "name fits", imm=_NAME)
    code.emit(alu(Alu.MOV, R2, imm=_NAME))
    code.label("name fits")
    code.emit(alu(Alu.MOV, R3, imm=0), mov(R4, R7))
    code.helper(FuncId.kallsyms_lookup_name)
