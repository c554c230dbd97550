"""What a reader must know of a recording before its records: where it was made, the functions.

As JSON in the file. A function is written out in full, with the slots of its parameters, so that a
later version of this package, which might choose them in another way, reads it all the same. Type
ids are those of the recording's own types (`fsession.recording.subset`).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fsession.btf.types import TypeId
from fsession.errors import BadInputError
from fsession.frozen import frozen
from fsession.recording.subset import Subset, check_value
from fsession.trace import Field, Form, Function, Layout, Parameter, Signature, Summary
from fsession.trace.event import TREE_COUNTS
from fsession.trace.printers import PRINTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fsession.btf.catalog import Types

__all__ = [
    "MAX_SLOTS",
    "Header",
    "decode_header",
    "decode_summary",
    "encode_header",
    "encode_summary",
]

MAX_SLOTS = 12
_MAX_STRINGS = 16
_S64 = 1 << 63
_MAX_FIELD_BYTES = 1 << 16
_WORDS = (1, 2, 4, 8)
_SIZES = {
    Form.INT: _WORDS, Form.BOOL: _WORDS, Form.CHAR: _WORDS, Form.POINTER: (8,),
    Form.SYMBOL: (8,), Form.IP4: (4,), Form.IP6: (16,), Form.MAC: (6,),
}  # fmt: skip
"""Of the forms that have sizes of their own."""


@frozen
class Header:
    """`kind` says which records they are: of ``trace`` or of ``graph``."""

    kind: str
    host: str
    wall_offset_ns: int
    functions: tuple[Function, ...]


def encode_header(header: Header) -> tuple[list[bytes], bytes]:
    """The types, as BTF, and the JSON."""
    subsets: dict[int, Subset] = {}
    numbers: dict[int, int] = {}
    functions: list[dict[str, Any]] = []
    for function in header.functions:
        types = function.signature.types
        subset = subsets.get(id(types))
        if subset is None:
            subset = subsets[id(types)] = Subset(types)
            numbers[id(types)] = len(numbers)
        functions.append(_function(function, numbers[id(types)], subset))
    plain = {
        "kind": header.kind,
        "host": header.host,
        "wall_offset_ns": header.wall_offset_ns,
        "functions": functions,
    }
    blobs = [subset.builder.to_bytes() for subset in subsets.values()]
    return blobs, json.dumps(plain, ensure_ascii=False).encode()


def _function(function: Function, types: int, subset: Subset) -> dict[str, Any]:
    signature = function.signature
    return {
        "name": signature.function,
        "module": signature.module,
        "types": types,
        "result": subset.add(signature.result),
        "direct_result": signature.direct_result,
        "failure": signature.failure,
        "slots": function.layout.slots,
        "strings": function.layout.strings,
        "exit_bytes": function.layout.exit_bytes,
        "entry_bytes": function.layout.entry_bytes,
        "fields": [asdict(field) | {"type": subset.add(field.type)} for field in function.fields],
        "params": [asdict(param) | {"type": subset.add(param.type)} for param in signature.params],
    }


def decode_header(
    data: bytes, types: Sequence[Types], symbol: Callable[[int], str | None] = lambda _: None
) -> Header:
    """`symbol` gives names of the kernel's addresses, when they are asked for.

    Raises `BadInputError` for what can't have been written by `encode_header`.
    """
    plain = _Plain(_json(data), "header")
    offset = plain.number("wall_offset_ns", -_S64, _S64)
    functions = tuple(_read_function(item, types, symbol) for item in plain.items("functions"))
    return Header(plain.text("kind"), plain.text("host"), offset, functions)


def _read_function(
    plain: _Plain, types: Sequence[Types], symbol: Callable[[int], str | None]
) -> Function:
    of = types[plain.number("types", 0, len(types) - 1)]
    params = tuple(_read_param(item, of) for item in plain.items("params"))
    slots = sum(param.slots for param in params)
    if slots > MAX_SLOTS or any(
        param.slot + param.slots > slots or param.length_slot >= slots for param in params
    ):
        raise BadInputError(f"the parameters of '{plain.text('name')}' make no sense")
    signature = Signature(
        plain.text("name"),
        plain.text("module"),
        params,
        _type(plain, "result", of),
        plain.flag("direct_result"),
        plain.number("failure", 0, 2),
        of,
    )
    layout = Layout(
        plain.number("slots", slots, MAX_SLOTS),
        plain.number("strings", 0, _MAX_STRINGS),
        plain.number("exit_bytes", 0, _MAX_FIELD_BYTES),
        plain.number("entry_bytes", 0, _MAX_FIELD_BYTES),
    )
    fields = tuple(_read_field(item, of) for item in plain.items("fields"))
    return Function.of(signature, layout, symbol, fields)


def _read_field(plain: _Plain, types: Types) -> Field:
    """Of an expression that was shown."""
    name = plain.text("form")
    if name not in set(Form):
        raise BadInputError(f"'{name}' is no form of a value")
    form = Form(name)
    size = plain.number("size", 1, _MAX_FIELD_BYTES)
    unit = plain.number("unit", 0, 8)
    wanted = _SIZES.get(form)
    if (wanted and size not in wanted) or (form is Form.ARRAY and (not unit or size % unit)):
        raise BadInputError(f"a value of the form '{form}' has no {size} bytes")
    return Field(
        plain.text("text"),
        form,
        size,
        plain.flag("signed"),
        _type(plain, "type", types, size),
        unit,
        plain.flag("at_exit"),
        plain.text("owner"),
        _printer(plain),
    )


def _printer(plain: _Plain) -> str:
    name = plain.text("printer")
    if plain.text("owner") and name not in PRINTERS:
        raise BadInputError(f"there is no printer '{name}'")
    return name


def _read_param(plain: _Plain, types: Types) -> Parameter:
    return Parameter(
        plain.text("name"),
        _type(plain, "type", types),
        plain.number("slot", 0, MAX_SLOTS),
        plain.number("slots", 0, 2),
        plain.flag("direct"),
        plain.flag("string"),
        plain.number("length_slot", -1, MAX_SLOTS),
    )


def _type(plain: _Plain, name: str, types: Types, *most_bytes: int) -> TypeId:
    found = TypeId(plain.number(name, 0, len(types) - 1))
    check_value(types, found, *most_bytes)
    return found


def encode_summary(summary: Summary, *, last: bool) -> bytes:
    return json.dumps({**asdict(summary), "last": last}, ensure_ascii=False).encode()


def decode_summary(data: bytes) -> tuple[Summary, bool]:
    """The summary, and whether it is the last."""
    plain = _Plain(_json(data), "summary")
    numbers = {name: plain.number(name, 0, _S64) for name in _NUMBERS}
    skipped, trees = plain.counts("skipped"), plain.counts("trees")
    if trees and trees.keys() != set(TREE_COUNTS):
        raise BadInputError("the counts of trees of the recording are not those of a graph")
    texts = {"strategy": plain.text("strategy"), "host": plain.text("host")}
    return Summary(**numbers, **texts, skipped=skipped, trees=trees), plain.flag("last")  # type: ignore[arg-type]


_NUMBERS = ("calls", "lost", "missed", "functions", "programs", "links", "faulted", "unsaved")


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"the recording's JSON can't be read: {error}") from None


class _Plain:
    """An object of JSON, whose members must be what they are asked for as."""

    def __init__(self, value: Any, what: str) -> None:
        if not isinstance(value, dict):
            raise BadInputError(f"the {what} of the recording is no object")
        self._value, self._what = value, what

    @property
    def names(self) -> Iterable[str]:
        return self._value.keys()

    def member(self, name: str, kind: type) -> Any:
        value = self._value.get(name)
        if type(value) is not kind:
            raise BadInputError(f"'{name}' is no {kind.__name__} in the {self._what}")
        return value

    def text(self, name: str) -> str:
        value: str = self.member(name, str)
        if not value.isprintable():
            raise BadInputError(f"'{name}' can't be printed in the {self._what}")
        return value

    def flag(self, name: str) -> bool:
        return bool(self.member(name, bool))

    def number(self, name: str, least: int, most: int) -> int:
        value = int(self.member(name, int))
        if not least <= value <= most:
            raise BadInputError(f"'{name}' is {value} in the {self._what}")
        return value

    def counts(self, name: str) -> dict[str, int]:
        """Numbers by name; earlier versions wrote fewer of them."""
        if name not in self._value:
            return {}
        counted = _Plain(self.member(name, dict), name)
        return {key: counted.number(key, 0, _S64) for key in counted.names}

    def items(self, name: str) -> list[_Plain]:
        return [_Plain(item, name) for item in self.member(name, list)]
