"""The functions of an object: their instructions, and what these refer to.

A section of code holds functions one after the other; ``STT_FUNC`` symbols say where. Calls of
functions of the program are of three forms (the BPF relocations of llvm.org/docs/BPFTarget):

- ``call`` with a relocation of the callee's symbol; its immediate is -1;
- ``call`` with a relocation of the section of a static callee; the immediate is the callee's slot
  in the section, less 1;
- ``call`` without a relocation, relative to the next instruction as the kernel has it.

The address of a function, for a callback, is a ``lddw`` with a relocation of the symbol or, the
immediate an offset in bytes, of the section.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.errors import BadInputError
from fsession.frozen import frozen
from fsession.isa.insn import SLOT_BYTES, Insn, InsnOff, decode
from fsession.isa.opcode import CALL_HELPER, CALL_LOCAL
from fsession.obj.elf import INSN32, INSN64
from fsession.obj.types import KCONFIG
from fsession.spec import KfuncCall, KsymRef, MapRef, MapValueRef

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsession.obj.elf import Elf, Relocation, Section, Symbol
    from fsession.obj.types import Extern
    from fsession.spec import Reloc

__all__ = ["Body", "Function", "Functions", "Places"]


@frozen
class Function:
    """Where a function lies: `start` and `end` are slots in the section."""

    name: str
    section: int
    start: int
    end: int
    is_local: bool


@frozen
class Body:
    """A function's instructions. Slots in `callees` and `relocs` count from its start.

    `callees` are the functions that the call or ``lddw`` at a slot refers to.
    """

    function: Function
    insns: tuple[tuple[int, Insn], ...]
    callees: dict[int, Function]
    relocs: tuple[Reloc, ...]


@frozen
class Places:
    """What a relocation can be of: map by (section, offset), data section by index, extern."""

    maps: dict[tuple[int, int], str]
    data: dict[int, str]
    externs: dict[str, Extern]


class Functions:
    """All functions of an object; their bodies are read when they are asked for."""

    def __init__(self, elf: Elf, places: Places) -> None:
        self.elf, self.places = elf, places
        self._code: dict[int, dict[int, Insn]] = {}
        self._relocations: dict[int, dict[int, Relocation]] = {}
        self._bodies: dict[Function, Body] = {}
        self._by_start = {
            (function.section, function.start): function for function in _functions(elf)
        }

    def __iter__(self) -> Iterator[Function]:
        return iter(self._by_start.values())

    def body(self, function: Function) -> Body:
        """The function's instructions and references. Raises `BadInputError`."""
        found = self._bodies.get(function)
        if found is None:
            found = self._bodies[function] = self._read(function)
        return found

    def _section_code(self, section: Section) -> dict[int, Insn]:
        """The instructions of a section by their slots."""
        if section.index not in self._code:
            try:
                insns = decode(section.data)
            except BadInputError as error:
                raise BadInputError(f"section '{section.name}': {error}") from None
            code, slot = {}, 0
            for insn in insns:
                code[slot] = insn
                slot += insn.slots
            self._code[section.index] = code
        return self._code[section.index]

    def _read(self, function: Function) -> Body:
        section = self.elf.sections[function.section]
        code = self._section_code(section)
        span = range(function.start, function.end)
        insns = tuple((slot - function.start, code[slot]) for slot in span if slot in code)
        _check_flow(function, insns)
        reader = _References(self, function, section)
        return Body(function, insns, *reader.read(insns))

    def relocations(self, section: Section) -> dict[int, Relocation]:
        """Relocations of a section of code by slot."""
        if section.index not in self._relocations:
            self._relocations[section.index] = _by_slot(section, self.elf)
        return self._relocations[section.index]

    def at(self, section: int, slot: int) -> Function | None:
        return self._by_start.get((section, slot))


class _References:
    """Reads what the instructions of one function refer to."""

    def __init__(self, functions: Functions, function: Function, section: Section) -> None:
        self._functions, self._function, self._section = functions, function, section
        self._relocations = functions.relocations(section)

    def read(
        self, insns: tuple[tuple[int, Insn], ...]
    ) -> tuple[dict[int, Function], tuple[Reloc, ...]]:
        callees: dict[int, Function] = {}
        relocs: list[Reloc] = []
        for slot, insn in insns:
            relocation = self._relocations.get(self._function.start + slot)
            if insn.is_call and insn.src != CALL_HELPER:
                found = self._call(slot, insn, relocation)
            elif relocation is not None:
                found = self._load(slot, insn, relocation)
            elif insn.is_lddw and insn.src:
                raise self._bad(slot, "a load of something that is not known without a relocation")
            else:
                continue
            if isinstance(found, Function):
                callees[slot] = found
            else:
                relocs.append(found)
        return callees, tuple(relocs)

    def _call(self, slot: int, insn: Insn, relocation: Relocation | None) -> Function | Reloc:
        if insn.src != CALL_LOCAL:
            raise self._bad(slot, "a call of something that is not known without a relocation")
        if relocation is None:
            target = self._function.start + slot + 1 + insn.imm
            return self._callee(slot, self._function.section, target)
        symbol = relocation.symbol
        if relocation.type != INSN32:
            raise self._bad(slot, f"a call with a relocation of type {relocation.type}")
        if symbol.is_extern:
            return self._kfunc(slot, symbol)
        if symbol.section is None:
            raise self._bad(slot, f"a call of '{symbol.name}', which is in no section")
        start, odd = divmod(symbol.value, SLOT_BYTES)
        if odd:
            raise self._bad(slot, f"a call of '{symbol.name}', which is at no instruction")
        return self._callee(slot, symbol.section, start + insn.imm + 1)

    def _callee(self, slot: int, section: int, target: int) -> Function:
        callee = self._functions.at(section, target)
        if callee is None:
            raise self._bad(slot, f"it refers to slot {target}, where no function starts")
        return callee

    def _kfunc(self, slot: int, symbol: Symbol) -> KfuncCall:
        extern = self._extern(slot, symbol)
        if not extern.is_func:
            raise self._bad(slot, f"a call of '{symbol.name}', which is no function")
        return KfuncCall(InsnOff(slot), symbol.name, symbol.is_weak, extern.type)

    def _extern(self, slot: int, symbol: Symbol) -> Extern:
        extern = self._functions.places.externs.get(symbol.name)
        if extern is None:
            raise self._bad(slot, f"'{symbol.name}' is not defined, nor a __ksym or __kconfig")
        return extern

    def _load(self, slot: int, insn: Insn, relocation: Relocation) -> Function | Reloc:
        symbol = relocation.symbol
        if relocation.type != INSN64 or not insn.is_lddw or insn.src:
            raise self._bad(slot, f"a relocation of type {relocation.type} where none belongs")
        if symbol.is_extern:
            return self._extern_load(slot, insn, symbol)
        if symbol.section is None:
            raise self._bad(slot, f"a load of '{symbol.name}', which is in no section")
        offset = symbol.value + _signed(insn.imm)
        return self._section_load(slot, symbol.section, offset)

    def _section_load(self, slot: int, section: int, offset: int) -> Function | Reloc:
        places = self._functions.places
        data = places.data.get(section)
        if data is not None:
            self._check_inside(slot, section, offset)
            return MapValueRef(InsnOff(slot), data, offset)
        map = places.maps.get((section, offset))
        if map is not None:
            return MapRef(InsnOff(slot), map)
        target = self._functions.elf.sections[section]
        if not target.is_code:
            raise self._bad(
                slot, f"a load from section '{target.name}', which is none of .data, .bss, .rodata"
            )
        if offset % SLOT_BYTES:
            raise self._bad(slot, "the address of a function between two instructions")
        return self._callee(slot, section, offset // SLOT_BYTES)

    def _check_inside(self, slot: int, section: int, offset: int) -> None:
        target = self._functions.elf.sections[section]
        if not 0 <= offset < target.size:
            raise self._bad(slot, f"byte {offset} of section '{target.name}' is outside of it")

    def _extern_load(self, slot: int, insn: Insn, symbol: Symbol) -> Reloc:
        extern = self._extern(slot, symbol)
        if extern.section == KCONFIG:
            if not 0 <= insn.imm < extern.size:
                raise self._bad(slot, f"byte {insn.imm} of extern '{symbol.name}' is outside of it")
            return MapValueRef(InsnOff(slot), KCONFIG, extern.offset + insn.imm)
        if insn.imm:
            raise self._bad(slot, f"an offset to extern '{symbol.name}'")
        return KsymRef(InsnOff(slot), symbol.name, symbol.is_weak, extern.type)

    def _bad(self, slot: int, what: str) -> BadInputError:
        place = (self._function.start + slot) * SLOT_BYTES
        return BadInputError(f"'{self._function.name}' in '{self._section.name}': {what}", place)


def _functions(elf: Elf) -> Iterator[Function]:
    """Functions of the sections of code, by their symbols."""
    found = sorted(
        (symbol.section, symbol.value, symbol.size, symbol.name, symbol.is_local)
        for symbol in elf.symbols
        if symbol.is_func and symbol.section is not None and elf.sections[symbol.section].is_code
    )
    last, end = -1, 0
    for section, value, size, name, is_local in found:
        if value % SLOT_BYTES or size % SLOT_BYTES or not size:
            raise BadInputError(f"function '{name}' is no whole number of instructions", value)
        if section == last and value < end:
            raise BadInputError(f"function '{name}' overlaps the one before it", value)
        last, end = section, value + size
        yield Function(name, section, value // SLOT_BYTES, end // SLOT_BYTES, is_local)


def _by_slot(section: Section, elf: Elf) -> dict[int, Relocation]:
    found: dict[int, Relocation] = {}
    for relocation in elf.relocations_of(section):
        slot, odd = divmod(relocation.offset, SLOT_BYTES)
        if odd or slot in found:
            what = f"section '{section.name}': a relocation of no instruction, or a second one"
            raise BadInputError(what, relocation.offset)
        found[slot] = relocation
    return found


def _check_flow(function: Function, insns: tuple[tuple[int, Insn], ...]) -> None:
    """Jumps go to instructions of the function, and its end is not run past.

    A call may be the last instruction: of a function that never returns.
    """
    starts = {slot for slot, _ in insns}
    for slot, insn in insns:
        if insn.is_jump and slot + 1 + insn.jump_off not in starts:
            place = (function.start + slot) * SLOT_BYTES
            raise BadInputError(f"'{function.name}': a jump out of the function", place)
    last = insns[-1][1] if insns else Insn(0)
    if not (last.is_exit or last.is_call or last.is_jump) or insns[0][0]:
        raise BadInputError(f"'{function.name}' runs past its end", function.end * SLOT_BYTES)


def _signed(imm: int) -> int:
    """The 64-bit immediate of a ``lddw`` as a signed offset."""
    return imm - (1 << 64) if imm >> 63 else imm
