"""A machine for tracing shared libraries: their functions with what is known of their prototypes.

The types of such a machine are those of the libraries, not the kernel's: a name means what it means
in the library. A prototype comes from a C declaration, else from the library's own BTF (`.BTF`),
else from its DWARF.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from elftools.elf.elffile import ELFFile

from fsession.btf.catalog import Types
from fsession.btf.types import TypeId
from fsession.engine.collected import Collected
from fsession.engine.declare import parse
from fsession.engine.dwarf import read_prototypes
from fsession.engine.machine import Machine
from fsession.engine.shared import SharedLibrary
from fsession.errors import AttachError, BadInputError, FsessionError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

__all__ = ["library_machine", "split_declarations"]

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:\\\n|[^\n])*", re.M)
_LINKAGE = re.compile(r'extern\s+"C"\s*\{?')
_ATTRIBUTE = re.compile(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)")
_BODY = re.compile(r"\{[^{}]*\}")


def library_machine(paths: Sequence[str], declarations: Iterable[str] = ()) -> Machine:
    """A machine with the functions of these libraries. Declarations count for all of them, before
    what the libraries themselves say; the types they name are those of the libraries."""
    libraries = [SharedLibrary(path) for path in paths]
    collected = Collected()
    found = [_prototypes(library, collected) for library in libraries]
    machine = Machine(collected.types("the libraries"), test_functions=False)
    try:
        count = _declare(machine, libraries, list(declarations))
        for library, (prototypes, endless) in zip(libraries, found, strict=True):
            count += machine.add_library(library, prototypes, endless)
        if not count:
            raise _nothing(libraries, any(known for known, _ in found))
    except BaseException:
        machine.close()
        raise
    return machine


def _nothing(libraries: Sequence[SharedLibrary], known: bool) -> FsessionError:
    names = ", ".join(library.name for library in libraries)
    if not known:
        return AttachError(names, "the prototype of no function is known").hint(
            "compile with -g, or declare functions: --declare 'long add(long a, long b)'"
        )
    return AttachError(names, "no function has an entry that can be patched").hint(
        "compile with -fpatchable-function-entry=5 (arm64: 2)"
    )


def _declare(machine: Machine, libraries: Sequence[SharedLibrary], texts: Sequence[str]) -> int:
    """How many functions there are now. What is wrong with one of several in a text, as headers
    have them, is told when somebody asks for it."""
    count = 0
    for text in texts:
        each = split_declarations(text)
        if not each:
            raise BadInputError(f"no declaration of a function: '{text}'")
        for one in each:
            name = parse(one).name
            owner = next((library for library in libraries if library.start(name)), None)
            try:
                if owner is None:
                    raise AttachError(name, "none of the libraries has such a function")
                machine.library(owner.path, one)
                count += 1
            except FsessionError as error:
                if len(each) == 1:
                    raise
                machine.refuse(name, error)
    return count


def split_declarations(text: str) -> list[str]:
    """The functions that a header declares; what else stands in it is left out."""
    for pattern in (_COMMENT, _DIRECTIVE, _LINKAGE, _ATTRIBUTE):
        text = pattern.sub(" ", text)
    while (shorter := _BODY.sub(";", text)) != text:
        text = shorter
    parts = (" ".join(part.replace("}", " ").split()) for part in text.split(";"))
    return [part for part in parts if "(" in part and not part.startswith("typedef ")]


def _prototypes(
    library: SharedLibrary, into: Collected
) -> tuple[Mapping[str, TypeId], Collection[str]]:
    """By the functions' names: their ids in `into`; and the names of those that never return."""
    with Path(library.path).open("rb") as file:
        section = ELFFile(file).get_section_by_name(".BTF")
        if section is not None:
            types = Types.from_bytes(section.data(), name=library.name)
            by = into.take(types)
            known = {name: TypeId(types.ref(id) + by) for name, id in types.functions()}
            named = {one.name: known[one.name] for one in library.functions if one.name in known}
            return named, ()
        names = {symbol.start - library.base: symbol.name for symbol in library.functions}
        found, endless = read_prototypes(file, into, frozenset(names))
        named = {names[at]: id for at, id in found.items() if names[at].isidentifier()}
        return named, {names[at] for at in endless}
