"""A function as the tracer sees it: its parameters in the words of the trampoline's context.

Made from BTF once for each traced function; generated programs and decoder both go by it.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from fsession.btf.model import FuncModel, Models
from fsession.btf.types import (
    VOID,
    Const,
    Enum,
    Enum64,
    FuncProto,
    Int,
    Ptr,
    Struct,
    Type,
    TypeId,
    TypeTag,
    Union,
    Volatile,
)
from fsession.errors import AttachError
from fsession.frozen import frozen
from fsession.trace.record import MAX_STRINGS, SLOT_BYTES, Layout

if TYPE_CHECKING:
    from fsession.btf.catalog import Types

__all__ = ["Failure", "Parameter", "Shape", "Shapes", "Signature", "signature"]


_LENGTH_NAMES = ("len", "length", "count", "cnt", "size", "bytes")


class Failure:
    """How a result tells an error: not at all, ``int`` or ``long`` (and pointers) below 0."""

    NONE, INT, LONG = range(3)


@frozen
class Shape:
    """What a program must know of a function: words of arguments, the words that point to texts,
    and how the result tells an error (`Failure`)."""

    slots: int
    strings: tuple[int, ...] = ()
    failure: int = Failure.NONE

    @property
    def layout(self) -> Layout:
        """The least layout that holds the function's calls."""
        return Layout(self.slots, len(self.strings))


class Shapes:
    """Shapes of many functions of one BTF: each prototype and each type is looked at once.

    Much less than a `Signature`, for which every name and every parameter is read.
    """

    def __init__(self, types: Types) -> None:
        self._types = types
        self._models = Models(types)
        self._shapes: dict[int, Shape] = {}
        self._strings: set[int] = set()
        self._others: set[int] = set()
        self._failures: dict[int, int] = {}

    def of(self, func_id: TypeId, slots: int) -> Shape:
        """Of a function that can be traced and whose arguments take `slots` words."""
        proto_id = self._types.ref(func_id)
        shape = self._shapes.get(proto_id)
        if shape is None:
            shape = self._shapes[proto_id] = self._of_proto(func_id, proto_id, slots)
        return shape

    def _of_proto(self, func_id: TypeId, proto_id: TypeId, slots: int) -> Shape:
        # struct btf_type: name, info, type; then a name and a type for each parameter
        words = self._types.words(proto_id).tolist()
        params = words[4::2]
        strings: list[int] = []
        if not self._others.issuperset(params):
            strings = [at for at, id in enumerate(params) if self._is_string(id)][:MAX_STRINGS]
            if strings and slots != len(params):
                strings = self._slots(func_id, strings)
        return Shape(slots, tuple(strings), self._failure(words[2]))

    def _slots(self, func_id: TypeId, params: list[int]) -> list[int]:
        """The first words of some parameters of a function with others of two words."""
        model = self._models.of(func_id)
        if isinstance(model, str):
            raise AttachError(self._types.name_of(func_id), f"it {model}")
        return [model.args[at].slot for at in params]

    def _is_string(self, id: int) -> bool:
        if id in self._strings:
            return True
        if id not in self._others:
            found = _is_string(self._types, TypeId(id))
            (self._strings if found else self._others).add(id)
            return found
        return False

    def _failure(self, id: int) -> int:
        known = self._failures.get(id)
        if known is None:
            known = self._failures[id] = _failure(self._types, TypeId(id))
        return known


@frozen
class Parameter:
    """A parameter in `slots` words from word `slot` on.

    `direct`: the verifier lets a program load the word from its context; others are read with
    ``bpf_get_func_arg``. `string`: a ``const char *`` whose text is recorded too. `length_slot`:
    the word that says how long it is, if the next parameter does (``const char *buf, size_t
    count``): such a text has no NUL at its end; else -1.
    """

    name: str
    type: TypeId
    slot: int
    slots: int
    direct: bool
    string: bool
    length_slot: int = -1


@frozen
class Signature:
    """A function of `module` ("" is vmlinux); `result` is VOID or a type id of `types`."""

    function: str
    module: str
    params: tuple[Parameter, ...]
    result: TypeId
    direct_result: bool
    failure: int
    types: Types = field(compare=False, repr=False)

    @property
    def strings(self) -> tuple[Parameter, ...]:
        """Parameters whose text is recorded, in the order of their areas."""
        return tuple(param for param in self.params if param.string)

    @property
    def shape(self) -> Shape:
        slots = sum(param.slots for param in self.params)
        return Shape(slots, tuple(param.slot for param in self.strings), self.failure)

    @property
    def layout(self) -> Layout:
        """The least layout that holds the call."""
        return self.shape.layout

    @property
    def label(self) -> str:
        """``function`` or ``module:function``."""
        return f"{self.module}:{self.function}" if self.module else self.function


def signature(
    types: Types, func_id: TypeId, function: str, module: str = "", models: Models | None = None
) -> Signature:
    """Of the `Func` `func_id`. Raises `AttachError` where the kernel can't trace its arguments.

    `models` of the same types save work where there are many functions.
    """
    model = (models or Models(types)).of(func_id)
    if isinstance(model, str):
        raise AttachError(function, f"it {model}")
    proto = types.prototype(func_id)
    return Signature(
        function,
        module,
        _params(types, proto, model),
        proto.type,
        _is_direct(types, proto.type),
        _failure(types, proto.type),
        types,
    )


def _params(types: Types, proto: FuncProto, model: FuncModel) -> tuple[Parameter, ...]:
    params: list[Parameter] = []
    strings = 0
    for index, (param, arg) in enumerate(zip(proto.params, model.args, strict=True)):
        slots = -(-arg.size // SLOT_BYTES)
        string = strings < MAX_STRINGS and _is_string(types, param.type)
        strings += string
        name = param.name or f"arg{index}"
        direct = _is_direct(types, param.type)
        length = _length_slot(types, proto, model, index + 1) if string else -1
        params.append(Parameter(name, param.type, arg.slot, slots, direct, string, length))
    return tuple(params)


def _length_slot(types: Types, proto: FuncProto, model: FuncModel, index: int) -> int:
    """The slot of parameter `index`, if by its name and type it is the length of the one before."""
    name = proto.params[index].name if index < len(proto.params) else ""
    if name != "n" and not name.endswith(_LENGTH_NAMES):
        return -1
    is_int = isinstance(types[types.strip(proto.params[index].type)], Int)
    return model.args[index].slot if is_int else -1


def _is_string(types: Types, type_id: TypeId) -> bool:
    """``const char *``: what is not const is mostly a buffer to be filled."""
    pointer = types.strip(type_id)
    if types.kind_of(pointer) is not Ptr:
        return False
    pointee = types.ref(pointer)
    char = types.strip(pointee)
    is_char = types.kind_of(char) is Int and types.name_of(char) == "char"
    return is_char and _is_const(types, pointee)


def _is_const(types: Types, type_id: TypeId) -> bool:
    while types.kind_of(type_id) in (TypeTag, Volatile):
        type_id = types.ref(type_id)
    return types.kind_of(type_id) is Const


def _is_direct(types: Types, type_id: TypeId) -> bool:
    """What ``btf_ctx_access`` (kernel/bpf/btf.c) of every kernel since 5.5 lets a program load.

    Pointers to pointers, arrays, functions, enums and ``const void`` came later or not at all.
    """
    kind = types[types.strip(type_id)]
    if not isinstance(kind, Ptr):
        return isinstance(kind, Int | Enum | Enum64 | Struct | Union)
    return kind.type == VOID or isinstance(_pointee(types, kind), Int | Struct | Union)


def _pointee(types: Types, pointer: Ptr) -> Type:
    return types[types.strip(pointer.type)]


def _failure(types: Types, result: TypeId) -> int:
    kind = types[types.strip(result)]
    if isinstance(kind, Ptr):
        return Failure.LONG
    if isinstance(kind, Int) and kind.is_signed and not kind.is_char:
        return {4: Failure.INT, 8: Failure.LONG}.get(kind.size, Failure.NONE)
    return Failure.NONE
