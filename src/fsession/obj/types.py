"""An object's BTF as the kernel takes it: places filled in, externs made into what it knows.

clang does not know where sections end up, so a DATASEC comes with size 0 and most offsets 0; they
are filled in from the ELF sections and symbols. And the kernel has no externs in a program's BTF;
of their records these are made (ids stay, so that every reference stays right)::

    FUNC f, extern                  FUNC f, global; its nameless parameters get a name
    VAR v, extern, in .ksyms        void *, as its type may be void, or only declared
    VAR v, extern, in .kconfig      VAR v, global
    DATASEC .ksyms                  void *, which nothing refers to
    DATASEC .kconfig, no places     DATASEC .kconfig, variables laid out one after the other
    FUNC f, global, hidden in ELF   FUNC f, static: verified with its callers, not on its own
    DECL_TAG of what became void *  void *

Where the compiler has kept only a member of a static struct, its variable is smaller than its
type, which the kernel refuses: such a variable is left out of its DATASEC.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fsession.btf.catalog import Types
from fsession.btf.encode import Builder
from fsession.btf.types import (
    VOID,
    Array,
    DataSec,
    DeclTag,
    Enum,
    Enum64,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Ptr,
    SecVar,
    Struct,
    TypeId,
    Union,
    Var,
    Void,
)
from fsession.errors import BadInputError
from fsession.frozen import frozen

if TYPE_CHECKING:
    from fsession.btf.types import Type
    from fsession.obj.elf import Elf, Symbol

__all__ = ["KCONFIG", "KSYMS", "Extern", "ObjectTypes", "read_types"]

KCONFIG, KSYMS = ".kconfig", ".ksyms"
_STATIC, _GLOBAL, _EXTERN = 0, 1, 2
_MAX_KCONFIG_BYTES = 4096  # of one value; the kernel's longest text options have some hundreds
_LEAVES = (Void, Int, Enum, Enum64, Fwd, Float)  # kinds that refer to no other type


@frozen
class Extern:
    """Something the kernel has to give. `type` is the `Func`, or a variable's type; VOID: untyped.

    `section` is ``.ksyms`` or ``.kconfig``; `offset` and `size` are its place in the latter.
    """

    name: str
    section: str
    type: TypeId
    is_func: bool = False
    offset: int = 0
    size: int = 0


@frozen
class ObjectTypes:
    """The types, ready for the kernel; externs by name; the DATASEC of each section by its name."""

    types: Types
    externs: dict[str, Extern]
    sections: dict[str, TypeId]


def read_types(data: bytes, elf: Elf, name: str) -> ObjectTypes:
    """Types of the section ``.BTF``. Raises `BadInputError` for what does not fit together."""
    types = Types.from_bytes(data, name=name)
    records = list(types)
    _check_references(records)
    sections = {
        section.name: TypeId(id)
        for id, section in enumerate(records)
        if isinstance(section, DataSec)
    }
    externs = _externs(types, [records[id] for id in sections.values()])
    changed = {**_changed_sections(types, elf, sections, externs), **_changed_functions(types, elf)}
    changed |= _changed_externs(types, records, sections.get(KSYMS))
    changed |= _changed_tags(records, changed)
    return ObjectTypes(_rebuilt(types, records, changed), externs, sections)


def _rebuilt(types: Types, records: list[Type], changed: dict[TypeId, Type]) -> Types:
    """The same types with some of them exchanged, at the same ids, strings where they were."""
    builder = Builder()
    builder.keep_strings(types)
    for id, record in enumerate(records[1:], 1):
        builder.add(changed.get(TypeId(id), record))
    return builder.types(types.name)


def _check_references(records: list[Type]) -> None:
    last = len(records)
    for id, record in enumerate(records):
        for other in _references(record):
            if other >= last:
                raise BadInputError(f"BTF type {id} refers to type {other}, which does not exist")


def _references(record: Type) -> list[TypeId]:
    """The ids of the types that a type is made of."""
    if isinstance(record, _LEAVES):
        return []
    if isinstance(record, Struct | Union):
        return [member.type for member in record.members]
    if isinstance(record, DataSec):
        return [variable.type for variable in record.variables]
    if isinstance(record, FuncProto):
        return [record.type, *(param.type for param in record.params)]
    if isinstance(record, Array):
        return [record.type, record.index_type]
    return [record.type]


# -- sections --------------------------------------------------------------------------------------


def _changed_sections(
    types: Types, elf: Elf, sections: dict[str, TypeId], externs: dict[str, Extern]
) -> dict[TypeId, Type]:
    changed: dict[TypeId, Type] = {}
    symbols = _by_section(elf)
    for name, id in sections.items():
        section = types[id]
        assert isinstance(section, DataSec)
        if name == KSYMS:
            changed[id] = Ptr(VOID)
        elif name == KCONFIG:
            changed[id] = _kconfig(types, section, externs)
        else:
            changed[id] = _placed(types, elf, section, symbols)
    return changed


def _by_section(elf: Elf) -> dict[tuple[int, str], Symbol]:
    """Symbols that name a place, by the index of their section and their name."""
    return {
        (symbol.section, symbol.name): symbol
        for symbol in elf.symbols
        if symbol.section is not None and symbol.name and not symbol.is_section
    }


def _placed(
    types: Types, elf: Elf, section: DataSec, symbols: dict[tuple[int, str], Symbol]
) -> DataSec:
    """A section of the file: its variables get the places of their symbols, in their order.

    A static variable without a symbol keeps the offset that clang wrote, which is right for it.
    """
    found = elf.section(section.name)
    if found is None:
        raise BadInputError(f"BTF has a section '{section.name}' that the file lacks")
    placed = []
    for variable in section.variables:
        symbol = symbols.get((found.index, types.name_of(variable.type)))
        if variable.size < types.size_of(variable.type):
            continue
        placed.append(replace(variable, offset=symbol.value if symbol else variable.offset))
    placed.sort(key=lambda variable: variable.offset)
    _check_places(types, section.name, placed, found.size)
    return DataSec(section.name, found.size, tuple(placed))


def _check_places(types: Types, section: str, placed: list[SecVar], size: int) -> None:
    end = 0
    for variable in placed:
        if not isinstance(types[variable.type], Var):
            raise BadInputError(f"BTF of section '{section}': type {variable.type} is no variable")
        if variable.offset < end or variable.offset + variable.size > size:
            name = types.name_of(variable.type)
            raise BadInputError(f"variable '{name}' overlaps others or leaves '{section}'")
        end = variable.offset + variable.size


def _kconfig(types: Types, section: DataSec, externs: dict[str, Extern]) -> DataSec:
    names = [types.name_of(variable.type) for variable in section.variables]
    placed = tuple(
        SecVar(variable.type, externs[name].offset, externs[name].size)
        for variable, name in zip(section.variables, names, strict=True)
    )
    return DataSec(KCONFIG, placed[-1].offset + placed[-1].size if placed else 0, placed)


# -- externs ---------------------------------------------------------------------------------------


def _externs(types: Types, sections: list[Type]) -> dict[str, Extern]:
    found: dict[str, Extern] = {}
    for section in sections:
        assert isinstance(section, DataSec)
        if section.name in (KSYMS, KCONFIG):
            end = 0
            for variable in section.variables:
                extern = _extern(types, section.name, variable.type, end)
                end = extern.offset + extern.size
                if extern.name in found:
                    raise BadInputError(f"extern '{extern.name}' is there twice")
                found[extern.name] = extern
    return found


def _extern(types: Types, section: str, id: TypeId, end: int) -> Extern:
    """An extern's record; `end` is where the kconfig externs before it end."""
    record = types[id]
    if isinstance(record, Func) and section == KSYMS:
        types.prototype(id)  # a FUNC without one is corrupt
        return Extern(record.name, section, id, is_func=True)
    if not isinstance(record, Var):
        raise BadInputError(f"BTF of section '{section}': type {id} is no variable")
    type = types.strip(record.type)
    if section == KSYMS:
        return Extern(record.name, section, record.type if type else VOID)
    size, align = types.size_of(type), types.align_of(type)
    if not 0 < size <= _MAX_KCONFIG_BYTES:
        raise BadInputError(f"kconfig extern '{record.name}' has a type of {size} bytes")
    return Extern(record.name, section, record.type, False, -(-end // align) * align, size)


def _changed_externs(types: Types, records: list[Type], ksyms: TypeId | None) -> dict[TypeId, Type]:
    changed: dict[TypeId, Type] = {}
    section = records[ksyms] if ksyms else None
    symbols = {place.type for place in section.variables} if isinstance(section, DataSec) else ()
    for number, record in enumerate(records):
        id = TypeId(number)
        if isinstance(record, Var) and id in symbols:
            changed[id] = Ptr(VOID)
        elif isinstance(record, Func | Var) and record.linkage == _EXTERN:
            changed[id] = replace(record, linkage=_GLOBAL)
            if isinstance(record, Func):
                changed[record.type] = _named_params(types.prototype(id), record.name)
    return changed


def _changed_tags(records: list[Type], changed: dict[TypeId, Type]) -> dict[TypeId, Type]:
    """Tags of what has become a pointer go with it."""
    return {
        TypeId(number): Ptr(VOID)
        for number, record in enumerate(records)
        if isinstance(record, DeclTag) and isinstance(changed.get(record.type), Ptr)
    }


def _named_params(prototype: FuncProto, name: str) -> FuncProto:
    """The kernel wants names of a function's parameters; a declaration may have none.

    The name is the function's: it is a string that the BTF already has.
    """
    params = prototype.params
    named = [replace(param, name=param.name or name) if param.type else param for param in params]
    return replace(prototype, params=tuple(named))


def _changed_functions(types: Types, elf: Elf) -> dict[TypeId, Type]:
    changed: dict[TypeId, Type] = {}
    for symbol in elf.symbols:
        if symbol.is_func and symbol.is_hidden:
            id = types.find(symbol.name, Func)
            record = types[id] if id else None
            if id and isinstance(record, Func) and record.linkage == _GLOBAL:
                changed[id] = replace(record, linkage=_STATIC)
    return changed
