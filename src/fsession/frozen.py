"""`frozen` and `slotted`: dataclasses with slots that cost a twentieth as much to define.

The standard decorator makes each class twice, and writes and compiles six functions for it; a
hundred classes are a quarter of the time from Enter to the first event. Here ``__init__`` is
compiled when the first value is made, which most classes of a run never see, and the rest is
shared. What `dataclasses` offers for such classes (`fields`, `replace`, ``match``) works the same.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["frozen", "maker", "slotted"]

T = TypeVar("T")

_OF_FIELDS = ("__annotations__", "__module__")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Make a class of annotated fields a value: slots, no changes, equal by its fields."""
    return _with_slots(cls, _FROZEN)


@dataclass_transform(field_specifiers=(field,))
def slotted(cls: type[T]) -> type[T]:
    """Make a class of annotated fields one with slots that can be changed, equal by its fields."""
    return _with_slots(cls, _SLOTTED)


def _with_slots(cls: type[T], shared: dict[str, Any]) -> type[T]:
    own = dict(cls.__dict__)
    names = tuple(own.get("__annotations__", ()))
    defaults = {name: own.pop(name) for name in names if name in own}
    for name in ("__dict__", "__weakref__"):
        own.pop(name, None)
    marks = {name: item for name, item in defaults.items() if isinstance(item, Field)}
    compared = [name for name in names if name not in marks or marks[name].compare]
    own |= {
        "__slots__": names,
        "__match_args__": names,
        "__dataclass_fields__": _Fields(defaults),
        "_key": attrgetter(*compared) if compared else _no_key,
        "_shown": tuple(name for name in names if name not in marks or marks[name].repr),
        **{name: method for name, method in shared.items() if name not in own},
    }
    made: Any = type(cls.__name__, cls.__bases__, own)
    made.__qualname__ = cls.__qualname__
    made.__init__ = _initializer(made, names, defaults)
    return made  # type: ignore[no-any-return]


class _Fields:
    """``__dataclass_fields__`` of a class, made by `dataclasses` when somebody asks for them."""

    def __init__(self, defaults: dict[str, Any]) -> None:
        self._defaults = defaults

    def __set_name__(self, owner: Any, name: str) -> None:
        self._owner = owner

    def __get__(self, _: object, __: type) -> dict[str, Field[Any]]:
        own = self._owner.__dict__
        like = {name: own[name] for name in _OF_FIELDS if name in own}
        like["__doc__"] = "without one, the decorator would look for the signature"
        twin: Any = dataclass(init=False, repr=False, eq=False)(type("", (), like | self._defaults))
        found: dict[str, Field[Any]] = twin.__dataclass_fields__
        self._owner.__dataclass_fields__ = found
        return found


def _initializer(made: Any, names: tuple[str, ...], defaults: dict[str, Any]) -> Any:
    """An ``__init__`` that makes the class's real one when it is called first."""

    def __init__(self: Any, /, *args: Any, **words: Any) -> None:
        made.__init__ = _compiled(made, names, defaults)
        made.__init__(self, *args, **words)

    return __init__


def _compiled(made: Any, names: tuple[str, ...], defaults: dict[str, Any]) -> Any:
    """``__init__`` that fills each slot; a factory's default is made for each call."""
    params: list[str] = []
    lines: list[str] = []
    known: dict[str, Any] = {"MISSING": MISSING}
    for name in names:
        known[f"set_{name}"] = getattr(made, name).__set__
        default: Any = defaults.get(name, MISSING)
        factory: Any = MISSING
        if isinstance(default, Field):
            default, factory = default.default, default.default_factory
        value = name
        if factory is not MISSING:
            known[f"make_{name}"] = factory
            value = f"make_{name}() if {name} is MISSING else {name}"
            params.append(f"{name}=MISSING")
        elif default is not MISSING:
            known[f"default_{name}"] = default
            params.append(f"{name}=default_{name}")
        else:
            params.append(name)
        lines.append(f"    set_{name}(_self, {value})")
    if hasattr(made, "__post_init__"):
        lines.append("    _self.__post_init__()")
    head = f"def __init__({', '.join(['_self', *params])}):"
    exec("\n".join([head, *(lines or ["    pass"])]), known)
    return known["__init__"]


def maker(cls: type[T]) -> Callable[..., T]:
    """A function that makes values of a frozen class of all their fields, in their order.

    In a third of the constructor's time: the slots are filled in an object of a class with the same
    ones that can be changed, which becomes one of `cls` at the end. For those who make millions.
    """
    fields = tuple(cls.__dict__["__slots__"])
    names = {"new": object.__new__, "Open": type(cls.__name__, (), {"__slots__": fields})}
    lines = [f"    self.{name} = {name}" for name in fields]
    head = f"def make({', '.join(fields)}):\n    self = new(Open)"
    names["cls"] = cls
    exec("\n".join([head, *lines, "    self.__class__ = cls", "    return self"]), names)
    return names["make"]  # type: ignore[return-value]


def _no_key(_: object) -> tuple[()]:
    return ()


def _equal(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    key = self.__class__._key
    return key(self) == key(other)


def _hash(self: Any) -> int:
    return hash((self.__class__._key(self),))


def _show(self: Any) -> str:
    words = (f"{name}={getattr(self, name)!r}" for name in self.__class__._shown)
    return f"{self.__class__.__qualname__}({', '.join(words)})"


def _refuse_change(self: object, name: str, value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field '{name}'")


def _refuse_removal(self: object, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field '{name}'")


def _reduce(self: Any) -> tuple[Any, ...]:
    return self.__class__, tuple(getattr(self, name) for name in self.__dataclass_fields__)


_SLOTTED = {"__eq__": _equal, "__hash__": None, "__repr__": _show}
_FROZEN = {
    "__eq__": _equal,
    "__hash__": _hash,
    "__repr__": _show,
    "__setattr__": _refuse_change,
    "__delattr__": _refuse_removal,
    "__reduce__": _reduce,
}
