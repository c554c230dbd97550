"""Types to BTF bytes: `Builder` collects types, `encode` writes a whole `Types` again."""

from __future__ import annotations

from struct import Struct as Packer
from struct import error as StructError
from typing import TYPE_CHECKING

from fsession.btf.catalog import Types
from fsession.btf.decode import HEADER, MAGIC
from fsession.btf.kinds import KIND_OF, MAX_VLEN
from fsession.btf.types import TypeId, Void
from fsession.errors import BadInputError

if TYPE_CHECKING:
    from fsession.btf.kinds import Head
    from fsession.btf.types import Type

__all__ = ["Builder", "encode"]

_HEAD = Packer("<III")


class Builder:
    """Makes BTF, split on `base` if there is one. Equal strings are stored once, types as added.

    >>> build = Builder()
    >>> build.add(Ptr(build.add(Int("int", 4, 32, 1))))
    2
    """

    def __init__(self, base: Types | None = None) -> None:
        self.base = base
        self._records = bytearray()
        self._count = 0
        self._first_id = len(base) if base else 1
        self._first_string = base.strings.end if base else 0
        self._strings = bytearray() if base else bytearray(b"\0")
        self._offsets = {"": 0}

    def add(self, type: Type) -> TypeId:
        """Append a type and return its id; it may refer to ids that are added later."""
        kind = KIND_OF.get(type.__class__)
        if kind is None:
            raise BadInputError(f"{type!r} has no record in BTF: void is id 0")
        try:
            head, body = kind.write(type, self._string)
            record = self._record(kind.number, head) + body
        except StructError as error:
            raise BadInputError(f"{type!r} does not fit a BTF record: {error}") from None
        self._records += record
        self._count += 1
        return TypeId(self._first_id + self._count - 1)

    @property
    def next_id(self) -> TypeId:
        """The id that the next added type gets."""
        return TypeId(self._first_id + self._count)

    def to_bytes(self) -> bytes:
        """The header, the records, the strings."""
        types, strings = len(self._records), len(self._strings)
        header = HEADER.pack(MAGIC, 1, 0, HEADER.size, 0, types, types, strings)
        return header + bytes(self._records) + bytes(self._strings)

    def types(self, name: str = "") -> Types:
        """What was added so far, as it is read from `to_bytes`."""
        return Types.from_bytes(self.to_bytes(), self.base, name)

    def keep_strings(self, types: Types) -> None:
        """Take over the string section of `types` as it is, so that offsets stay the same."""
        self._strings = bytearray(types.strings.section)
        at = self._first_string
        for text in types.strings.section.split(b"\0")[:-1]:
            self._offsets.setdefault(text.decode("utf-8", "surrogateescape"), at)
            at += len(text) + 1

    def string(self, text: str) -> int:
        """The offset of a string, which is added if it is not there."""
        return self._string(text)

    def _record(self, kind: int, head: Head) -> bytes:
        if head.vlen > MAX_VLEN:
            raise BadInputError(f"{head.vlen} elements of '{head.name}' are more than {MAX_VLEN}")
        info = head.kind_flag << 31 | kind << 24 | head.vlen
        return _HEAD.pack(self._string(head.name), info, head.word)

    def _string(self, text: str) -> int:
        offset = self._offsets.get(text)
        return self._add_string(text) if offset is None else offset

    def _add_string(self, text: str) -> int:
        data = text.encode("utf-8", "surrogateescape")
        if b"\0" in data:
            raise BadInputError(f"the name {text!r} has a NUL in it")
        offset = next(self.base.strings.offsets_of(text), None) if self.base else None
        if offset is None:
            offset = self._first_string + len(self._strings)
            self._strings += data + b"\0"
        self._offsets[text] = offset
        return offset


def encode(types: Types) -> bytes:
    """The own types of `types` as BTF: the bytes they came from, if those were in normal form.

    Normal form is what the kernel, pahole and clang write: no gaps, a header of 24 bytes, each
    string once. Other BTF comes out as equal types in normal form.
    """
    builder = Builder(types.base)
    builder.keep_strings(types)
    for id in types.own_ids():
        type = types[id]
        assert not isinstance(type, Void)
        builder.add(type)
    return builder.to_bytes()
