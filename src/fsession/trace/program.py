"""The generated BPF side of the tracer: programs that fill `fsession.trace.record`.

`function_program` is a session for one function (native, and split after its rewriting);
`multi_program` one for any number of functions, which reads its arguments by helpers because it
is verified against a function without any. Both do the same:

- at the entry: leave, if the filters on the process say so; save the texts of string arguments;
  put the time into the cookie.
- at the exit: leave, if the cookie is 0 (no entry ran), or the filters on duration and result
  say so; reserve a record, fill it, submit it. A full ring buffer is counted.

The argument words are read at the exit but are those of the entry: the trampoline saved the
registers before the function ran and nothing writes to them. Texts behind pointers may change
meanwhile, so they are read at the entry, and kept in a hash map under the address of the context,
which is one for the entry and the exit of a call and differs between all calls under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.isa.insn import alu, ldx, mov, st, stx
from fsession.isa.opcode import R0, R1, R2, R3, R6, R8, R9, R10, Alu, Jmp, Size
from fsession.spec import MapSpec, ProgramSpec
from fsession.trace.body import (
    COUNTS_MAP,
    RING_MAP,
    SAVED_AT,
    Filters,
    Session,
    get_func_arg,
    get_func_ret,
    strings_map,
)
from fsession.trace.record import (
    FUNCTION,
    HEADER_BYTES,
    RET,
    SLOT_BYTES,
    STRING_BYTES,
    Counts,
    Layout,
)
from fsession.trace.signature import Failure, Shape, Signature
from fsession.uapi import AttachType, FuncId, MapType, ProgType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "COUNTS_MAP",
    "RING_MAP",
    "Filters",
    "attach_cookie",
    "function_program",
    "map_specs",
    "multi_layout",
    "multi_program",
]

STRINGS_ENTRIES = 4096  # calls under way, of functions with string arguments, at one time

# The attach cookie of a function in a multi link: what its record needs and the program can't know.
_COOKIE_STRINGS = 32  # 4 fields of 4 bits: the word of a string argument plus 1, 0 for none
_COOKIE_FAILURE = 48  # 2 bits: `Failure`
_STRING_BITS = 4
_STRINGS_MASK = 0xFFFF


def map_specs(
    layouts: Sequence[Layout], ring_bytes: int, *, strings_entries: int = STRINGS_ENTRIES
) -> tuple[MapSpec, ...]:
    """Maps that the programs with these layouts share. `ring_bytes`: a power of two, in pages."""
    maps = [
        MapSpec(RING_MAP, MapType.RINGBUF, 0, 0, ring_bytes),
        MapSpec(COUNTS_MAP, MapType.ARRAY, 4, Counts.STRUCT.size, 1),
    ]
    for count in sorted({layout.strings for layout in layouts} - {0}):
        size = SAVED_AT + STRING_BYTES * count
        maps.append(MapSpec(strings_map(count), MapType.HASH, 8, size, strings_entries))
    return tuple(maps)


def function_program(function: Signature, index: int, filters: Filters) -> ProgramSpec:
    """A session on one function; its records carry `index`."""
    body = _Function(function, index, filters)
    return _spec(function.function, body, AttachType.TRACE_FSESSION, function.label)


def multi_program(layout: Layout, filters: Filters) -> ProgramSpec:
    """One session on any functions whose calls fit in `layout`, linked with their `attach_cookie`
    each."""
    body = _Multi(layout, filters)
    return _spec("fsession_calls", body, AttachType.TRACE_FSESSION_MULTI, "")


def multi_layout(shapes: Iterable[Shape]) -> Layout:
    """The layout that holds the calls of functions of all `shapes`."""
    layouts = {shape.layout for shape in shapes}
    slots = max((layout.slots for layout in layouts), default=0)
    return Layout(slots, max((layout.strings for layout in layouts), default=0))


def attach_cookie(shape: Shape, index: int) -> int:
    """What `multi_program` has to be told about a function, as the cookie of its attachment."""
    cookie = index | shape.failure << _COOKIE_FAILURE
    for place, slot in enumerate(shape.strings):
        cookie |= (slot + 1) << (_COOKIE_STRINGS + _STRING_BITS * place)
    return cookie


def _spec(name: str, body: Session, attach_type: AttachType, target: str) -> ProgramSpec:
    code = body.build()
    return ProgramSpec(
        name=name,
        type=ProgType.TRACING,
        insns=code.insns(),
        attach_type=attach_type,
        target=target,
        relocs=code.relocs,
    )


class _Function(Session):
    """Arguments by loads from the context, whose types the verifier knows."""

    def __init__(self, function: Signature, index: int, filters: Filters) -> None:
        super().__init__(function.layout, filters)
        self.function = function
        self.index = index

    def save_strings(self) -> None:
        for place, param in enumerate(self.function.strings):
            self.code.emit(ldx(Size.DW, R3, R6, SLOT_BYTES * param.slot))
            self.read_string(place)
        self.keep_strings()

    def load_result(self) -> None:
        code = self.code
        self._load_result(R1)
        if self.function.failure == Failure.INT:
            code.emit(alu(Alu.LSH, R1, imm=32), alu(Alu.ARSH, R1, imm=32))

    def fill_words(self) -> None:
        code = self.code
        code.emit(st(Size.W, R9, FUNCTION, self.index))
        for param in self.function.params:
            for slot in range(param.slot, param.slot + param.slots):
                self._fill_slot(slot, param.direct)
        if self.function.result:
            self._load_result(R1)
            code.emit(stx(Size.DW, R9, R1, RET))

    def _fill_slot(self, slot: int, direct: bool) -> None:
        code, at = self.code, HEADER_BYTES + SLOT_BYTES * slot
        if direct:
            code.emit(ldx(Size.DW, R1, R6, SLOT_BYTES * slot), stx(Size.DW, R9, R1, at))
        else:
            get_func_arg(code, slot, R9, at)

    def _load_result(self, register: int) -> None:
        code = self.code
        if self.function.direct_result:
            code.emit(ldx(Size.DW, register, R6, SLOT_BYTES * self.layout.slots))
        else:
            get_func_ret(code, R10, -SLOT_BYTES)
            code.emit(ldx(Size.DW, register, R10, -SLOT_BYTES))


class _Multi(Session):
    """Arguments by helpers; what differs between functions comes in the attach cookie."""

    def save_strings(self) -> None:
        code = self.code
        self._attach_cookie()
        code.emit(mov(R9, R0), alu(Alu.RSH, R9, imm=_COOKIE_STRINGS))
        code.emit(alu(Alu.AND, R9, imm=_STRINGS_MASK))
        code.jump(Jmp.JEQ, R9, "strings done", imm=0)
        for place in range(self.layout.strings):
            label = f"string {place} done"
            code.emit(st(Size.DW, R10, self.area_off(place), 0))
            code.emit(mov(R2, R9), alu(Alu.RSH, R2, imm=_STRING_BITS * place))
            code.emit(alu(Alu.AND, R2, imm=(1 << _STRING_BITS) - 1))
            code.jump(Jmp.JEQ, R2, label, imm=0)
            code.emit(alu(Alu.SUB, R2, imm=1), mov(R1, R6), mov(R3, R10))
            code.emit(alu(Alu.ADD, R3, imm=self.key_off))
            code.helper(FuncId.get_func_arg)
            code.emit(ldx(Size.DW, R3, R10, self.key_off))
            self.read_string(place)
            code.label(label)
        self.keep_strings()
        code.label("strings done")

    def note_strings(self) -> None:
        """A constant on each path, by which the verifier tells the two sizes of records apart."""
        code = self.code
        self._attach_cookie()
        code.emit(alu(Alu.RSH, R0, imm=_COOKIE_STRINGS), alu(Alu.AND, R0, imm=_STRINGS_MASK))
        code.emit(st(Size.DW, R10, self._flag_off, 0))
        code.jump(Jmp.JEQ, R0, "noted", imm=0)
        code.emit(st(Size.DW, R10, self._flag_off, 1))
        code.label("noted")

    def unless_strings(self, label: str) -> None:
        self.code.emit(ldx(Size.DW, R1, R10, self._flag_off))
        self.code.jump(Jmp.JEQ, R1, label, imm=0)

    @property
    def _flag_off(self) -> int:
        return self.key_off - 8

    def reserve(self) -> None:
        code = self.code
        if self.layout.strings:
            self.unless_strings("short record")
            self.reserve_bytes(self.layout.size)
            code.goto("reserved")
            code.label("short record")
        self.reserve_bytes(Layout(self.layout.slots).size)
        code.label("reserved")
        code.emit(mov(R9, R0))

    def load_result(self) -> None:
        """The class of the result is the attach cookie's."""
        code = self.code
        get_func_ret(code, R10, -SLOT_BYTES)
        self._attach_cookie()
        code.emit(ldx(Size.DW, R1, R10, -SLOT_BYTES))
        code.emit(alu(Alu.RSH, R0, imm=_COOKIE_FAILURE), alu(Alu.AND, R0, imm=3))
        code.jump(Jmp.JEQ, R0, "drop", imm=Failure.NONE)
        code.jump(Jmp.JNE, R0, "result loaded", imm=Failure.INT)
        code.emit(alu(Alu.LSH, R1, imm=32), alu(Alu.ARSH, R1, imm=32))
        code.label("result loaded")

    def fill_words(self) -> None:
        code = self.code
        self._attach_cookie()
        code.emit(stx(Size.W, R9, R0, FUNCTION))
        get_func_ret(code, R9, RET)
        code.emit(mov(R1, R6))
        code.helper(FuncId.get_func_arg_cnt)
        code.emit(mov(R8, R0))
        for slot in range(self.layout.slots):
            code.jump(Jmp.JLE, R8, "filled", imm=slot)
            get_func_arg(code, slot, R9, HEADER_BYTES + SLOT_BYTES * slot)
        code.label("filled")

    def _attach_cookie(self) -> None:
        self.code.emit(mov(R1, R6))
        self.code.helper(FuncId.get_attach_cookie)
