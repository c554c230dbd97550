"""`EngineMap`: a map of the machine as Python sees it, the same as one of the kernel."""

from __future__ import annotations

import ctypes
import errno
import weakref
from typing import TYPE_CHECKING, Self

from fsession.engine.fd_arrays import fd_array
from fsession.engine.hashes import HASH_HEAD_BYTES
from fsession.engine.map_checks import ARRAYS, FD_ARRAYS, HASHES, PER_CPU, check_map
from fsession.engine.maps import MapCode, map_code
from fsession.engine.memory import Block, peek, poke
from fsession.engine.ringbuf import RingMemory
from fsession.engine.stackmap import StackTraces
from fsession.engine.storage import TaskStorage
from fsession.engine.threads import CPU, CPU_COUNT, threads
from fsession.errors import BadInputError, KernelError
from fsession.uapi import MapFlag, MapType, UpdateFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fsession.engine.program import EngineProgram
    from fsession.host import Fd
    from fsession.spec import MapSpec

__all__ = ["EngineMap"]

_UNREAD = (*FD_ARRAYS, MapType.RINGBUF)
_HEADER_BYTES = 128
_F_CPU_SHIFT = 32
_U64 = (1 << 64) - 1


def aligned(size: int) -> int:
    return size + -size % 8


class EngineMap:
    """A map; `address` is what instructions hold. Closed by its owner, or with the machine."""

    def __init__(
        self,
        spec: MapSpec,
        id: int,
        on_close: Callable[[EngineMap], None],
        program_of: Callable[[int], EngineProgram],
    ) -> None:
        """`program_of` finds the program of a number, for a prog array."""
        check_map(spec)
        self._spec, self._id, self._on_close = spec, id, on_close
        self._cpus = CPU_COUNT if spec.type in PER_CPU else 0
        self._frozen = self._closed = False
        self._step = aligned(spec.value_size)
        kind = ARRAYS.get(spec.type) or HASHES.get(spec.type) or "none"
        self._code: MapCode = map_code(kind, CPU_COUNT)
        self._storage = TaskStorage(self._what("create")) if self._is_storage else None
        self._stacks = StackTraces(spec) if spec.type is MapType.STACK_TRACE else None
        self._values, self._buckets = self._make_memory()
        self._descriptors = fd_array(spec.type, self._values, program_of)
        self._header = Block(_HEADER_BYTES)
        self._fill_header()
        ring = spec.type is MapType.RINGBUF
        self.ring = RingMemory(spec.max_entries, self.address) if ring else None
        if self.ring:  # neither Python nor code can use it any more, when the map is collected
            weakref.finalize(self, self.ring.close).atexit = False

    def _what(self, verb: str) -> str:
        return f"{verb} map '{self.name}'" if verb == "create" else f"{verb} in map '{self.name}'"

    @property
    def _is_storage(self) -> bool:
        return self.type is MapType.TASK_STORAGE

    def _make_memory(self) -> tuple[Block, Block]:
        spec = self._spec
        whole = self._step * (self._cpus or 1)
        if self._stacks:
            self._entry = whole
            return self._stacks.values, self._stacks.buckets
        if spec.type in HASHES:
            buckets = 1 << max(spec.max_entries - 1, 1).bit_length()
            self._entry = HASH_HEAD_BYTES + aligned(spec.key_size) + whole
            values = Block(self._entry * spec.max_entries)
            for at in range(1, spec.max_entries):
                poke(values.address + (at - 1) * self._entry, 4, at + 1)
            return values, Block(4 * buckets)
        self._entry = whole
        size = 0 if spec.type is MapType.RINGBUF else whole * spec.max_entries
        return Block(size), Block(4)

    def _fill_header(self) -> None:
        spec, code = self._spec, self._code
        words = {
            0: self._storage.distance & _U64 if self._storage else self._values.address,
            8: spec.max_entries,
            16: code.lookup.address,
            24: code.update.address,
            32: code.delete.address,
            40: spec.key_size,
            48: spec.value_size,
            56: self._step,
            64: self._entry,
            88: self._buckets.address,
            96: 1 if spec.type in HASHES else 0,
            112: len(self._stacks) - 1 if self._stacks else self._buckets.size // 4 - 1,
            **(self._stacks.words if self._stacks else {}),
        }
        for at, value in words.items():
            poke(self._header.address + at, 8, value)

    # What it is.

    @property
    def address(self) -> int:
        return self._header.address

    @property
    def values(self) -> Block:
        return self._values

    @property
    def spec(self) -> MapSpec:
        return self._spec

    @property
    def name(self) -> str:
        return self._spec.name

    @property
    def id(self) -> int:
        return self._id

    @property
    def fd(self) -> Fd:
        """A number that stands for the map in instructions; no descriptor of the system."""
        if self._closed:
            raise ValueError(f"the map '{self.name}' is closed")
        return self._id  # type: ignore[return-value]

    @property
    def type(self) -> MapType:
        return self._spec.type

    @property
    def entry_bytes(self) -> int:
        """From one entry to the next."""
        return self._entry

    @property
    def key_size(self) -> int:
        return self._spec.key_size

    @property
    def value_size(self) -> int:
        return self._spec.value_size

    @property
    def max_entries(self) -> int:
        return self._spec.max_entries

    @property
    def flags(self) -> MapFlag:
        return MapFlag(self._spec.flags)

    @property
    def buffer_size(self) -> int:
        """Bytes that a look-up gives: for a per-CPU map a value, 8-aligned, for each CPU."""
        return self._cpus * self._step if self._cpus else self.value_size

    # What is in it.

    def lookup(self, key: bytes, *, flags: int = 0) -> bytes | None:
        """The value, of all CPUs for a per-CPU map; None if there is no such key."""
        self._check_readable(flags)
        if self._stacks:
            return self._stacks.get(self.address, int.from_bytes(self._key(key).read(), "little"))
        if self._storage:
            address = self._storage.find(self._key(key).read(), self._what("look up"))
        else:
            address = self._find(key)
        if address is None:
            return None
        if flags & UpdateFlag.F_CPU and self._cpus:
            return ctypes.string_at(address + self._step * _cpu_of(flags), self.value_size)
        return ctypes.string_at(address, self.buffer_size)

    def lookup_cpu(self, key: bytes, cpu: int) -> bytes | None:
        """One CPU's value of a per-CPU map."""
        return self.lookup(key, flags=UpdateFlag.F_CPU | cpu << _F_CPU_SHIFT)

    def update(self, key: bytes, value: bytes, *, flags: int = 0) -> None:
        """Set a value; `flags` are `UpdateFlag` (NOEXIST, EXIST, F_CPU, F_ALL_CPUS)."""
        if self._descriptors:
            self._descriptors.set(self._index(key), int.from_bytes(value, "little"))
            return
        self._check_readable(flags)
        if self._frozen:
            raise KernelError(f"update in map '{self.name}'", errno.EPERM)
        if self._cpus and flags & (UpdateFlag.F_CPU | UpdateFlag.F_ALL_CPUS):
            value = self._whole(key, value, flags)
            flags &= 7
        if len(value) != self.buffer_size:
            raise BadInputError(
                f"a value of '{self.name}' has {self.buffer_size} bytes, not {len(value)}"
            )
        if self._storage:
            pidfd = self._key(key).read()
            self._storage.store(self.address, pidfd, value, flags, self._what("update"))
            return
        self._update(self._key(key), value, flags)

    def _index(self, key: bytes) -> int:
        """Of an array, by its key."""
        index = int.from_bytes(self._key(key).read(), "little")
        if index >= self.max_entries:
            raise KernelError(f"update in map '{self.name}'", errno.E2BIG)
        return index

    def _update(self, key: Block, value: bytes, flags: int) -> None:
        place = Block(len(value), value)
        if self._cpus and self.type is MapType.PERCPU_ARRAY:
            address = self._find(key.read())
            error = -errno.E2BIG if address is None else -errno.EEXIST if flags == 1 else 0
            if address is not None and not error:
                ctypes.memmove(address, value, len(value))
        else:
            error = _errno(self._code.update_all(self.address, key.address, place.address, flags))
        if error:
            raise KernelError(f"update in map '{self.name}'", -error)

    def _whole(self, key: bytes, value: bytes, flags: int) -> bytes:
        """The values of all CPUs, with one or all replaced."""
        if len(value) != self.value_size:
            raise BadInputError(f"a value of '{self.name}' has {self.value_size} bytes")
        padded = value.ljust(self._step, b"\0")
        if flags & UpdateFlag.F_ALL_CPUS:
            return padded * self._cpus
        whole = bytearray(self.lookup(key) or bytes(self.buffer_size))
        at = self._step * _cpu_of(flags)
        whole[at : at + self._step] = padded
        return bytes(whole)

    def update_all_cpus(self, key: bytes, value: bytes) -> None:
        """Set one value for all CPUs."""
        self.update(key, value, flags=UpdateFlag.F_ALL_CPUS)

    def update_batch(self, items: list[tuple[bytes, bytes]]) -> None:
        for key, value in items:
            self.update(key, value)

    def delete_batch(self, keys: list[bytes]) -> int:
        return sum(self.delete(key) for key in keys)

    def delete(self, key: bytes) -> bool:
        """Remove a key; False if it was not there."""
        if self._descriptors:
            return self._descriptors.set(self._index(key), None)
        if self._frozen:
            raise KernelError(f"delete in map '{self.name}'", errno.EPERM)
        if self._storage:
            return self._storage.remove(self.address, self._key(key).read(), self._what("delete"))
        place = self._key(key)
        if self._stacks:
            return self._stacks.remove(self.address, peek(place.address, 4), self._what("delete"))
        error = _errno(self._code.delete(self.address, place.address))
        if error and error != -errno.ENOENT:
            raise KernelError(f"delete in map '{self.name}'", -error)
        return not error

    def pop(self, key: bytes = b"") -> bytes | None:
        """Take a key's value out of a hash."""
        value = self.lookup(key)
        if value is not None:
            self.delete(key)
        return value

    def keys(self) -> Iterator[bytes]:
        """All keys. A map that is changed meanwhile may give some twice or not at all."""
        if self._storage:
            raise KernelError(f"list keys of map '{self.name}'", errno.EOPNOTSUPP)
        if self._stacks:
            yield from (id.to_bytes(4, "little") for id in self._stacks.ids())
            return
        if self.type not in HASHES:
            yield from (at.to_bytes(4, "little") for at in range(self.max_entries))
            return
        for at in range(self.max_entries):
            entry = self._values.address + at * self._entry
            if peek(entry + 4, 4):
                yield ctypes.string_at(entry + HASH_HEAD_BYTES, self.key_size)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        for key in self.keys():
            value = self.lookup(key)
            if value is not None:
                yield key, value

    def _find(self, key: bytes) -> int | None:
        """Where the value is, of CPU 0 for a per-CPU map."""
        place = self._key(key)
        address = self._code.lookup(self.address, place.address)
        if not address:
            return None
        cpu = peek(threads().block() + CPU) if self._cpus else 0
        return address - cpu * self._step

    def _key(self, key: bytes) -> Block:
        if len(key) != self.key_size:
            raise BadInputError(f"a key of '{self.name}' has {self.key_size} bytes, not {len(key)}")
        threads().block()
        return Block(len(key), key)

    def _check_readable(self, flags: int) -> None:
        if self.type in _UNREAD:
            raise KernelError(f"look up in map '{self.name}'", errno.EOPNOTSUPP)
        if flags & UpdateFlag.F_CPU and _cpu_of(flags) >= (self._cpus or 1):
            raise KernelError(f"look up in map '{self.name}'", errno.ERANGE)

    # Its life.

    def freeze(self) -> None:
        """No change from Python any more."""
        self._frozen = True

    @property
    def frozen(self) -> bool:
        return self._frozen

    def pin(self, path: str) -> None:
        raise KernelError(f"pin as {path}", errno.EOPNOTSUPP).hint(
            "the engine's maps live in this process only"
        )

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            if self._descriptors:  # as in the kernel: they go with the last descriptor
                self._descriptors.clear()
            self._on_close(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _errno(result: int) -> int:
    """A C ``long`` below 0 of what code returned, else 0."""
    return result - (1 << 64) if result >> 63 else 0


def _cpu_of(flags: int) -> int:
    return flags >> _F_CPU_SHIFT
