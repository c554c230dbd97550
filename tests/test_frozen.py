"""`frozen` classes are what frozen slotted dataclasses are."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace

import pytest

from fsession.frozen import frozen, maker, slotted


def _make(decorate):
    @decorate
    class Point:
        """A point."""

        x: int
        y: int = 0
        note: str = field(default="", compare=False, repr=False)
        tags: list[str] = field(default_factory=list)

        @property
        def total(self) -> int:
            return self.x + self.y

    return Point


Ours = _make(frozen)
Theirs = _make(dataclass(frozen=True, slots=True))


@frozen
class Empty:
    """Without fields."""


@frozen
class One:
    x: int


@frozen
class Other:
    x: int


@frozen
class Own:
    x: int

    def __repr__(self) -> str:
        return "mine"


BOTH = pytest.mark.parametrize("point", [Ours, Theirs], ids=["frozen", "dataclass"])


@BOTH
def test_values(point):
    a = point(1, tags=["t"])
    assert (a.x, a.y, a.note, a.tags, a.total) == (1, 0, "", ["t"], 1)
    assert a == point(1, 0, "another", ["t"])
    assert a != point(2, tags=["t"])
    assert repr(a).endswith("Point(x=1, y=0, tags=['t'])")
    assert point(1).tags is not point(1).tags
    assert [item.name for item in fields(point)] == ["x", "y", "note", "tags"]
    assert replace(a, y=5) == point(1, 5, tags=["t"])
    assert point.__doc__ == "A point."
    assert not hasattr(a, "__dict__")
    match a:
        case point(x, y):
            assert (x, y) == (1, 0)


@BOTH
def test_no_changes(point):
    a = point(1)
    with pytest.raises(FrozenInstanceError, match="'x'"):
        a.x = 2
    with pytest.raises(FrozenInstanceError, match="'x'"):
        del a.x
    with pytest.raises((FrozenInstanceError, TypeError)):
        a.new = 2


@BOTH
def test_wrong_calls(point):
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        point()
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        point(1, z=2)


def test_equality_is_of_one_class_only():
    assert One(1) != Other(1)
    assert One(1) != 1
    assert len({One(1), One(1), Other(1), One(2)}) == 3
    assert Empty() == Empty()
    assert hash(Empty()) == hash(Empty())


def test_own_methods_stay():
    assert repr(Own(1)) == "mine"
    assert Own(1) == Own(1)


def test_copies():
    for made in (copy.copy(One(1)), copy.deepcopy(One(1)), pickle.loads(pickle.dumps(One(1)))):
        assert made == One(1)


def test_a_maker_makes_what_the_constructor_makes():
    @frozen
    class Pair:
        x: int
        y: int = 0

    made = maker(Pair)(1, 2)
    assert made == Pair(1, 2)
    assert type(made) is Pair
    assert hash(made) == hash(Pair(1, 2))
    with pytest.raises(FrozenInstanceError):
        made.x = 5


@slotted
class Totals:
    """A field may be named `self`."""

    name: str
    self: int = 0
    parts: list[int] = field(default_factory=list)


def test_slotted_values_can_be_changed():
    made = Totals("a", self=3)
    made.self += 1
    made.parts.append(1)
    assert made == Totals("a", 4, [1])
    assert Totals("b").parts == []
    assert repr(made) == "Totals(name='a', self=4, parts=[1])"
    assert [item.name for item in fields(Totals)] == ["name", "self", "parts"]
    assert replace(made, self=5).self == 5
    assert copy.copy(made) == made
    with pytest.raises(AttributeError):
        made.other = 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(made)


def test_a_class_may_check_its_values():
    @frozen
    class Even:
        x: int

        def __post_init__(self) -> None:
            if self.x % 2:
                raise ValueError(self.x)

    assert Even(2).x == 2
    with pytest.raises(ValueError, match="3"):
        Even(3)
