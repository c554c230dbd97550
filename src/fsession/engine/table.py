"""`EngineMap`: a map of the machine as Python sees it, the same as one of the kernel."""

from __future__ import annotations

import ctypes
import errno
import weakref
from functools import cache
from typing import TYPE_CHECKING, Self

from fsession.engine.hashes import HASH_HEAD_BYTES
from fsession.engine.maps import MapCode, map_code
from fsession.engine.memory import Block, peek, poke
from fsession.engine.native import Function, compile_text
from fsession.engine.ringbuf import RingMemory
from fsession.engine.stackmap import StackTraces, check_stack_map
from fsession.engine.storage import STORAGE_DELETE, STORAGE_GET, TaskStorage
from fsession.engine.threads import CPU, CPU_COUNT, threads
from fsession.errors import BadInputError, KernelError
from fsession.uapi import MapFlag, MapType, UpdateFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fsession.engine.program import EngineProgram
    from fsession.host import Fd
    from fsession.spec import MapSpec

__all__ = ["HASHES", "EngineMap"]

_ARRAYS = {MapType.ARRAY: "array", MapType.PERCPU_ARRAY: "percpu_array"}
HASHES = {
    MapType.HASH: "hash",
    MapType.PERCPU_HASH: "percpu_hash",
    MapType.LRU_HASH: "lru_hash",
    MapType.LRU_PERCPU_HASH: "lru_percpu_hash",
}
_UNREAD = (MapType.RINGBUF, MapType.PROG_ARRAY)
_OTHERS = (*_UNREAD, MapType.TASK_STORAGE, MapType.STACK_TRACE)
_PER_CPU = (MapType.PERCPU_ARRAY, MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH)
_HEADER_BYTES = 128
_MOST_BYTES = 1 << 32
_F_CPU_SHIFT = 32
_MOST_STORED = 64 << 10  # what fits in one piece of the kernel's own allocation, about
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
        _check(spec)
        self._program_of = program_of
        self._programs: dict[int, EngineProgram] = {}
        self._spec, self._id, self._on_close = spec, id, on_close
        self._cpus = CPU_COUNT if spec.type in _PER_CPU else 0
        self._frozen = self._closed = False
        self._step = aligned(spec.value_size)
        kind = _ARRAYS.get(spec.type) or HASHES.get(spec.type) or "none"
        self._code: MapCode = map_code(kind, CPU_COUNT)
        self._storage = TaskStorage(self._what("create")) if self._is_storage else None
        self._stacks = StackTraces(spec) if spec.type is MapType.STACK_TRACE else None
        self._values, self._buckets = self._make_memory()
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
        address = self._stored(key) if self._storage else self._find(key)
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
        if self.type is MapType.PROG_ARRAY:
            self._set_program(key, self._program_of(int.from_bytes(value, "little")))
            return
        self._check_readable(flags)
        if self._frozen:
            raise KernelError(f"update in map '{self.name}'", errno.EPERM)
        if self._cpus and flags & (UpdateFlag.F_CPU | UpdateFlag.F_ALL_CPUS):
            value = self._whole(key, value, flags)
            flags &= 7
        if self._storage:
            self._store(key, value, flags)
            return
        if len(value) != self.buffer_size:
            raise BadInputError(
                f"a value of '{self.name}' has {self.buffer_size} bytes, not {len(value)}"
            )
        self._update(self._key(key), value, flags)

    def _set_program(self, key: bytes, program: EngineProgram | None) -> bool:
        """Whether there was one before."""
        index = int.from_bytes(self._key(key).read(), "little")
        if index >= self.max_entries:
            raise KernelError(f"update in map '{self.name}'", errno.E2BIG)
        before = self._programs.pop(index, None)
        if program:
            self._programs[index] = program
            program.users += 1
        poke(self._values.address + 8 * index, 8, program.tail_entry if program else 0)
        if before:
            before.users -= 1
            before.release()
        return before is not None

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
        if self.type is MapType.PROG_ARRAY:
            return self._set_program(key, None)
        if self._frozen:
            raise KernelError(f"delete in map '{self.name}'", errno.EPERM)
        if self._storage:
            task = self._storage.task(self._key(key).read(), self._what("delete"))
            return task is not None and not _errno(_storage_code()[1](self.address, task))
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

    # Task storage: keys are pidfds.

    def _stored(self, key: bytes) -> int | None:
        assert self._storage
        task = self._storage.task(self._key(key).read(), self._what("look up"))
        return None if task is None else self._storage.value(task)

    def _store(self, key: bytes, value: bytes, flags: int) -> None:
        assert self._storage
        if len(value) != self.value_size:
            raise BadInputError(f"a value of '{self.name}' has {self.value_size} bytes")
        task = self._storage.task(self._key(key).read(), self._what("update"))
        if flags not in (0, 1, 2):
            raise KernelError(self._what("update"), errno.EINVAL)
        if task is None:
            raise KernelError(self._what("update"), errno.ESRCH).hint(
                "that thread has not been in a traced function"
            )
        there = self._storage.value(task)
        if flags and (there is None) == (flags == 2):
            raise KernelError(self._what("update"), errno.EEXIST if flags == 1 else errno.ENOENT)
        data = Block(len(value), value)
        if there is None:
            there = _storage_code()[0](self.address, task, data.address, 1)
        ctypes.memmove(there, data.address, len(value))

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
            for index in list(self._programs):  # as in the kernel: they go with the last descriptor
                self._set_program(index.to_bytes(4, "little"), None)
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


def _check(spec: MapSpec) -> None:
    """BPF_MAP_CREATE's own checks of sizes and kinds."""
    what = f"create map '{spec.name}'"
    if spec.type not in (*_ARRAYS, *HASHES, *_OTHERS):
        raise KernelError(what, errno.EOPNOTSUPP).hint(
            f"the engine has no maps of the kind {spec.type.name}"
        )
    array = spec.type in _ARRAYS or spec.type is MapType.PROG_ARRAY
    if (array and spec.key_size != 4) or (
        spec.type in (*_ARRAYS, *HASHES)
        and not (spec.max_entries and spec.value_size and spec.key_size)
    ):
        raise KernelError(what, errno.EINVAL)
    if spec.type is MapType.STACK_TRACE:
        check_stack_map(spec, what)
    if spec.type is MapType.TASK_STORAGE:
        _check_storage(spec, what)
    cpus = CPU_COUNT if spec.type in _PER_CPU else 1
    if (spec.value_size * cpus + spec.key_size + HASH_HEAD_BYTES) * spec.max_entries > _MOST_BYTES:
        raise KernelError(what, errno.E2BIG)


def _check_storage(spec: MapSpec, what: str) -> None:
    """As bpf_local_storage_map_alloc_check and its check of BTF."""
    typed = spec.key_type and spec.value_type
    if spec.flags & ~MapFlag.CLONE != MapFlag.NO_PREALLOC or spec.max_entries or not typed:
        raise KernelError(what, errno.EINVAL)
    if spec.key_size != 4 or not spec.value_size:
        raise KernelError(what, errno.EINVAL)
    if spec.value_size > _MOST_STORED:
        raise KernelError(what, errno.E2BIG)


@cache
def _storage_code() -> tuple[Function, Function]:
    """Get and delete, as programs have them."""
    return compile_text(STORAGE_GET, {}), compile_text(STORAGE_DELETE, {})
