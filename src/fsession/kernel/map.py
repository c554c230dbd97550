"""Maps of the kernel, as bytes."""

from __future__ import annotations

import errno
import mmap
from typing import TYPE_CHECKING

from fsession.errors import BadInputError, KernelError, UnsupportedError
from fsession.kernel.handle import Handle, get_info, open_id, open_pinned
from fsession.kernel.layout import pack, unpack
from fsession.kernel.names import object_name
from fsession.kernel.syscall import Buffer, bpf, bpf_fd
from fsession.uapi import Cmd, MapFlag, MapType, UpdateFlag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fsession.host import Fd
    from fsession.spec import MapSpec

__all__ = ["PER_CPU", "KernelMap", "create_map", "map_by_id", "pinned_map"]

PER_CPU = frozenset(
    {
        MapType.PERCPU_HASH,
        MapType.PERCPU_ARRAY,
        MapType.LRU_PERCPU_HASH,
        MapType.PERCPU_CGROUP_STORAGE,
    }
)
_NO_KEY_TYPES = frozenset(
    {
        MapType.RINGBUF,
        MapType.USER_RINGBUF,
        MapType.PERF_EVENT_ARRAY,
        MapType.STACK_TRACE,
        MapType.PROG_ARRAY,
        MapType.ARRAY_OF_MAPS,
        MapType.HASH_OF_MAPS,
        MapType.QUEUE,
        MapType.STACK,
        MapType.BLOOM_FILTER,
    }
)
"""Kinds for which BPF_MAP_CREATE refuses BTF types of key and value."""

_NO_BATCH = (errno.EINVAL, errno.ENOTSUP, 524, errno.ENOENT)
_BATCH = 512
_F_CPU_SHIFT = 32


class KernelMap(Handle):
    """An open map. `value_size` is the size of one value; per-CPU maps hold one for each CPU."""

    def __init__(self, fd: Fd, cpu_count: int) -> None:
        super().__init__(fd)
        info = get_info(fd, pack("bpf_map_info"), "map info")
        names = ("type", "id", "key_size", "value_size", "max_entries", "map_flags")
        kind, self._id, self._key_size, self._value_size, self._entries, flags = unpack(
            "bpf_map_info", info, *names
        )
        self._type = MapType(kind)
        self._flags = MapFlag(flags)
        self._cpus = cpu_count if self._type in PER_CPU else 0
        self._name = info[24:40].split(b"\0", 1)[0].decode()
        self.full_name = self._name

    @property
    def name(self) -> str:
        return self.full_name

    @property
    def id(self) -> int:
        return self._id

    @property
    def type(self) -> MapType:
        return self._type

    @property
    def key_size(self) -> int:
        return self._key_size

    @property
    def value_size(self) -> int:
        return self._value_size

    @property
    def max_entries(self) -> int:
        return self._entries

    @property
    def flags(self) -> MapFlag:
        return self._flags

    @property
    def buffer_size(self) -> int:
        """Bytes that a look-up gives: for a per-CPU map a value, 8-aligned, for each CPU."""
        aligned = self._value_size + -self._value_size % 8
        return self._cpus * aligned if self._cpus else self._value_size

    def lookup(self, key: bytes, *, flags: int = 0) -> bytes | None:
        """The value, of all CPUs for a per-CPU map; None if there is no such key."""
        single = flags & UpdateFlag.F_CPU and self._cpus
        value = Buffer(self._value_size if single else self.buffer_size)
        try:
            self._element(Cmd.MAP_LOOKUP_ELEM, key, value, flags, "look up")
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return bytes(value)

    def lookup_cpu(self, key: bytes, cpu: int) -> bytes | None:
        """One CPU's value of a per-CPU map: BPF_F_CPU where the kernel has it (6.19)."""
        try:
            return self.lookup(key, flags=UpdateFlag.F_CPU | cpu << _F_CPU_SHIFT)
        except KernelError as error:
            if error.errno != errno.EINVAL:
                raise
        whole = self.lookup(key)
        step = self.buffer_size // self._cpus
        return None if whole is None else whole[cpu * step : cpu * step + self._value_size]

    def update(self, key: bytes, value: bytes, *, flags: int = 0) -> None:
        """Set a value; `flags` are `UpdateFlag` (NOEXIST, EXIST, F_LOCK, F_CPU, F_ALL_CPUS)."""
        self._element(Cmd.MAP_UPDATE_ELEM, key, Buffer(value), flags, "update")

    def update_all_cpus(self, key: bytes, value: bytes) -> None:
        """Set one value for all CPUs: BPF_F_ALL_CPUS where the kernel has it (6.19)."""
        try:
            self.update(key, value, flags=UpdateFlag.F_ALL_CPUS)
        except KernelError as error:
            if error.errno != errno.EINVAL:
                raise
            aligned = value.ljust(len(value) + -len(value) % 8, b"\0")
            self.update(key, aligned * self._cpus)

    def delete(self, key: bytes) -> bool:
        """Remove a key; False if it was not there."""
        try:
            self._element(Cmd.MAP_DELETE_ELEM, key, None, 0, "delete")
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def pop(self, key: bytes = b"") -> bytes | None:
        """Take a value out: the next of a queue or stack (4.20), a key's of a hash (5.14)."""
        value = Buffer(self.buffer_size)
        try:
            self._element(Cmd.MAP_LOOKUP_AND_DELETE_ELEM, key, value, 0, "take out")
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return bytes(value)

    def keys(self) -> Iterator[bytes]:
        """All keys. A map that is changed meanwhile may give some twice or not at all."""
        following = Buffer(self._key_size)
        key: Buffer | None = None
        while True:
            attr = pack(
                "map_elem",
                map_fd=self.fd,
                key=key.address if key else 0,
                next_key=following.address,
            )
            try:
                bpf(Cmd.MAP_GET_NEXT_KEY, attr, f"list keys of '{self.name}'")
            except KernelError as error:
                if error.errno == errno.ENOENT:
                    return
                raise
            yield bytes(following)
            key = Buffer(bytes(following))

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys with their values, in batches where the kind of map has them (5.6)."""
        try:
            yield from self._items_in_batches()
        except _NoBatchError:
            for key in self.keys():
                value = self.lookup(key)
                if value is not None:
                    yield key, value

    def update_batch(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Set many values, by one call where the kind of map has batches."""
        pairs = list(items)
        if not pairs:
            return
        keys, values = (Buffer(b"".join(part)) for part in zip(*pairs, strict=True))
        attr = pack(
            "batch", map_fd=self.fd, keys=keys.address, values=values.address, count=len(pairs)
        )
        try:
            bpf(Cmd.MAP_UPDATE_BATCH, attr, f"update '{self.name}'")
        except KernelError as error:
            if error.errno not in _NO_BATCH:
                raise
            for key, value in pairs:
                self.update(key, value)

    def delete_batch(self, keys: Iterable[bytes]) -> int:
        """Remove many keys, by one call where the kind of map has batches; how many were there."""
        wanted = list(keys)
        gone = 0
        while wanted:
            done, missing = self._delete_some(wanted)
            gone += done
            wanted = wanted[done + missing :]
        return gone

    def _delete_some(self, keys: list[bytes]) -> tuple[int, int]:
        """``(removed, missing)`` from the start of `keys`: a batch ends at a missing key."""
        place = Buffer(b"".join(keys))
        attr = pack("batch", map_fd=self.fd, keys=place.address, count=len(keys))
        try:
            bpf(Cmd.MAP_DELETE_BATCH, attr, f"delete in map '{self.name}'")
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return unpack("batch", attr, "count")[0], 1
            if error.errno not in _NO_BATCH:
                raise
            return sum(self.delete(key) for key in keys), len(keys)
        return len(keys), 0

    def freeze(self) -> None:
        """No change from user space any more (BPF_MAP_FREEZE, 5.2)."""
        bpf(Cmd.MAP_FREEZE, pack("map_elem", map_fd=self.fd), f"freeze '{self.name}'")

    def mmap(self, *, writable: bool = True) -> mmap.mmap:
        """The values of an array map as memory; needs MapFlag.MMAPABLE (5.5)."""
        if not self._flags & MapFlag.MMAPABLE:
            raise UnsupportedError(f"mapping '{self.name}', which was made without MMAPABLE")
        size = (self._value_size + -self._value_size % 8) * self._entries
        prot = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        return mmap.mmap(self.fd, size + -size % mmap.PAGESIZE, mmap.MAP_SHARED, prot)

    def _element(self, cmd: Cmd, key: bytes, value: Buffer | None, flags: int, verb: str) -> None:
        if len(key) != self._key_size:
            raise BadInputError(
                f"a key of '{self.name}' has {self._key_size} bytes, not {len(key)}"
            )
        expected = self._value_size if flags & 24 and self._cpus else self.buffer_size
        if value is not None and value.size != expected:
            raise BadInputError(f"a value of '{self.name}' has {expected} bytes, not {value.size}")
        place = Buffer(key)
        attr = pack(
            "map_elem",
            map_fd=self.fd,
            key=place.address if key else 0,
            value=value.address if value else 0,
            flags=flags,
        )
        bpf(cmd, attr, f"{verb} in map '{self.name}'")

    def _items_in_batches(self) -> Iterator[tuple[bytes, bytes]]:
        count = min(_BATCH, max(self._entries, 1))
        keys, values = Buffer(count * self._key_size), Buffer(count * self.buffer_size)
        place, more = Buffer(max(self._key_size, 8)), False
        while True:
            attr = pack(
                "batch",
                map_fd=self.fd,
                in_batch=place.address if more else 0,
                out_batch=place.address,
                keys=keys.address,
                values=values.address,
                count=count,
            )
            end = False
            try:
                bpf(Cmd.MAP_LOOKUP_BATCH, attr, f"list '{self.name}'")
            except KernelError as error:
                end = error.errno == errno.ENOENT
                if not end and more:
                    raise
                if not end:
                    raise _NoBatchError from error
            yield from self._pairs(bytes(keys), bytes(values), unpack("batch", attr, "count")[0])
            if end:
                return
            more = True

    def _pairs(self, keys: bytes, values: bytes, count: int) -> Iterator[tuple[bytes, bytes]]:
        key_size, value_size = self._key_size, self.buffer_size
        for at in range(count):
            yield (
                keys[at * key_size : (at + 1) * key_size],
                values[at * value_size : (at + 1) * value_size],
            )


class _NoBatchError(Exception):
    """This kind of map has no batch commands, or its batches are too small for a bucket."""


def create_map(
    spec: MapSpec, cpu_count: int, btf_fd: int = 0, inner: KernelMap | None = None
) -> KernelMap:
    """BPF_MAP_CREATE. `btf_fd` is the BTF that the spec's key and value types belong to."""
    typed = btf_fd if spec.type not in _NO_KEY_TYPES and spec.value_type else 0
    attr = pack(
        "map_create",
        map_type=spec.type,
        key_size=spec.key_size,
        value_size=spec.value_size,
        max_entries=spec.max_entries,
        map_flags=spec.flags,
        map_name=object_name(spec.name),
        numa_node=spec.numa_node,
        map_extra=spec.extra,
        inner_map_fd=inner.fd if inner else 0,
        btf_fd=typed,
        btf_key_type_id=spec.key_type if typed else 0,
        btf_value_type_id=spec.value_type if typed else 0,
    )
    created = KernelMap(bpf_fd(Cmd.MAP_CREATE, attr, f"create map '{spec.name}'"), cpu_count)
    created.full_name = spec.name
    return created


def map_by_id(number: int, cpu_count: int) -> KernelMap:
    """An open map by its id."""
    return KernelMap(open_id(Cmd.MAP_GET_FD_BY_ID, number), cpu_count)


def pinned_map(path: str, cpu_count: int) -> KernelMap:
    """An open map by where it is pinned."""
    return KernelMap(open_pinned(path), cpu_count)
