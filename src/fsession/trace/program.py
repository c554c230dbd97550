"""The generated BPF side of the tracer: programs that fill `fsession.trace.record`.

`function_program` is a session for one function (native, and split after its rewriting);
`multi_program` one for any number of functions, which reads its arguments by helpers because it
is verified against a function without any. Both do the same:

- at the entry: leave, if the filters say so; save what must be of the entry: texts of string
  arguments and values of expressions that read memory; put the time into the cookie.
- at the exit: leave, if the cookie is 0 (no entry ran), or the filters on duration and result
  say so; reserve a record, fill it, submit it. A full ring buffer is counted.

The argument words are read at the exit but are those of the entry: the trampoline saved the
registers before the function ran and nothing writes to them. Memory behind pointers may change
meanwhile, so it is read at the entry, and kept in a hash map under the address of the context,
which is one for the entry and the exit of a call and differs between all calls under way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fsession.isa.insn import Insn, st
from fsession.isa.opcode import R0, Size
from fsession.lang.emit import emit
from fsession.lang.ir import BinaryOp, Label, Space, Test, Value
from fsession.lang.link import finish
from fsession.spec import MapSpec, ProgramSpec, Reloc
from fsession.trace.body import (
    COUNTS_MAP,
    RING_MAP,
    SAVED_AT,
    Session,
    Wanted,
    saved_map,
    zeros_map,
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
    "SAVED_ENTRIES",
    "Templates",
    "attach_cookie",
    "function_program",
    "map_specs",
    "multi_layout",
    "multi_program",
    "with_fields",
]

SAVED_ENTRIES = 4096  # calls under way at one time, of functions that save something

# The attach cookie of a function in a multi link: what its record needs and the program can't know.
_COOKIE_STRINGS = 32  # 4 fields of 4 bits: the word of a string argument plus 1, 0 for none
_COOKIE_FAILURE = 48  # 2 bits: `Failure`
_STRING_BITS = 4
_STRINGS_MASK = 0xFFFF

_NO_INDEX = 0x5E55_1011  # in the place of a function's index, in a template
_STORE_INDEX = st(Size.W, R0, FUNCTION, _NO_INDEX)


def map_specs(
    layouts: Sequence[Layout], ring_bytes: int, *, saved_entries: int = SAVED_ENTRIES
) -> tuple[MapSpec, ...]:
    """Maps that the programs with these layouts share. `ring_bytes`: a power of two, in pages."""
    maps = [
        MapSpec(RING_MAP, MapType.RINGBUF, 0, 0, ring_bytes),
        MapSpec(COUNTS_MAP, MapType.ARRAY, 4, Counts.STRUCT.size, 1),
    ]
    for size in sorted({layout.saved_bytes for layout in layouts} - {0}):
        value = SAVED_AT + size
        maps.append(MapSpec(saved_map(size), MapType.HASH, 8, value, saved_entries))
        maps.append(MapSpec(zeros_map(size), MapType.ARRAY, 4, value, 1))
    return tuple(maps)


def with_fields(layout: Layout, wanted: Wanted) -> Layout:
    """A layout with room for the fields."""
    rooms = [0, 0]
    for field in wanted.fields:
        rooms[field.at_exit] += field.room
    return replace(layout, exit_bytes=rooms[True], entry_bytes=rooms[False])


class Templates:
    """Programs for single functions; those of functions that look alike are compiled once."""

    def __init__(self) -> None:
        self._made: dict[object, tuple[tuple[Insn, ...], tuple[Reloc, ...]]] = {}

    def program(self, function: Signature, index: int, wanted: Wanted) -> ProgramSpec:
        """A session on one function; its records carry `index`."""
        key = _likeness(function, wanted)
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = _compiled(_Function(function, wanted))
        insns = tuple(_indexed(insn, index) for insn in made[0])
        return _spec(function.function, insns, made[1], AttachType.TRACE_FSESSION, function.label)


def _likeness(function: Signature, wanted: Wanted) -> object:
    """Equal for functions with the same program, but for the index."""
    params = tuple((p.slot, p.slots, p.direct, p.string) for p in function.params)
    sources = [*wanted.filters.conditions, *(field.text for field in wanted.fields)]
    used = wanted.scope.key(sources) if wanted.scope else None
    result = bool(function.result), function.direct_result, function.failure
    return params, result, used, wanted.fields


def _indexed(insn: Insn, index: int) -> Insn:
    found = replace(insn, dst=R0) == _STORE_INDEX
    return replace(insn, imm=index) if found else insn


def function_program(function: Signature, index: int, wanted: Wanted) -> ProgramSpec:
    """A session on one function; its records carry `index`."""
    return Templates().program(function, index, wanted)


def multi_program(layout: Layout, wanted: Wanted) -> ProgramSpec:
    """One session on any functions whose calls fit in `layout`, linked with their `attach_cookie`
    each."""
    insns, relocs = _compiled(_Multi(layout, wanted))
    return _spec("fsession_calls", insns, relocs, AttachType.TRACE_FSESSION_MULTI, "")


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


def _compiled(session: Session) -> tuple[tuple[Insn, ...], tuple[Reloc, ...]]:
    function = session.make().function
    finish(function)
    code = emit(function)
    return tuple(code.insns), tuple(code.relocs)


def _spec(
    name: str,
    insns: tuple[Insn, ...],
    relocs: tuple[Reloc, ...],
    attach_type: AttachType,
    target: str,
) -> ProgramSpec:
    return ProgramSpec(
        name=name,
        type=ProgType.TRACING,
        insns=insns,
        attach_type=attach_type,
        target=target,
        relocs=relocs,
    )


class _Function(Session):
    """Arguments by loads from the context, whose types the verifier knows."""

    def __init__(self, function: Signature, wanted: Wanted) -> None:
        super().__init__(with_fields(function.layout, wanted), wanted)
        self.function = function

    def save_strings(self, area: Value) -> None:
        for place, param in enumerate(self.function.strings):
            self.read_string(self.build.add(area, STRING_BYTES * place), self._word(param.slot))

    def _word(self, slot: int) -> Value:
        return self.build.load(self.context, SLOT_BYTES * slot, SLOT_BYTES, Space.CTX)

    def failed_result(self, otherwise: Label) -> Value:
        result = self._result()
        if self.function.failure == Failure.INT:
            return self.build.extend(result, 32, signed=True)
        return result

    def fill_words(self, record: Value) -> None:
        build = self.build
        build.store(record, FUNCTION, build.const(_NO_INDEX), 4, Space.MAP)
        for param in self.function.params:
            for slot in range(param.slot, param.slot + param.slots):
                self._fill_slot(record, slot, direct=param.direct)
        if self.function.result:
            build.store(record, RET, self._result(), 8, Space.MAP)

    def _fill_slot(self, record: Value, slot: int, *, direct: bool) -> None:
        build, at = self.build, HEADER_BYTES + SLOT_BYTES * slot
        if direct:
            build.store(record, at, self._word(slot), SLOT_BYTES, Space.MAP)
        else:
            place = build.add(record, at)
            build.helper(FuncId.get_func_arg, self.context, build.const(slot), place)

    def _result(self) -> Value:
        if self.function.direct_result:
            return self._word(self.layout.slots)
        return _func_ret(self)


class _Multi(Session):
    """Arguments by helpers; what differs between functions comes in the attach cookie."""

    def __init__(self, layout: Layout, wanted: Wanted) -> None:
        super().__init__(with_fields(layout, wanted), wanted)

    def save_strings(self, area: Value) -> None:
        build = self.build
        for place in range(self.layout.strings):
            there, done = build.block(), build.block()
            shift = build.const(_COOKIE_STRINGS + _STRING_BITS * place)
            slot = build.binary(BinaryOp.LSHR, self._attach_cookie(), shift)
            slot = build.binary(BinaryOp.AND, slot, build.const((1 << _STRING_BITS) - 1))
            build.branch(Test.NE, slot, build.const(0), there, done)
            build.begin(there)
            number = build.binary(BinaryOp.SUB, slot, build.const(1))
            at = build.slot(SLOT_BYTES)
            build.helper(FuncId.get_func_arg, self.context, number, at)
            pointer = build.load(at, 0, SLOT_BYTES, Space.STACK)
            self.read_string(build.add(area, STRING_BYTES * place), pointer)
            build.jump(done)
            build.begin(done)

    def branch_strings(self, then: Label, other: Label) -> None:
        build = self.build
        words = build.binary(BinaryOp.LSHR, self._attach_cookie(), build.const(_COOKIE_STRINGS))
        words = build.binary(BinaryOp.AND, words, build.const(_STRINGS_MASK))
        build.branch(Test.NE, words, build.const(0), then, other)

    def failed_result(self, otherwise: Label) -> Value:
        """The class of the result is the attach cookie's."""
        build = self.build
        kind = build.binary(BinaryOp.LSHR, self._attach_cookie(), build.const(_COOKIE_FAILURE))
        kind = build.binary(BinaryOp.AND, kind, build.const(3))
        self._go_on(Test.NE, kind, build.const(Failure.NONE), otherwise)
        result = _func_ret(self)
        narrow, wide, done = build.block(), build.block(), build.block()
        build.branch(Test.EQ, kind, build.const(Failure.INT), narrow, wide)
        build.begin(narrow)
        build.jump(done, build.extend(result, 32, signed=True))
        build.begin(wide)
        build.jump(done, result)
        (result,) = build.begin(done, 1)
        return result

    def fill_words(self, record: Value) -> None:
        build = self.build
        build.store(record, FUNCTION, self._attach_cookie(), 4, Space.MAP)
        build.helper(FuncId.get_func_ret, self.context, build.add(record, RET))
        count = build.helper(FuncId.get_func_arg_cnt, self.context)
        filled = build.block()
        for slot in range(self.layout.slots):
            more = build.block()
            build.branch(Test.UGT, count, build.const(slot), more, filled)
            build.begin(more)
            place = build.add(record, HEADER_BYTES + SLOT_BYTES * slot)
            build.helper(FuncId.get_func_arg, self.context, build.const(slot), place)
        build.jump(filled)
        build.begin(filled)

    def _attach_cookie(self) -> Value:
        return self.build.helper(FuncId.get_attach_cookie, self.context, pure=True)


def _func_ret(session: Session) -> Value:
    build = session.build
    at = build.slot(SLOT_BYTES)
    build.helper(FuncId.get_func_ret, session.context, at)
    return build.load(at, 0, SLOT_BYTES, Space.STACK)
