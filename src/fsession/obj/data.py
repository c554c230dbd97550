"""Global variables: each data section is an array map with one value, the section's bytes.

``.rodata`` and ``.rodata.*`` can't be changed once the object is loaded, so the verifier may count
on their values; all can be mapped into this process. String literals (``.rodata.str1.1``)
have no BTF and no variables, but the program refers to them all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import VOID, DataSec, TypeId, Var
from fsession.spec import MapSpec, Variable
from fsession.uapi import MapFlag, MapType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsession.btf.catalog import Types
    from fsession.obj.elf import Elf, Section
    from fsession.obj.types import ObjectTypes

__all__ = ["KEY_BYTES", "data_sections", "section_map", "section_variables"]

KEY_BYTES = 4
_PLAIN, _READ_ONLY = (".data", ".bss"), ".rodata"


def data_sections(elf: Elf) -> Iterator[Section]:
    """The sections that become maps."""
    for section in elf.sections:
        if section.size and section.is_allocated and not section.is_code and _is_data(section.name):
            yield section


def _is_data(name: str) -> bool:
    return any(name == stem or name.startswith(stem + ".") for stem in (*_PLAIN, _READ_ONLY))


def section_map(section: Section, types: ObjectTypes | None) -> MapSpec:
    """The map of a data section."""
    frozen = section.name == _READ_ONLY or section.name.startswith(_READ_ONLY + ".")
    return MapSpec(
        name=section.name,
        type=MapType.ARRAY,
        key_size=KEY_BYTES,
        value_size=section.size,
        max_entries=1,
        flags=MapFlag.MMAPABLE | (MapFlag.RDONLY_PROG if frozen else 0),
        value_type=types.sections.get(section.name, VOID) if types else VOID,
        data=section.data or bytes(section.size),
        frozen=frozen,
    )


def section_variables(name: str, types: Types, id: TypeId) -> Iterator[Variable]:
    """The variables of a section, in the order of their places."""
    section = types[id]
    assert isinstance(section, DataSec)
    for place in section.variables:
        var = types[place.type]
        assert isinstance(var, Var)
        yield Variable(var.name, name, place.offset, place.size, var.type)
