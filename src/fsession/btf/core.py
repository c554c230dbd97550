"""CO-RE: what an instruction that depends on a type's layout must say on the running kernel.

`relocate` answers one relocation as a value, `apply` puts it into the instruction. A relocation
names a type and a field of the program's BTF; candidates are the kernel's types of the same name
(flavors aside) and kind; those that have the field must agree. Where none does, existence is 0, and
other questions poison the instruction: it becomes an invalid call, which the verifier complains of
only if it can be reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fsession.btf.compat import Pair, same_kind, types_compatible, types_match
from fsession.btf.core_patch import CoreResult, apply, is_poison
from fsession.btf.core_path import Path, enum_path, field_path, match_enum, match_field
from fsession.btf.core_value import Value, value_of
from fsession.btf.strings import essential
from fsession.btf.types import Enum, Enum64
from fsession.errors import BadInputError
from fsession.frozen import frozen
from fsession.uapi import CoreReloKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fsession.btf.catalog import Types
    from fsession.btf.types import TypeId

__all__ = ["CoreResult", "Relocation", "Relocator", "apply", "is_poison", "relocate"]

_K = CoreReloKind
_OF_TYPE = {_K.TYPE_ID_LOCAL, _K.TYPE_ID_TARGET, _K.TYPE_EXISTS, _K.TYPE_SIZE, _K.TYPE_MATCHES}
_OF_ENUM = {_K.ENUMVAL_EXISTS, _K.ENUMVAL_VALUE}
# What is asked of a type, enumerator or field that is not there, and has an answer.
_ABSENT_IS_ZERO = {
    _K.FIELD_EXISTS,
    _K.ENUMVAL_EXISTS,
    _K.TYPE_EXISTS,
    _K.TYPE_MATCHES,
    _K.TYPE_SIZE,
    _K.TYPE_ID_TARGET,
}


class Relocation(Protocol):
    """``struct bpf_core_relo``, as `fsession.spec.CoreRelo` has it."""

    @property
    def kind(self) -> CoreReloKind: ...
    @property
    def type(self) -> TypeId: ...
    @property
    def access(self) -> str: ...


@frozen
class _Match:
    """A candidate that has what is asked for, and the answer there."""

    path: Path
    value: Value


class Relocator:
    """Answers relocations of one object; candidates are looked for once a type.

    `targets` are vmlinux, then modules, which are only taken from the iterable if vmlinux has no
    type of a name.
    """

    def __init__(self, local: Types, targets: Iterable[Types]) -> None:
        self._local = local
        self._rest = iter(targets)
        self._targets: list[Types] = []
        self._candidates: dict[TypeId, list[tuple[Types, TypeId]]] = {}

    def relocate(self, relo: Relocation) -> CoreResult:
        """The answer to one relocation. Raises `BadInputError` if it is malformed or ambiguous."""
        path = self._local_path(relo)
        local = value_of(relo.kind, path)
        if relo.kind == _K.TYPE_ID_LOCAL:
            question = self._question(path, there=True)
            return CoreResult(relo.kind, question, local.number, int(relo.type), validate=False)
        matches = list(self._matches(relo.kind, path))
        question = self._question(path, there=bool(self._candidates_of(path.root)))
        if not matches:
            absent = 0 if relo.kind in _ABSENT_IS_ZERO else None
            return CoreResult(relo.kind, question, local.number, absent, validate=local.validate)
        _check_agreement(question, matches)
        return _answer(relo.kind, question, local, matches[0])

    def _local_path(self, relo: Relocation) -> Path:
        if relo.kind in _OF_TYPE:
            if relo.access != "0":
                raise BadInputError(f"CO-RE accessor of a type is '{relo.access[:64]}', not '0'")
            self._local[relo.type]
            return Path(self._local, relo.type)
        make = enum_path if relo.kind in _OF_ENUM else field_path
        return make(self._local, relo.type, relo.access)

    def _matches(self, kind: CoreReloKind, local: Path) -> Iterator[_Match]:
        for types, root in self._candidates_of(local.root):
            path = _match(kind, local, types, root)
            if path is not None:
                yield _Match(path, value_of(kind, path))

    def _candidates_of(self, root: TypeId) -> list[tuple[Types, TypeId]]:
        found = self._candidates.get(root)
        if found is None:
            found = self._candidates[root] = self._find_candidates(root)
        return found

    def _find_candidates(self, root: TypeId) -> list[tuple[Types, TypeId]]:
        """Types of the same essential name and kind: vmlinux's, or else those of all modules."""
        name = essential(self._local.name_of(root))
        if not name:
            raise BadInputError(f"CO-RE relocation of BTF type {root}, which has no name")
        kind = self._local.kind_of(root)
        kinds = (Enum, Enum64) if same_kind(kind, Enum) else (kind,)
        found: list[tuple[Types, TypeId]] = []
        for types in self._all_targets():
            flavored = [text for text in types.strings.flavors(name) if essential(text) == name]
            for text in (name, *flavored):
                found += [(types, id) for id in types.find_own(text, *kinds)]
            if found and types.base is None:
                break
        return found

    def _all_targets(self) -> Iterator[Types]:
        yield from self._targets
        for types in self._rest:
            self._targets.append(types)
            yield types

    def _question(self, path: Path, *, there: bool) -> str:
        """What the program needs; `there`: the kernel has such a type, so name the field too."""
        root = self._local
        kind = root.kind_of(path.root).__name__.lower()
        text = f"{kind} '{essential(root.name_of(path.root))}'"
        return f"{text} with '{path}'" if there and path.steps else text


def relocate(local: Types, relo: Relocation, targets: Iterable[Types]) -> CoreResult:
    """The answer to a single relocation; for all of an object make one `Relocator`."""
    return Relocator(local, targets).relocate(relo)


def _answer(kind: CoreReloKind, question: str, local: Value, match: _Match) -> CoreResult:
    value = match.value
    return CoreResult(
        kind,
        question,
        local.number,
        value.number,
        validate=local.validate and value.validate,
        local_size=local.size,
        target_size=value.size,
        resizable=local.resizable and value.resizable and local.pointer == value.pointer,
        types=match.path.types,
        type=match.path.root,
    )


def _check_agreement(question: str, matches: list[_Match]) -> None:
    first = matches[0]
    for other in matches[1:]:
        if other.value != first.value:
            places = (f"{match.value.number} by type {match.path.root}" for match in (first, other))
            raise BadInputError(f"CO-RE: {question} is ambiguous: {', '.join(places)}")


def _match(kind: CoreReloKind, local: Path, types: Types, root: TypeId) -> Path | None:
    if kind in _OF_ENUM:
        return match_enum(local, types, root)
    if kind not in _OF_TYPE:
        return match_field(local, types, root)
    agree = types_match if kind == _K.TYPE_MATCHES else types_compatible
    return Path(types, root) if agree(Pair(local.types, local.root, types, root)) else None
