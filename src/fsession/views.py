"""Maps and global variables of an object as Python sees them: typed by the object's BTF."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from fsession.btf.values import decode_value, encode_value
from fsession.errors import BadInputError, FsessionError, NotFoundError
from fsession.uapi import MapType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fsession.btf.catalog import Types
    from fsession.btf.types import TypeId
    from fsession.host import Map
    from fsession.spec import MapSpec, Variable

__all__ = ["Globals", "MapView", "StructKey"]

_PER_CPU = frozenset({MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH})
_ARRAYS = frozenset({MapType.ARRAY, MapType.PERCPU_ARRAY})
_NEAR = 3


class StructKey(dict[str, Any]):
    """A struct that is the key of a map: a `dict` that can be one of a `dict`, too.

    It must not be changed.
    """

    __slots__ = ("raw",)

    def __init__(self, members: dict[str, Any], raw: bytes) -> None:
        super().__init__(members)
        self.raw = raw

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(self.raw)


class MapView(MutableMapping[Any, Any]):
    """A map as a mapping. Keys and values are Python values of their C types.

    Without BTF types keys and values are integers of their size, or `bytes` where they are larger
    than 8. A per-CPU map has a list for a value, one item for each possible CPU. An array has all
    its keys from the start; deleting one is an error. `raw` is the map itself, of bytes.
    """

    def __init__(self, raw: Map, spec: MapSpec, types: Types | None) -> None:
        self.raw = raw
        self.spec = spec
        self._types = types
        self._per_cpu = spec.type in _PER_CPU

    def __getitem__(self, key: Any) -> Any:
        value = self.raw.lookup(self._key(key))
        if value is None:
            raise KeyError(key)
        return self._value_of(value)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.raw.update(self._key(key), self._bytes_of(value))

    def __delitem__(self, key: Any) -> None:
        if not self.raw.delete(self._key(key)):
            raise KeyError(key)

    def __iter__(self) -> Iterator[Any]:
        return map(self._key_of, self.raw.keys())

    def __len__(self) -> int:
        if self.spec.type in _ARRAYS:
            return self.raw.max_entries
        return len(list(self.raw.keys()))

    def __contains__(self, key: object) -> bool:
        return self.raw.lookup(self._key(key)) is not None

    def items(self) -> Any:
        """All entries, read in batches."""
        return [(self._key_of(key), self._value_of(value)) for key, value in self.raw.items()]

    def clear(self) -> None:
        """Delete every key; of an array, set every value to zero."""
        if self.spec.type in _ARRAYS:
            for key in list(self.raw.keys()):
                self.raw.update(key, bytes(len(self.raw.lookup(key) or b"")))
            return
        for key in list(self.raw.keys()):
            self.raw.delete(key)

    def __repr__(self) -> str:
        return f"<map '{self.spec.name}', {self.spec.type.name}, id {self.raw.id}>"

    def _key(self, key: Any) -> bytes:
        return _encode(self._types, self.spec.key_type, self.spec.key_size, key, "key")

    def _key_of(self, key: bytes) -> Any:
        value = _decode(self._types, self.spec.key_type, key)
        return StructKey(value, key) if isinstance(value, dict) else value

    def _bytes_of(self, value: Any) -> bytes:
        size = self.spec.value_size
        if not self._per_cpu:
            return _encode(self._types, self.spec.value_type, size, value, "value")
        if not isinstance(value, list | tuple):
            raise BadInputError(f"'{self.spec.name}' is per CPU: a list with a value for each CPU")
        parts = [
            _encode(self._types, self.spec.value_type, size, item, f"value[{cpu}]")
            for cpu, item in enumerate(value)
        ]
        return b"".join(part.ljust(size + -size % 8, b"\0") for part in parts)

    def _value_of(self, value: bytes) -> Any:
        size = self.spec.value_size
        if not self._per_cpu:
            return _decode(self._types, self.spec.value_type, value)
        step = size + -size % 8
        return [
            _decode(self._types, self.spec.value_type, value[at : at + size])
            for at in range(0, len(value), step)
        ]


def _encode(types: Types | None, type_id: TypeId, size: int, value: Any, what: str) -> bytes:
    if types is not None and type_id:
        return encode_value(types, type_id, value, what)
    if isinstance(value, bytes | bytearray) and len(value) == size:
        return bytes(value)
    if isinstance(value, int) and size <= 8:
        bits = size * 8
        if not -(1 << bits - 1) <= value < 1 << bits:
            raise BadInputError(f"{what}: {value} does not fit {bits} bits")
        return (value & (1 << bits) - 1).to_bytes(size, "little")
    raise BadInputError(f"{what}: {size} bytes are wanted")


def _decode(types: Types | None, type_id: TypeId, data: bytes) -> Any:
    if types is not None and type_id:
        return decode_value(types, type_id, data)
    return int.from_bytes(data, "little") if len(data) <= 8 else data


class Globals:
    """Global variables by name: ``globals["threshold"] = 5``.

    Before the object is loaded, a change goes into its initial data, constants included. After,
    it goes to the running program at once; constants (``.rodata``) can no longer be changed.
    """

    def __init__(
        self,
        variables: Mapping[str, Variable],
        types: Types | None,
        data: dict[str, bytearray],
        loaded: Callable[[str], Map | None],
        frozen: frozenset[str],
    ) -> None:
        self._variables = variables
        self._types = types
        self._data = data
        self._loaded = loaded
        self._frozen = frozen

    def __getitem__(self, name: str) -> Any:
        variable = self._variable(name)
        raw = self._read(variable.map)[variable.offset : variable.offset + variable.size]
        return _decode(self._types, variable.type, raw)

    def __setitem__(self, name: str, value: Any) -> None:
        variable = self._variable(name)
        data = _encode(self._types, variable.type, variable.size, value, name)
        target = self._loaded(variable.map)
        if target is None:
            whole = self._data[variable.map]
            whole[variable.offset : variable.offset + variable.size] = data
            return
        if variable.map in self._frozen:
            raise FsessionError(f"'{name}' is a constant of a loaded program").hint(
                "set it before load(), or declare it without const"
            )
        self._write(target, variable, data)

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __contains__(self, name: object) -> bool:
        return name in self._variables

    def __len__(self) -> int:
        return len(self._variables)

    def _variable(self, name: str) -> Variable:
        if name not in self._variables:
            from difflib import get_close_matches  # here: only for an error's message

            near = tuple(get_close_matches(name, self._variables, _NEAR))
            raise NotFoundError("global variable", name, near)
        return self._variables[name]

    def _read(self, map_name: str) -> bytes:
        target = self._loaded(map_name)
        if target is None:
            return bytes(self._data[map_name])
        return target.lookup(bytes(4)) or b""

    def _write(self, target: Map, variable: Variable, data: bytes) -> None:
        """By memory where the map is mapped: other variables of it may change at the same time."""
        memory = getattr(target, "mmap", None)
        if memory is not None:
            with memory() as view:
                view[variable.offset : variable.offset + len(data)] = data
            return
        whole = bytearray(self._read(variable.map))
        whole[variable.offset : variable.offset + len(data)] = data
        target.update(bytes(4), bytes(whole))
