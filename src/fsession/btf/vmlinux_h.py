"""All types of a BTF as one C header: what BPF programs include as ``vmlinux.h``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.format import Spelling
from fsession.btf.types import (
    Array,
    Const,
    DeclTag,
    Enum,
    Enum64,
    Func,
    FuncProto,
    Fwd,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    TypeId,
    TypeTag,
    Union,
    Volatile,
)
from fsession.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsession.btf.catalog import Types

__all__ = ["vmlinux_h"]

_DEPTH = 300
_KFUNC_TAG = "bpf_kfunc"
# Names that the compiler has itself; its va_list is 8 bytes, where that of x86 has 24.
_BUILTIN = {"typedef __builtin_va_list": 1}
_HEAD = """\
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

#ifndef __ksym
#define __ksym __attribute__((section(".ksyms")))
#endif
#ifndef __weak
#define __weak __attribute__((weak))
#endif
"""
_FOOT = """\

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif"""
_PLAIN = (Const, Volatile, Restrict, TypeTag)


def vmlinux_h(types: Types) -> Iterator[str]:
    """The lines of the header: types in an order that C takes, then the kernel's kfuncs.

    Where two types have one name, the second is called ``name___2``, as the kernel's tools do.
    """
    yield _HEAD
    order = _Order(types)
    for type_id in types.own_ids():
        yield from order.type(TypeId(type_id))
    yield from order.constants()
    yield ""
    yield from order.kfuncs()
    yield _FOOT


class _Order:
    """Emits each type once, behind all that it needs."""

    def __init__(self, types: Types) -> None:
        self._types = types
        self._names: dict[TypeId, str] = {}
        self._taken: dict[str, int] = dict(_BUILTIN)
        self._values_taken: dict[str, int] = {}
        self._spelled: set[TypeId] = set()
        self._spelling = Spelling(types, tag_name=self._tag_name, value_name=self._value_name)
        self._done: set[TypeId] = set()
        self._declared: set[str] = set()

    def type(self, type_id: TypeId) -> Iterator[str]:
        if isinstance(self._types[type_id], Struct | Union | Enum | Enum64 | Typedef | Fwd):
            yield from self._need(type_id, whole=True, depth=0)

    def constants(self) -> Iterator[str]:
        """Anonymous enums that no other type has: their enumerators are used by name."""
        for type_id in map(TypeId, self._types.own_ids()):
            kind = self._types[type_id]
            if isinstance(kind, Enum | Enum64) and not kind.name and type_id not in self._spelled:
                yield self._spelling.define(type_id)

    def kfuncs(self) -> Iterator[str]:
        """Functions with the declaration tag ``bpf_kfunc``, by name."""
        found = {
            tag.type
            for type_id in self._types.own_ids()
            if isinstance(tag := self._types[type_id], DeclTag)
            and tag.name == _KFUNC_TAG
            and tag.component == -1
        }
        funcs = [(self._types.name_of(type_id), type_id) for type_id in found]
        for name, type_id in sorted(funcs):
            func = self._types[type_id]
            if not isinstance(func, Func) or name in self._taken:
                continue
            yield from self._need(func.type, whole=False, depth=0)
            yield f"extern {self._spelling.declare(func.type, name)} __weak __ksym;"

    def _need(self, type_id: TypeId, *, whole: bool, depth: int) -> Iterator[str]:
        """What must stand before a use of the type; `whole`: its size must be known."""
        if depth > _DEPTH:
            raise BadInputError(f"BTF type {type_id}: types nested too deeply")
        kind = self._types[type_id]
        match kind:
            case Const() | Volatile() | Restrict() | TypeTag():
                yield from self._need(kind.type, whole=whole, depth=depth + 1)
            case Ptr():
                yield from self._need(kind.type, whole=False, depth=depth + 1)
            case Array():
                yield from self._need(kind.type, whole=True, depth=depth + 1)
            case FuncProto() if type_id not in self._done:
                self._done.add(type_id)
                for used in (kind.type, *(param.type for param in kind.params)):
                    yield from self._need(used, whole=False, depth=depth + 1)
            case Struct() | Union() | Fwd():
                yield from self._composite(type_id, kind, whole, depth)
            case Enum() | Enum64() if kind.name and type_id not in self._done:
                self._done.add(type_id)
                yield self._spelling.define(type_id)
            case Typedef():
                yield from self._typedef(type_id, kind, whole, depth)

    def _typedef(self, type_id: TypeId, kind: Typedef, whole: bool, depth: int) -> Iterator[str]:
        if type_id not in self._done:
            self._done.add(type_id)
            yield from self._need(kind.type, whole=False, depth=depth + 1)
            yield self._spelling.define(type_id)
        if whole:
            yield from self._need(kind.type, whole=True, depth=depth + 1)

    def _composite(
        self, type_id: TypeId, kind: Struct | Union | Fwd, whole: bool, depth: int
    ) -> Iterator[str]:
        if kind.name:
            tag = self._tag(type_id, kind)
            if tag not in self._declared:
                self._declared.add(tag)
                yield f"{tag};"
        if isinstance(kind, Fwd) or type_id in self._done or (kind.name and not whole):
            return
        if not kind.name and not depth:
            return  # spelled out where it is used
        self._done.add(type_id)
        for member in kind.members:
            yield from self._need(member.type, whole=True, depth=depth + 1)
        if kind.name:
            yield self._spelling.define(type_id)

    def _tag(self, type_id: TypeId, kind: Struct | Union | Fwd) -> str:
        if isinstance(kind, Fwd):
            return f"{'union' if kind.is_union else 'struct'} {kind.name}"
        keyword = "struct" if isinstance(kind, Struct) else "union"
        return f"{keyword} {self._tag_name(type_id, kind.name)}"

    def _tag_name(self, type_id: TypeId, name: str) -> str:
        """The name of a struct, union, enum or typedef in the header."""
        if type_id not in self._names:
            space = "typedef " if isinstance(self._types[type_id], Typedef) else "tag "
            self._names[type_id] = _unique(name, space, self._taken)
        return self._names[type_id]

    def _value_name(self, type_id: TypeId, name: str) -> str:
        """The name of an enumerator; an anonymous enum can be spelled out in two places."""
        self._spelled.add(type_id)
        return _unique(name, "", self._values_taken)


def _unique(name: str, space: str, taken: dict[str, int]) -> str:
    count = taken[space + name] = taken.get(space + name, 0) + 1
    return name if count == 1 else f"{name}___{count}"
