"""Maps and variables as Python values, by the types of an object."""

from __future__ import annotations

import pytest
from tests.attach.host import FakeHost, FakeMap

from fsession.btf.encode import Builder
from fsession.btf.types import Array, Int, Member, Struct
from fsession.errors import BadInputError, FsessionError, NotFoundError
from fsession.spec import MapSpec, Variable
from fsession.uapi import MapType
from fsession.views import Globals, MapView

BUILD = Builder()
U32, S64 = BUILD.add(Int("u32", 4, 32)), BUILD.add(Int("s64", 8, 64, 1))
CHAR = BUILD.add(Int("char", 1, 8, 1))
NAME = BUILD.add(Array(CHAR, U32, 8))
PAIR = BUILD.add(Struct("pair", 8, (Member("left", U32, 0), Member("right", U32, 32))))
TYPES = BUILD.types("views")


def view(kind=MapType.HASH, key=U32, value=S64, entries=4) -> MapView:
    sizes = {U32: 4, S64: 8, PAIR: 8, NAME: 8}
    spec = MapSpec("m", kind, sizes[key], sizes[value], entries, key_type=key, value_type=value)
    return MapView(FakeMap(FakeHost([]), spec), spec, TYPES)


def test_mapping():
    numbers = view()
    numbers[1], numbers[2] = 5, -6
    assert dict(numbers.items()) == {1: 5, 2: -6}
    assert (len(numbers), 1 in numbers, 3 in numbers) == (2, True, False)
    del numbers[1]
    with pytest.raises(KeyError):
        numbers[1]
    with pytest.raises(KeyError):
        del numbers[1]
    numbers.clear()
    assert list(numbers) == []


def test_array():
    numbers = view(MapType.ARRAY)
    assert dict(numbers.items()) == dict.fromkeys(range(4), 0)
    numbers[3] = 9
    numbers.clear()
    assert (len(numbers), numbers[3]) == (4, 0)


def test_structs():
    """As keys they can be used in a dictionary again; as values they are dictionaries."""
    pairs = view(key=PAIR, value=PAIR)
    pairs[{"left": 1, "right": 2}] = {"right": 4}
    assert dict(pairs.items()) == {key: {"left": 0, "right": 4} for key in pairs}
    assert list(pairs) == [{"left": 1, "right": 2}]
    assert dict.fromkeys(pairs, 1) == {next(iter(pairs)): 1}
    assert pairs[next(iter(pairs))]["right"] == 4


def test_text():
    names = view(value=NAME)
    names[1] = "lo"
    assert names[1] == b"lo"


def test_per_cpu():
    numbers = view(MapType.PERCPU_ARRAY, value=U32)
    numbers[0] = [1, 2]
    assert numbers[0] == [1, 2]
    assert numbers.raw.lookup(bytes(4)) == b"\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0"
    with pytest.raises(BadInputError, match="each CPU"):
        numbers[0] = 1


@pytest.mark.parametrize(
    ("key", "value"), [(-5_000_000_000, 1), ("one", 1), (1, 1 << 70), (1, None), (1, b"xyz")]
)
def test_what_does_not_fit(key, value):
    numbers = view()
    with pytest.raises(BadInputError):
        numbers[key] = value
    assert len(numbers) == 0


def test_without_types():
    spec = MapSpec("m", MapType.HASH, 4, 12, 4)
    plain = MapView(FakeMap(FakeHost([]), spec), spec, None)
    plain[7] = b"123456789012"
    assert dict(plain.items()) == {7: b"123456789012"}
    with pytest.raises(BadInputError, match="12 bytes"):
        plain[7] = 5


VARIABLES = {
    "threshold": Variable("threshold", ".data", 8, 4, U32),
    "limit": Variable("limit", ".rodata", 0, 8, S64),
    "pair": Variable("pair", ".data", 0, 8, PAIR),
}


@pytest.fixture
def maps():
    return {}


@pytest.fixture
def variables(maps):
    data = {".data": bytearray(16), ".rodata": bytearray(8)}
    return Globals(VARIABLES, TYPES, data, maps.get, frozenset({".rodata"}))


def load(maps) -> None:
    for name, size in ((".data", 16), (".rodata", 8)):
        maps[name] = FakeMap(FakeHost([]), MapSpec(name, MapType.ARRAY, 4, size, 1))


def test_globals_before_loading(variables):
    variables["threshold"], variables["limit"] = 5, -1
    variables["pair"] = {"left": 1}
    assert (variables["threshold"], variables["limit"]) == (5, -1)
    assert variables["pair"] == {"left": 1, "right": 0}
    assert (len(variables), sorted(variables)) == (3, ["limit", "pair", "threshold"])


def test_globals_after_loading(variables, maps):
    load(maps)
    variables["threshold"] = 7
    assert maps[".data"].lookup(bytes(4)) == bytes(8) + b"\7" + bytes(7)
    assert variables["threshold"] == 7
    with pytest.raises(FsessionError, match="constant"):
        variables["limit"] = 1


def test_globals_with_wrong_names_and_values(variables):
    with pytest.raises(NotFoundError, match="did you mean threshold"):
        variables["treshold"]
    with pytest.raises(BadInputError, match="threshold"):
        variables["threshold"] = 1 << 40
    with pytest.raises(BadInputError, match="middle"):
        variables["pair"] = {"middle": 1}
