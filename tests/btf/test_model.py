"""What the trampoline makes of a prototype, and which ones the kernel refuses."""

from __future__ import annotations

import pytest

from fsession.btf import types as t
from fsession.btf.encode import Builder
from fsession.btf.model import Arg, FuncModel, Models, func_model
from fsession.errors import BadInputError, UnsupportedError

BUILD = Builder()
IDS = {"void": t.VOID}
for _name, _type in (
    ("int", t.Int("int", 4, 32, 1)),
    ("u8", t.Int("u8", 1, 8)),
    ("u64", t.Int("u64", 8, 64)),
    ("int128", t.Int("__int128", 16, 128, 1)),
    ("ptr", t.Ptr(t.VOID)),
    ("enum", t.Enum("color", 4, ())),
    ("signed enum", t.Enum("error", 4, (), is_signed=True)),
    ("double", t.Float("double", 8)),
    ("array", t.Array(t.TypeId(1), t.TypeId(1), 2)),
    ("fwd", t.Fwd("unknown")),
    ("empty", t.Struct("empty", 0, ())),
    ("pair", t.Struct("pair", 16, ())),
    ("three", t.Struct("three", 24, ())),
    ("tiny", t.Union("tiny", 4, ())),
):
    IDS[_name] = BUILD.add(_type)
IDS["typedef"] = BUILD.add(t.Typedef("pair_t", IDS["pair"]))


def _function(returned: str, *args: str) -> tuple:
    params = [
        t.Param("" if arg == "..." else f"a{n}", IDS.get(arg, 0)) for n, arg in enumerate(args)
    ]
    build = Builder(BUILD.types())
    proto = build.add(t.FuncProto(IDS[returned], tuple(params)))
    func = build.add(t.Func("f", proto))
    return build.types(), func


def _slots(*sizes: int) -> tuple[Arg, ...]:
    return tuple(Arg(n, size) for n, size in enumerate(sizes))


MODELS = [
    ("nothing", ("void",), FuncModel((), 0, 0)),
    ("pointer", ("int", "ptr"), FuncModel(_slots(8), 1, 4, return_signed=True)),
    ("sign", ("u8", "int"), FuncModel((Arg(0, 4, is_signed=True),), 1, 1)),
    ("enums", ("enum", "enum", "signed enum"), None),
    ("pair", ("void", "u8", "pair", "u64"), None),
    ("typedef", ("void", "typedef"), FuncModel((Arg(0, 16, is_struct=True),), 2, 0)),
    ("union", ("void", "tiny"), FuncModel((Arg(0, 4, is_struct=True),), 1, 0)),
    ("int128", ("void", "int128"), FuncModel((Arg(0, 16, is_signed=True),), 2, 0)),
    ("twelve", ("void", *["u64"] * 12), FuncModel(_slots(*[8] * 12), 12, 0)),
    ("six pairs", ("void", *["pair"] * 6), None),
]
SPELLED = {
    "enums": FuncModel((Arg(0, 4), Arg(1, 4, is_signed=True)), 2, 4),
    "pair": FuncModel((Arg(0, 1), Arg(1, 16, is_struct=True), Arg(3, 8)), 4, 0),
    "six pairs": FuncModel(tuple(Arg(2 * n, 16, is_struct=True) for n in range(6)), 12, 0),
}


@pytest.mark.parametrize(
    ("function", "expected"),
    [(row[1], row[2] or SPELLED[row[0]]) for row in MODELS],
    ids=[row[0] for row in MODELS],
)
def test_models(function: tuple[str, ...], expected: FuncModel):
    types, func = _function(*function)
    assert func_model(types, func) == expected
    models = Models(types)
    assert models.slots(func) == models.slots(func) == expected.slots


REFUSED = [
    ("variadic", ("int", "ptr", "..."), "takes a variable number of arguments"),
    ("void argument", ("int", "void", "int"), "has a void argument"),
    ("large struct", ("int", "three"), "argument 0 is a struct 'three' of 24 bytes"),
    ("empty struct", ("int", "int", "empty"), "argument 1 is a struct 'empty' of 0 bytes"),
    ("double", ("int", "double"), "argument 0 is a float 'double' of 8 bytes"),
    ("array", ("int", "array"), "argument 0 is a array of 8 bytes"),
    ("only declared", ("int", "fwd"), "argument 0 is a fwd 'unknown' of 0 bytes"),
    ("thirteen", ("int", *["u8"] * 13), "takes 13 words of arguments, more than 12"),
    ("pairs", ("int", *["pair"] * 7), "takes 14 words of arguments, more than 12"),
    ("returns a struct", ("tiny",), "returns a union 'tiny' of 4 bytes"),
    ("returns a typedef", ("typedef",), "returns a struct 'pair_t' of 16 bytes"),
    ("returns 16 bytes", ("int128",), "returns 16 bytes, more than 8"),
    ("returns a double", ("double",), "returns a float 'double' of 8 bytes"),
]


@pytest.mark.parametrize(
    ("function", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_refusals(function: tuple[str, ...], reason: str):
    types, func = _function(*function)
    models = Models(types)
    assert models.of(func) == reason
    assert models.slots(func) == reason
    with pytest.raises(UnsupportedError, match=f"tracing of 'f', which {reason}"):
        func_model(types, func)


def test_what_is_no_function():
    types, func = _function("int", "int")
    with pytest.raises(BadInputError, match="is no function"):
        func_model(types, IDS["int"])
    with pytest.raises(BadInputError, match="is no function"):
        func_model(types, t.TypeId(func - 1))
