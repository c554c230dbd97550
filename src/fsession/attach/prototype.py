"""Functions by what they take and return: ``struct sock *tcp_*(…, struct sk_buff *, …)``.

Types are compared as C spells them, by the names that the source uses (``u32`` is not ``unsigned
int``), without ``const``, ``volatile`` and the order of the words of an integer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fsession.btf.catalog import MAX_DEPTH
from fsession.btf.glob import glob_regex
from fsession.btf.types import (
    Const,
    Enum,
    Enum64,
    Float,
    FuncProto,
    Fwd,
    Int,
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
from fsession.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.btf.catalog import Types

__all__ = ["Param", "Prototype", "Prototypes", "parse_prototype"]

_QUALIFIERS = {"const", "volatile", "restrict"}
_INTEGER_WORDS = {"signed", "unsigned", "char", "short", "int", "long"}
_TAGS = {"struct", "union", "enum"}
_GAPS = {"...", "…", "*"}
_PREFIXES = {Struct: "struct ", Union: "union ", Enum: "enum ", Enum64: "enum "}
_QUALIFIER_KINDS = (Const, Volatile, Restrict, TypeTag)
_PROTO_HEAD_WORDS = 3
_FWD_UNION = 1 << 31


@frozen
class Param:
    """One parameter; `type` "" is any, `name` is a regular expression or ""."""

    type: str
    name: str = ""


@frozen
class Prototype:
    """`result` "" is any. `params`: None stands for any number of parameters."""

    result: str
    params: tuple[Param | None, ...]


class Prototypes:
    """Finds functions of one BTF; each prototype and each type is looked at once."""

    def __init__(self, types: Types, wanted: Prototype) -> None:
        self._types = types
        self._wanted = wanted
        self._answers: dict[int, bool] = {}
        self._texts: dict[int, str] = {}

    def match(self, func_id: TypeId) -> bool:
        """Whether a function is of the wanted prototype."""
        proto_id = self._types.ref(func_id)
        answer = self._answers.get(proto_id)
        if answer is None:
            answer = self._answers[proto_id] = self._match(proto_id)
        return answer

    def _match(self, proto_id: TypeId) -> bool:
        # struct btf_type: name, info, type; then a name and a type for each parameter
        words = self._types.words(proto_id).tolist()
        if self._wanted.result not in ("", self._text(words[2])):
            return False
        names, ids = words[_PROTO_HEAD_WORDS::2], words[_PROTO_HEAD_WORDS + 1 :: 2]
        return self._fits(self._wanted.params, list(zip(names, ids, strict=True)))

    def _fits(self, wanted: Sequence[Param | None], params: Sequence[tuple[int, int]]) -> bool:
        if not wanted:
            return not params
        first, *rest = wanted
        if first is None:
            return any(self._fits(rest, params[at:]) for at in range(len(params) + 1))
        return bool(params) and self._is(first, params[0]) and self._fits(rest, params[1:])

    def _is(self, wanted: Param, param: tuple[int, int]) -> bool:
        name, type_id = param
        if wanted.type and wanted.type != self._text(type_id):
            return False
        return not wanted.name or bool(re.fullmatch(wanted.name, self._types.string(name)))

    def _text(self, type_id: int) -> str:
        text = self._texts.get(type_id)
        if text is None:
            text = self._texts[type_id] = _spell(self._types, TypeId(type_id))
        return text


def parse_prototype(text: str) -> tuple[str, Prototype]:
    """The pattern of names, and the types, of ``[RESULT] NAME(PARAMETERS)``."""
    found = re.fullmatch(r"\s*([^()]*)\(([^()]*)\)\s*", text)
    if not found:
        error = BadInputError(f"'{text}' is no prototype")
        raise error.hint("write it as '[RESULT] NAME(TYPE, …)', ? for a type that has no name")
    result, name = _head(found[1])
    params = [part.strip() for part in found[2].split(",")] if found[2].strip() else []
    if params == ["void"]:
        params = []
    return name, Prototype(result, tuple(_param(part) for part in params))


def _head(text: str) -> tuple[str, str]:
    """Result and name: stars in front of the name are the result's, unless there is none."""
    *words, last = text.split() or ["*"]
    if not words:
        return "", last
    stars = len(last) - len(last.lstrip("*"))
    name = last[stars:]
    if not name:  # "int *(…)": the last star is the name
        stars, name = stars - 1, "*"
    return _type(" ".join([*words, "*" * stars]))[0], name


def _param(text: str) -> Param | None:
    if text in _GAPS:
        return None
    if text == "?":
        return Param("")
    type_text, name = _type(text)
    return Param(type_text, name and glob_regex(name))


def _type(text: str) -> tuple[str, str]:
    """A type as `_spell` writes it, and the name of the parameter behind it."""
    tokens = re.findall(r"[\w?\[\]]+|\*|\S", text)
    words = [token for token in tokens if token not in _QUALIFIERS]
    base, rest = _base(words)
    stars = 0
    while rest and rest[0] == "*":
        stars, rest = stars + 1, rest[1:]
    if not base or len(rest) > 1 or not all(re.fullmatch(r"[\w?\[\]]+", word) for word in rest):
        error = BadInputError(f"'{text}' is no type that a pattern can name")
        raise error.hint("such as: struct sk_buff *, unsigned long, u32; ? for any one, … for more")
    return base + "*" * stars, rest[0] if rest else ""


def _base(words: list[str]) -> tuple[str, list[str]]:
    """The type without its stars, and what comes behind it."""
    if words and words[0] in _TAGS:
        return " ".join(words[:2]) * (len(words) > 1), words[2:]
    count = next((at for at, word in enumerate(words) if word not in _INTEGER_WORDS), len(words))
    if count:
        return _integer(words[:count]), words[count:]
    is_word = bool(words) and re.fullmatch(r"\w+", words[0])
    return (words[0], words[1:]) if is_word else ("", words)


def _integer(words: Sequence[str]) -> str:
    """``long unsigned int`` and ``unsigned long`` as one."""
    sign = "unsigned " * ("unsigned" in words)
    if "char" in words:
        return ("signed " * ("signed" in words) or sign) + "char"
    if "short" in words:
        return sign + "short"
    return sign + (" ".join(["long"] * words.count("long")) or "int")


def _spell(types: Types, type_id: TypeId) -> str:
    """A type's text without qualifiers; one that has no name is spelled so that none equals it."""
    stars = ""
    for _ in range(MAX_DEPTH):
        kind = types.kind_of(type_id) if type_id else None
        if kind is None:
            return "void" + stars
        if kind is Ptr:
            stars += "*"
        elif kind not in _QUALIFIER_KINDS:
            return _name(types, type_id, kind) + stars
        type_id = types.ref(type_id)
    raise BadInputError(f"BTF type {type_id}: qualifiers and pointers without an end")


def _name(types: Types, type_id: TypeId, kind: type) -> str:
    name = types.name_of(type_id)
    if kind is FuncProto or not name:
        return "()"
    if kind in (Int, Float):
        return _integer(name.split()) if _INTEGER_WORDS & set(name.split()) else name
    if kind is Fwd:
        return ("union " if types.words(type_id)[1] & _FWD_UNION else "struct ") + name
    return name if kind is Typedef else _PREFIXES.get(kind, "") + name
