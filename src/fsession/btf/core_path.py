"""Paths to a field: ``0:1:2`` in a program's BTF, and the path of the same names in a kernel's.

An accessor string begins with an index of the root as if it were an array, then goes down: a
member's index, an element's index (``struct bpf_core_relo.access_str_off``, uapi/linux/bpf.h).
Members without a name do not count when it is matched: what lies in them may move elsewhere.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fsession.btf.catalog import MAX_DEPTH
from fsession.btf.compat import Pair, fields_compatible
from fsession.btf.strings import essential
from fsession.btf.types import Array, Enum, Enum64, Member, Struct, TypeId, Union
from fsession.errors import BadInputError
from fsession.frozen import frozen

if TYPE_CHECKING:
    from fsession.btf.catalog import Types

__all__ = ["Path", "Step", "enum_path", "field_path", "match_enum", "match_field", "parse_access"]

_MAX_STEPS = 64


@frozen
class Step:
    """One step: member `name` of `type`, or, without a name, element `index`, itself of `type`."""

    type: TypeId
    index: int
    name: str = ""


@frozen
class Path:
    """Steps from a root type to a field (or one enumerator), and where that lies."""

    types: Types
    root: TypeId
    steps: tuple[Step, ...] = ()
    bit_offset: int = 0

    def then(self, step: Step, bits: int) -> Path:
        return replace(self, steps=(*self.steps, step), bit_offset=self.bit_offset + bits)

    @property
    def member(self) -> Member | None:
        """The member that the last step leads to; None where it is an element or the root."""
        step = self.steps[-1]
        owner = self.types[step.type]
        named = bool(step.name) and isinstance(owner, Struct | Union)
        return owner.members[step.index] if named and isinstance(owner, Struct | Union) else None

    def __str__(self) -> str:
        """For messages: ``sk_buff.dev.name[3]``, and of an enumerator its name."""
        if self.steps and self.steps[0].name:
            return self.steps[0].name
        text = self.types.name_of(self.root) or "(anonymous)"
        text += f"[{self.steps[0].index}]" if self.steps and self.steps[0].index else ""
        return text + "".join(
            f".{step.name}" if step.name else f"[{step.index}]" for step in self.steps[1:]
        )


def parse_access(text: str) -> list[int]:
    """The numbers of an accessor string."""
    parts = text.split(":")
    if len(parts) > _MAX_STEPS:
        raise BadInputError(f"CO-RE accessor of {len(parts)} steps, more than {_MAX_STEPS}")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise BadInputError(f"CO-RE accessor '{text[:64]}' is not of the form 0:1:2")
    return [int(part) for part in parts]


def field_path(types: Types, root: TypeId, access: str) -> Path:
    """Follow an accessor in the BTF it was made for."""
    first, *rest = parse_access(access)
    id = types.strip(root)
    path = Path(types, root).then(Step(id, first), 8 * first * types.size_of(id))
    for index in rest:
        path, id = _go_down(path, types.strip(id), index, access)
    return path


def _go_down(path: Path, id: TypeId, index: int, access: str) -> tuple[Path, TypeId]:
    types = path.types
    type = types[id]
    if isinstance(type, Struct | Union) and index < len(type.members):
        member = type.members[index]
        step = Step(id, index, member.name)
        if member.name:
            return path.then(step, member.bit_offset), member.type
        return replace(path, bit_offset=path.bit_offset + member.bit_offset), member.type
    if isinstance(type, Array) and (index < type.nelems or _is_flexible(path, type)):
        element = types.strip(type.type)
        return path.then(Step(element, index), 8 * index * types.size_of(element)), element
    raise BadInputError(f"CO-RE accessor '{access[:64]}' leads nowhere at {index} of {path}")


def _is_flexible(path: Path, array: Array) -> bool:
    """An array without a size at the end of a struct: any index is inside."""
    step = path.steps[-1]
    owner = path.types[step.type]
    last = isinstance(owner, Struct | Union) and step.index == len(owner.members) - 1
    return not array.nelems and bool(step.name) and last


def match_field(local: Path, target: Types, root: TypeId) -> Path | None:
    """The path in `target` from `root` with the names of `local`; None if there is none."""
    id = target.strip(root)
    first = local.steps[0]
    path = Path(target, root).then(Step(id, first.index), 8 * first.index * target.size_of(id))
    for step in local.steps[1:]:
        match = _match_member if step.name else _match_element
        found = match(path, id, local, step)
        if found is None:
            return None
        path, id = found
    return path


def _match_element(path: Path, id: TypeId, local: Path, step: Step) -> tuple[Path, TypeId] | None:
    types = path.types
    array = types[types.strip(id)]
    if not isinstance(array, Array):
        return None
    if step.index >= array.nelems and not _is_flexible(path, array):
        return None
    element = types.strip(array.type)
    bits = 8 * step.index * types.size_of(element)
    return path.then(Step(element, step.index), bits), element


def _match_member(
    path: Path, id: TypeId, local: Path, step: Step, depth: int = MAX_DEPTH
) -> tuple[Path, TypeId] | None:
    """The member called `step.name`, also inside members that have no name."""
    types = path.types
    id = types.strip(id)
    owner = types[id]
    if not isinstance(owner, Struct | Union):
        return None
    if not depth:
        raise BadInputError(f"BTF type {id} contains itself")
    for index, member in enumerate(owner.members):
        if member.name == step.name:
            pair = Pair(local.types, _member_type(local, step), types, member.type)
            if not fields_compatible(pair):
                return None
            return path.then(Step(id, index, member.name), member.bit_offset), member.type
        if not member.name:
            inner = replace(path, bit_offset=path.bit_offset + member.bit_offset)
            found = _match_member(inner, member.type, local, step, depth - 1)
            if found is not None:
                return found
    return None


def _member_type(path: Path, step: Step) -> TypeId:
    owner = path.types[step.type]
    assert isinstance(owner, Struct | Union)
    return owner.members[step.index].type


def enum_path(types: Types, root: TypeId, access: str) -> Path:
    """The enumerator that an accessor of one number names."""
    numbers = parse_access(access)
    id = types.strip(root)
    enum = types[id]
    if not isinstance(enum, Enum | Enum64) or len(numbers) > 1 or numbers[0] >= len(enum.values):
        raise BadInputError(f"CO-RE accessor '{access[:64]}' names no value of BTF type {root}")
    index = numbers[0]
    return Path(types, root, (Step(id, index, enum.values[index].name),))


def match_enum(local: Path, target: Types, root: TypeId) -> Path | None:
    """The enumerator of the same name, flavors aside."""
    id = target.strip(root)
    enum = target[id]
    wanted = essential(local.steps[0].name)
    if isinstance(enum, Enum | Enum64):
        for index, value in enumerate(enum.values):
            if essential(value.name) == wanted:
                return Path(target, root, (Step(id, index, value.name),))
    return None
