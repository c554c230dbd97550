"""What the BPF trampoline makes of a function's prototype: slots of arguments, sizes, refusals.

The trampoline saves arguments as 8-byte slots: one each, two for a struct (or ``__int128``) of 9 to
16 bytes. A tracing program reads slot n as ``ctx[n]``, and the return value in the slot behind the
last argument. What the kernel refuses (kernel/bpf/btf.c, btf_distill_func_proto) has a reason here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.catalog import POINTER_BYTES
from fsession.btf.types import VOID, Enum, Enum64, Func, FuncProto, Int, Ptr, Struct, TypeId, Union
from fsession.errors import BadInputError, UnsupportedError
from fsession.frozen import frozen

if TYPE_CHECKING:
    from fsession.btf.catalog import Types

__all__ = [
    "MAX_SLOTS",
    "SLOT_BYTES",
    "Arg",
    "FuncModel",
    "Models",
    "TooWide",
    "Variadic",
    "func_model",
]

SLOT_BYTES = 8
MAX_SLOTS = 12  # include/linux/bpf.h: MAX_BPF_FUNC_ARGS
MAX_ARG_BYTES = 16
MAX_RETURN_BYTES = 8

_PROTO_HEAD_WORDS = 3


class TooWide(str):
    """Why nothing attaches to a function: it takes too many words of arguments."""

    __slots__ = ()


class Variadic(str):
    """Why nothing attaches to a function: its last parameter is ``...``."""

    __slots__ = ()


@frozen
class Arg:
    """An argument: its first slot, its size in bytes."""

    slot: int
    size: int
    is_signed: bool = False
    is_struct: bool = False


@frozen
class FuncModel:
    """``struct btf_func_model``; `slots` is the number of argument slots, `return_size` bytes."""

    args: tuple[Arg, ...]
    slots: int
    return_size: int
    return_signed: bool = False


@frozen
class _Value:
    """Size of a type as an argument or result; -1 where the kernel takes no value of it."""

    size: int
    is_signed: bool = False
    is_struct: bool = False


class Models:
    """Models of many functions of one BTF: prototypes and types are looked at once.

    >>> models = Models(types)
    >>> models.of(types.id_of("icmp_rcv"))
    FuncModel(args=(Arg(slot=0, size=8, ...),), slots=1, return_size=4, return_signed=True)
    """

    def __init__(self, types: Types) -> None:
        self._types = types
        self._protos: dict[int, FuncModel | str] = {}
        self._values: dict[int, _Value] = {}
        self._slots: dict[int, int | str] = {}
        self._plain: set[int] = set()

    def of(self, func_id: TypeId) -> FuncModel | str:
        """The model of a function, or the reason why the kernel attaches nothing to it."""
        if self._types.kind_of(func_id) is not Func:
            raise BadInputError(f"BTF type {func_id} is no function")
        proto_id = self._types.ref(func_id)
        model = self._protos.get(proto_id)
        if model is None:
            model = self._protos[proto_id] = self._of_proto(TypeId(proto_id))
        return model

    def slots(self, func_id: TypeId) -> int | str:
        """How many slots the arguments of a function take, or why the kernel attaches nothing.

        As `of`, for thousands of functions: nearly all have only plain arguments, which are told
        by one look at the set of types known to be such.
        """
        proto_id = self._types.ref(func_id)
        slots = self._slots.get(proto_id)
        if slots is None:
            slots = self._slots[proto_id] = self._slots_of_proto(proto_id)
        return slots

    def _slots_of_proto(self, proto_id: int) -> int | str:
        words = self._types.words(TypeId(proto_id)).tolist()
        returned, args = words[2], words[_PROTO_HEAD_WORDS + 1 :: 2]
        plain = self._plain
        known = plain.issuperset(args) and (not returned or returned in plain)
        if known and len(args) <= MAX_SLOTS:
            return len(args)
        model = self._of_proto(TypeId(proto_id))
        for id in (returned, *args):
            value = self._value(id)
            if 0 < value.size <= SLOT_BYTES and not value.is_struct:
                plain.add(id)
        return model if isinstance(model, str) else model.slots

    def _of_proto(self, proto_id: TypeId) -> FuncModel | str:
        if self._types.kind_of(proto_id) is not FuncProto:
            raise BadInputError(f"BTF type {proto_id} is no prototype")
        words = self._types.words(proto_id)
        returned = self._value(words[2])
        if returned.size < 0 or returned.is_struct:
            return f"returns a {self._spell(words[2])}"
        if returned.size > MAX_RETURN_BYTES:
            return f"returns {returned.size} bytes, more than {MAX_RETURN_BYTES}"
        args = self._args(words[_PROTO_HEAD_WORDS::2], words[_PROTO_HEAD_WORDS + 1 :: 2])
        if isinstance(args, str):
            return args
        slots = args[-1].slot + _slots(args[-1].size) if args else 0
        if slots > MAX_SLOTS:
            return TooWide(f"takes {slots} words of arguments, more than {MAX_SLOTS}")
        return FuncModel(args, slots, returned.size, returned.is_signed)

    def _args(self, names: memoryview[int], ids: memoryview[int]) -> tuple[Arg, ...] | str:
        args: list[Arg] = []
        slot = 0
        last = len(ids) - 1
        for index, id in enumerate(ids):
            value = self._value(id)
            if id == VOID:
                variadic = index == last and not names[index]
                words = "takes a variable number of arguments"
                return Variadic(words) if variadic else "has a void argument"
            if not 0 < value.size <= MAX_ARG_BYTES:
                return f"argument {index} is a {self._spell(id)}"
            args.append(Arg(slot, value.size, value.is_signed, value.is_struct))
            slot += _slots(value.size)
        return tuple(args)

    def _value(self, id: int) -> _Value:
        value = self._values.get(id)
        if value is None:
            value = self._values[id] = self._look_at(TypeId(id))
        return value

    def _look_at(self, id: TypeId) -> _Value:
        if id == VOID:
            return _Value(0)
        id = self._types.strip(id)
        kind = self._types.kind_of(id)
        if kind is Ptr:
            return _Value(POINTER_BYTES)
        if kind in (Struct, Union):
            return _Value(self._types.size_of(id), is_struct=True)
        type = self._types[id]
        if isinstance(type, Int | Enum | Enum64):
            return _Value(type.size, type.is_signed)
        return _Value(-1)

    def _spell(self, id: int) -> str:
        """For a reason: kind, name, size: ``struct 'sockptr_t' of 16 bytes``."""
        type = self._types[self._types.strip(TypeId(id))]
        name = self._types.name_of(TypeId(id)) or getattr(type, "name", "")
        size = self._types.size_of(TypeId(id))
        words = [type.__class__.__name__.lower(), f"'{name}'" * bool(name), f"of {size} bytes"]
        return " ".join(filter(None, words))


def func_model(types: Types, func_id: TypeId) -> FuncModel:
    """The model of one function. Raises `UnsupportedError` with the reason the kernel has."""
    model = Models(types).of(func_id)
    if isinstance(model, str):
        raise UnsupportedError(f"tracing of '{types.name_of(func_id)}', which {model},")
    return model


def _slots(size: int) -> int:
    return (size + SLOT_BYTES - 1) // SLOT_BYTES
