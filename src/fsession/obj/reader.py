"""An ELF object to an `ObjectSpec`. Reading only: nothing here asks a kernel.

The order is that of what needs what: the file's sections, its types, the maps and variables, the
functions with what they refer to, and at last each program put together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from fsession.btf.types import VOID
from fsession.errors import BadInputError
from fsession.obj.data import KEY_BYTES, data_sections, section_map, section_variables
from fsession.obj.elf import read_elf
from fsession.obj.ext import read_ext
from fsession.obj.functions import Functions, Places
from fsession.obj.link import link
from fsession.obj.maps import map_places, read_maps, refuse_legacy
from fsession.obj.sections import parse
from fsession.obj.types import KCONFIG, read_types
from fsession.spec import MapSpec, ObjectSpec, ProgramSpec, Variable
from fsession.uapi import MapFlag, MapType, ProgType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsession.obj.elf import Elf
    from fsession.obj.ext import SectionExt
    from fsession.obj.functions import Function
    from fsession.obj.types import ObjectTypes

__all__ = ["read_object"]

_Spec = TypeVar("_Spec", ProgramSpec, MapSpec)

_TEXT = ".text"
_U32_BYTES = 4


def read_object(data: bytes, name: str) -> ObjectSpec:
    """Read an object made by ``clang -target bpf -g -O2 -c``. Raises `BadInputError`.

    Nothing else is raised for any bytes, and nothing of a file that fails here reaches a kernel.
    """
    elf = read_elf(data)
    refuse_legacy(elf)
    types, ext = _types(elf, name)
    map_names = map_places(elf, types)
    sections = list(data_sections(elf))
    data_maps = tuple(section_map(section, types) for section in sections)
    places = Places(
        map_names,
        {section.index: section.name for section in sections},
        types.externs if types else {},
    )
    kconfig = tuple(_kconfig(types))
    return ObjectSpec(
        name=name,
        programs=_distinct("program", tuple(_programs(elf, Functions(elf, places), ext, types))),
        maps=_distinct(
            "map", (*read_maps(elf, types, map_names), *data_maps, *_kconfig_map(kconfig))
        ),
        variables=tuple(_variables(data_maps, types)),
        kconfig=kconfig,
        weak_kconfig=_weak(elf, kconfig),
        types=types.types if types else None,
    )


def _types(elf: Elf, name: str) -> tuple[ObjectTypes | None, dict[str, SectionExt]]:
    """The object's BTF and what ``.BTF.ext`` says of its instructions."""
    btf, ext = elf.section(".BTF"), elf.section(".BTF.ext")
    if btf is None:
        return None, {}
    types = read_types(btf.data, elf, name)
    return types, read_ext(ext.data, types.types) if ext else {}


def _programs(
    elf: Elf, functions: Functions, ext: dict[str, SectionExt], types: ObjectTypes | None
) -> Iterator[ProgramSpec]:
    """Every function in a section of its own kind is a program; those of .text are helpers."""
    version, licence = _version(elf), _license(elf)
    for function in functions:
        section = elf.sections[function.section].name
        if section == _TEXT:
            continue
        _check_program(function, section)
        found = parse(section)  # None: a name of the programmer's own; it can't be loaded
        linked = link(function, functions, ext, types.types if types else None)
        yield ProgramSpec(
            name=function.name,
            type=found.kind.type if found else ProgType.UNSPEC,
            insns=linked.insns,
            attach_type=found.kind.attach_type if found else None,
            target=found.target if found else "",
            section=section,
            license=licence,
            version=version,
            sleepable=found is not None and found.kind.sleepable,
            autoload=not section.startswith("?"),
            relocs=linked.relocs,
            funcs=linked.funcs,
            lines=linked.lines,
            types=types.types if types else None,
        )


def _check_program(function: Function, section: str) -> None:
    if function.is_local:
        raise BadInputError(
            f"'{function.name}' in section '{section}' is static, so it is no program"
        ).hint("drop 'static', or leave it in .text by dropping SEC()")


def _license(elf: Elf) -> str:
    section = elf.section("license")
    if section is None:
        return ""
    try:
        return section.data.split(b"\0", 1)[0].decode()
    except UnicodeDecodeError:
        raise BadInputError("the license is not UTF-8", section.offset) from None


def _version(elf: Elf) -> int:
    section = elf.section("version")
    if section is None:
        return 0
    if len(section.data) != _U32_BYTES:
        raise BadInputError("the section 'version' is no __u32", section.offset)
    return int.from_bytes(section.data, "little")


def _variables(maps: tuple[MapSpec, ...], types: ObjectTypes | None) -> Iterator[Variable]:
    if types is None:
        return
    for spec in maps:
        id = types.sections.get(spec.name)
        if id is not None:
            yield from section_variables(spec.name, types.types, id)


def _kconfig(types: ObjectTypes | None) -> Iterator[Variable]:
    for extern in types.externs.values() if types else ():
        if extern.section == KCONFIG:
            yield Variable(extern.name, KCONFIG, extern.offset, extern.size, extern.type)


def _kconfig_map(variables: tuple[Variable, ...]) -> Iterator[MapSpec]:
    """The map of kconfig externs: constants, whose values the loader takes from the kernel."""
    if variables:
        size = max(variable.offset + variable.size for variable in variables)
        yield MapSpec(
            name=KCONFIG,
            type=MapType.ARRAY,
            key_size=KEY_BYTES,
            value_size=size,
            max_entries=1,
            flags=MapFlag.RDONLY_PROG,
            value_type=VOID,
            data=bytes(size),
            frozen=True,
        )


def _weak(elf: Elf, kconfig: tuple[Variable, ...]) -> frozenset[str]:
    weak = {symbol.name for symbol in elf.symbols if symbol.is_extern and symbol.is_weak}
    return frozenset(variable.name for variable in kconfig if variable.name in weak)


def _distinct(what: str, specs: tuple[_Spec, ...]) -> tuple[_Spec, ...]:
    """Programs and maps go by their names, so each has one of its own."""
    seen: set[str] = set()
    for spec in specs:
        if not spec.name or spec.name in seen:
            raise BadInputError(f"two {what}s have the name '{spec.name}'")
        seen.add(spec.name)
    return specs
