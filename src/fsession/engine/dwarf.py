"""Prototypes of a library's functions from its DWARF, as BTF types.

Only what prototypes reach is read. What the trampoline would take for something else than it is
becomes a type that it refuses: structs that are not passed in integer registers, objects of C++
that are passed by their address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elftools.common.exceptions import DWARFError, ELFError
from elftools.elf.elffile import ELFFile

from fsession.btf.types import (
    VOID,
    Array,
    Const,
    Enum,
    Enum64,
    Enumerator,
    Float,
    FuncProto,
    Fwd,
    Int,
    Member,
    Param,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    TypeId,
    Union,
    Volatile,
)
from fsession.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

    from elftools.dwarf.die import DIE
    from elftools.dwarf.dwarfinfo import DWARFInfo

    from fsession.engine.collected import Collected

__all__ = ["read_prototypes"]

# DWARF 5, 7.8: DW_ATE_*, to the bits of a BTF integer
_SIGNED, _BOOL = 1, 4
_ENCODINGS = {1: 0, 2: _BOOL, 5: _SIGNED, 6: _SIGNED, 7: 0, 8: 0, 0x10: 0}
_FLOATS = (3, 4)
_CPLUSPLUS = frozenset({0x04, 0x1A, 0x21, 0x2B, 0x3A})  # DW_LANG_C_plus_plus and its standards
_POINTERS = ("DW_TAG_pointer_type", "DW_TAG_reference_type", "DW_TAG_rvalue_reference_type")
_QUALIFIERS: dict[str, type[Const | Volatile | Restrict]] = {
    "DW_TAG_const_type": Const,
    "DW_TAG_volatile_type": Volatile,
    "DW_TAG_restrict_type": Restrict,
}
_STRUCTS: dict[str, type[Struct | Union]] = {
    "DW_TAG_structure_type": Struct,
    "DW_TAG_class_type": Struct,
    "DW_TAG_union_type": Union,
}
_MOST_ELEMENTS = (1 << 32) - 1


def read_prototypes(
    file: IO[bytes], into: Collected, wanted: frozenset[int]
) -> tuple[dict[int, TypeId], set[int]]:
    """Prototypes by the functions' addresses in the file, of those of `wanted` that it tells, and
    the addresses of those that never return.

    Raises `BadInputError` for DWARF that can't be read.
    """
    try:
        elf = ELFFile(file)
        if not elf.has_dwarf_info(strict=True):
            return {}, set()
        return _Reader(into, elf.get_dwarf_info()).read(wanted)
    except (ELFError, DWARFError, KeyError, AttributeError, ValueError, RecursionError) as error:
        raise BadInputError(f"debug info that can't be read: {error!r}") from None


class _Reader:
    def __init__(self, into: Collected, dwarf: DWARFInfo) -> None:
        self._into, self._dwarf = into, dwarf
        self._known: dict[int, TypeId] = {}
        self._by_value: dict[tuple[int, bool], bool] = {}
        self._makers: dict[str, Callable[[DIE], TypeId]] = {
            "DW_TAG_base_type": self._base_type,
            "DW_TAG_typedef": self._typedef,
            "DW_TAG_enumeration_type": self._enum,
            "DW_TAG_array_type": self._array,
            "DW_TAG_subroutine_type": lambda die: self._prototype(die, die),
            **dict.fromkeys(_POINTERS, self._pointer),
            **dict.fromkeys(_QUALIFIERS, self._qualified),
            **dict.fromkeys(_STRUCTS, self._struct),
        }

    def read(self, wanted: frozenset[int]) -> tuple[dict[int, TypeId], set[int]]:
        found, endless = {}, set()
        for unit in self._dwarf.iter_CUs():
            top = unit.get_top_DIE()
            language = _number(top, "DW_AT_language")
            for die in _functions(top):
                address = self._start(die, top)
                if address in wanted and address not in found:
                    about = _origin(die)
                    found[address] = self._prototype(die, about, language in _CPLUSPLUS)
                    if "DW_AT_noreturn" in {*die.attributes, *about.attributes}:
                        endless.add(address)
        return found, endless

    def _start(self, die: DIE, top: DIE) -> int:
        """Where a function's code begins: the first of its pieces, if there are several."""
        ranges = die.attributes.get("DW_AT_ranges")
        lists: Any = self._dwarf.range_lists() if ranges else None
        if ranges is None or lists is None:
            return _number(die, "DW_AT_low_pc")
        base = _number(top, "DW_AT_low_pc")
        for entry in lists.get_range_list_at_offset(ranges.value, cu=die.cu):
            if hasattr(entry, "base_address"):
                base = entry.base_address
            else:
                return int(entry.begin_offset + (0 if entry.is_absolute else base))
        return 0

    def _prototype(self, die: DIE, about: DIE, by_address: bool | None = None) -> TypeId:
        """`by_address`: of a function; whether objects may be passed by their address."""
        params = []
        for child in die.iter_children():
            if child.tag == "DW_TAG_formal_parameter":
                origin = _origin(child)
                id = self._type_of(origin)
                if by_address is not None and not self._is_passed_so(origin, by_address):
                    id = self._into.add(Fwd(_name(_referred(origin)) or "struct"))
                params.append(Param(_name(origin), id))
            elif child.tag == "DW_TAG_unspecified_parameters":
                params.append(Param("", VOID))
        return self._into.add(FuncProto(self._type_of(about), tuple(params)))

    def _is_passed_so(self, param: DIE, by_address: bool) -> bool:
        """Whether the value lies in integer registers, or in as many words on the stack."""
        die = _bare(_referred(param))
        if die is None or die.tag not in _STRUCTS:
            return True
        return not by_address and self._is_integers(die)

    def _is_integers(self, die: DIE, depth: int = 0) -> bool:
        """No floating point and nothing unaligned inside: class INTEGER of the ABI."""
        size = _number(die, "DW_AT_byte_size")
        if size > 16 or depth > 8:
            return size > 16  # refused for its size by whoever makes the model
        for child in die.iter_children():
            if child.tag != "DW_TAG_member":
                continue
            inner, width = _bare(_referred(child)), 1
            while inner is not None and inner.tag == "DW_TAG_array_type":
                inner = _bare(_referred(inner))
            if inner is None:
                return False
            if inner.tag in _STRUCTS:
                if not self._is_integers(inner, depth + 1):
                    return False
                continue
            width = _number(inner, "DW_AT_byte_size", 8)
            is_bits = "DW_AT_bit_size" in child.attributes
            if _number(inner, "DW_AT_encoding") in _FLOATS:
                return False
            if not is_bits and _number(child, "DW_AT_data_member_location") % width:
                return False
        return True

    # Types.

    def _type_of(self, die: DIE) -> TypeId:
        found = _referred(die)
        return VOID if found is None else self._type(found)

    def _type(self, die: DIE) -> TypeId:
        id = self._known.get(die.offset)
        if id is None:
            maker = self._makers.get(_tag(die))
            if maker is None:  # void, atomic and what else there is of other languages
                self._known[die.offset] = VOID
                id = self._type_of(die)
            else:
                id = maker(die)
            self._known[die.offset] = id
        return id

    def _base_type(self, die: DIE) -> TypeId:
        name, size = _name(die), _number(die, "DW_AT_byte_size")
        encoding = _number(die, "DW_AT_encoding")
        if encoding in _FLOATS or encoding not in _ENCODINGS:
            return self._into.add(Float(name, size))
        return self._into.add(Int(name, size, 8 * size, _ENCODINGS[encoding]))

    def _pointer(self, die: DIE) -> TypeId:
        id = self._known[die.offset] = self._into.reserve()
        self._into.fill(id, Ptr(self._type_of(die)))
        return id

    def _qualified(self, die: DIE) -> TypeId:
        id = self._known[die.offset] = self._into.reserve()
        self._into.fill(id, _QUALIFIERS[_tag(die)](self._type_of(die)))
        return id

    def _typedef(self, die: DIE) -> TypeId:
        id = self._known[die.offset] = self._into.reserve()
        self._into.fill(id, Typedef(_name(die), self._type_of(die)))
        return id

    def _array(self, die: DIE) -> TypeId:
        id = self._type_of(die)
        ranges = [child for child in die.iter_children() if child.tag == "DW_TAG_subrange_type"]
        for each in reversed(ranges):
            upper = _number(each, "DW_AT_upper_bound", -1)
            count = _number(each, "DW_AT_count", upper + 1)
            id = self._into.add(Array(id, VOID, count if 0 <= count <= _MOST_ELEMENTS else 0))
        return id

    def _enum(self, die: DIE) -> TypeId:
        name, size = _name(die), _number(die, "DW_AT_byte_size", 4)
        pairs = [
            Enumerator(_name(child), _number(child, "DW_AT_const_value"))
            for child in die.iter_children()
            if child.tag == "DW_TAG_enumerator"
        ]
        signed = any(pair.value < 0 for pair in pairs)
        made = Enum64 if size > 4 else Enum
        return self._into.add(made(name, size, tuple(pairs), signed))

    def _struct(self, die: DIE) -> TypeId:
        kind, name = _STRUCTS[_tag(die)], _name(die)
        if "DW_AT_declaration" in die.attributes:
            return self._into.add(Fwd(name, kind is Union))
        key = (kind, name, _number(die, "DW_AT_byte_size"), _number(die, "DW_AT_decl_line"))
        known = self._into.named.get(key) if name else None
        if known is not None:  # the same header in several units
            return known
        id = self._known[die.offset] = self._into.named[key] = self._into.reserve()
        members = [
            self._member(child)
            for child in die.iter_children()
            if child.tag in ("DW_TAG_member", "DW_TAG_inheritance")
            and "DW_AT_external" not in child.attributes
        ]
        flag = any(member.bits for member in members)
        size = _number(die, "DW_AT_byte_size")
        self._into.fill(id, kind(name, size, tuple(members), flag))
        return id

    def _member(self, die: DIE) -> Member:
        bits = _number(die, "DW_AT_bit_size")
        at = 8 * _number(die, "DW_AT_data_member_location")
        if "DW_AT_data_bit_offset" in die.attributes:
            at += _number(die, "DW_AT_data_bit_offset")
        elif "DW_AT_bit_offset" in die.attributes:  # before DWARF 4: from the other end
            storage = 8 * _number(die, "DW_AT_byte_size", _size(_referred(die)))
            at += storage - _number(die, "DW_AT_bit_offset") - bits
        return Member(_name(die), self._type_of(die), at, bits)


def _functions(die: DIE) -> Iterator[DIE]:
    """Functions with code, also those of namespaces and classes."""
    for child in die.iter_children():
        if child.tag == "DW_TAG_subprogram":
            if "DW_AT_low_pc" in child.attributes or "DW_AT_ranges" in child.attributes:
                yield child
        elif child.tag in ("DW_TAG_namespace", *_STRUCTS):
            yield from _functions(child)


def _origin(die: DIE) -> DIE:
    """Where the rest is said about a function or a parameter."""
    for attribute in ("DW_AT_abstract_origin", "DW_AT_specification"):
        if attribute in die.attributes:
            return _origin(die.get_DIE_from_attribute(attribute))
    return die


def _referred(die: DIE | None) -> DIE | None:
    if die is None or "DW_AT_type" not in die.attributes:
        return None
    return die.get_DIE_from_attribute("DW_AT_type")


def _bare(die: DIE | None) -> DIE | None:
    """Behind typedefs and qualifiers."""
    while die is not None and (die.tag in _QUALIFIERS or die.tag == "DW_TAG_typedef"):
        die = _referred(die)
    return die


def _size(die: DIE | None) -> int:
    die = _bare(die)
    return 4 if die is None else _number(die, "DW_AT_byte_size", 4)


def _tag(die: DIE) -> str:
    """A number for one that pyelftools does not know."""
    return str(die.tag)


def _name(die: DIE | None) -> str:
    attribute = die.attributes.get("DW_AT_name") if die is not None else None
    value: Any = attribute.value if attribute else b""
    return str(value.decode("utf-8", "surrogateescape"))


def _number(die: DIE, name: str, default: int = 0) -> int:
    """0 for what is no number, like an expression."""
    attribute = die.attributes.get(name)
    value: Any = attribute.value if attribute else default
    return value if isinstance(value, int) else default
