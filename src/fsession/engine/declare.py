"""C declarations of functions, as text, to BTF that stands on other BTF."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fsession.btf.encode import Builder
from fsession.btf.types import (
    VOID,
    Const,
    Enum,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Member,
    Param,
    Ptr,
    Struct,
    Typedef,
    TypeId,
    Union,
)
from fsession.errors import BadInputError
from fsession.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.btf.catalog import Types

__all__ = ["Declaration", "Declarations", "parse"]

_DECLARATION = re.compile(
    r"\s*(?P<result>.+?[\s*])(?P<name>\w+)\s*\((?P<params>.*)\)\s*;?\s*", re.S
)
_QUALIFIERS = frozenset({"const", "volatile", "static", "inline", "extern", "restrict"})
_DROPPED = _QUALIFIERS - {"const"}
_FLOATS = {"float": 4, "double": 8, "long double": 16}
_TAGS: dict[str, type[Struct | Union | Enum]] = {"struct": Struct, "union": Union, "enum": Enum}
# By its words, sorted: name in BTF, bytes, and whether it is signed.
_INTS = {
    ("char",): ("char", 1, 1),
    ("char", "signed"): ("signed char", 1, 1),
    ("char", "unsigned"): ("unsigned char", 1, 0),
    ("short",): ("short", 2, 1),
    ("short", "unsigned"): ("unsigned short", 2, 0),
    ("int",): ("int", 4, 1),
    ("signed",): ("int", 4, 1),
    ("unsigned",): ("unsigned int", 4, 0),
    ("int", "unsigned"): ("unsigned int", 4, 0),
    ("long",): ("long int", 8, 1),
    ("long", "unsigned"): ("long unsigned int", 8, 0),
    ("long", "long"): ("long long int", 8, 1),
    ("long", "long", "unsigned"): ("long long unsigned int", 8, 0),
    ("_Bool",): ("_Bool", 1, 4),
    ("bool",): ("_Bool", 1, 4),
    ("s8",): ("s8", 1, 1),
    ("u8",): ("u8", 1, 0),
    ("s16",): ("s16", 2, 1),
    ("u16",): ("u16", 2, 0),
    ("s32",): ("s32", 4, 1),
    ("u32",): ("u32", 4, 0),
    ("s64",): ("s64", 8, 1),
    ("u64",): ("u64", 8, 0),
    ("size_t",): ("size_t", 8, 0),
    ("ssize_t",): ("ssize_t", 8, 1),
}


@frozen
class Declaration:
    """``result name(params)``; a parameter is its type's text and its name, "" if it has none."""

    name: str
    result: str
    params: tuple[tuple[str, str], ...]


def parse(text: str) -> Declaration:
    """One function's declaration. Raises `BadInputError`."""
    found = _DECLARATION.fullmatch(text)
    if found is None:
        raise BadInputError(f"no declaration of a function: '{text}'").hint(
            "it looks like: int icmp_rcv(struct sk_buff *skb)"
        )
    params = [part.strip() for part in found["params"].split(",")]
    params = [] if params in ([""], ["void"]) else params
    return Declaration(found["name"], found["result"].strip(), tuple(map(_param, params)))


def _param(text: str) -> tuple[str, str]:
    words = re.findall(r"\w+|\*|\.\.\.", text)
    known = tuple(sorted(word for word in words if word not in _QUALIFIERS))
    named = len(words) > 1 and re.fullmatch(r"\w+", words[-1])
    if named and known not in _INTS and words[-2] not in _TAGS:
        return " ".join(words[:-1]), words[-1]
    return " ".join(words), ""


class Declarations:
    """Functions declared one after the other, as split BTF on `base` (or BTF of its own)."""

    def __init__(self, base: Types | None, name: str) -> None:
        self._base, self._name = base, name
        self._builder = Builder(base)
        self._known: dict[str, TypeId] = {}

    def add(self, declaration: Declaration) -> TypeId:
        result = self._type(declaration.result)
        params = tuple(Param(name, self._type(text)) for text, name in declaration.params)
        proto = self._builder.add(FuncProto(result, params))
        return self.add_function(declaration.name, proto)

    def add_function(self, name: str, proto: TypeId) -> TypeId:
        """A function of a prototype that is known."""
        return self._builder.add(Func(name, proto, 1))

    def add_struct(
        self, name: str, size: int, members: Sequence[tuple[str, str, int]] = ()
    ) -> None:
        """With the members that are known, by type, name and offset, unless the base has it."""
        if self._find(name, Struct) is None:
            made = tuple(Member(of, self._type(text), 8 * at) for text, of, at in members)
            self._known[f"struct {name}"] = self._builder.add(Struct(name, size, made))

    def types(self) -> Types:
        return self._builder.types()

    def _type(self, text: str) -> TypeId:
        """`const` counts where it says what a pointer points to: texts are told from buffers."""
        words = [word for word in re.findall(r"\w+|\*", text) if word not in _DROPPED]
        if "..." in text:
            return VOID
        while words[-1:] == ["const"] and "*" in words:
            words.pop()
        key = " ".join(words)
        if key not in self._known:
            self._known[key] = self._make(words, text)
        return self._known[key]

    def _make(self, words: list[str], text: str) -> TypeId:
        if words[-1:] == ["*"]:
            return self._builder.add(Ptr(self._type(" ".join(words[:-1]))))
        if "const" in words:
            rest = self._type(" ".join(word for word in words if word != "const"))
            return self._builder.add(Const(rest)) if rest else rest
        if words == ["void"]:
            return VOID
        if len(words) == 2 and words[0] in _TAGS:
            return self._tagged(words[0], words[1])
        if " ".join(words) in _FLOATS:
            return self._builder.add(Float(" ".join(words), _FLOATS[" ".join(words)]))
        number = _INTS.get(tuple(sorted(words)))
        found = self._find(number[0] if number else " ".join(words), Int, Typedef)
        if found is not None:
            return found
        if number is None:
            raise BadInputError(f"no type '{text}' is known")
        name, size, encoding = number
        return self._builder.add(Int(name, size, 8 * size, encoding))

    def _tagged(self, keyword: str, name: str) -> TypeId:
        found = self._find(name, _TAGS[keyword])
        if found is not None:
            return found
        if keyword == "enum":  # whose values are not known
            return self._builder.add(Enum(name, 4, ()))
        return self._builder.add(Fwd(name, keyword == "union"))

    def _find(self, name: str, *kinds: type) -> TypeId | None:
        return self._base.find(name, *kinds) if self._base else None
