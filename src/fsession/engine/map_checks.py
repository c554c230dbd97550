"""What BPF_MAP_CREATE itself checks: kinds, sizes, flags."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from fsession.engine.hashes import HASH_HEAD_BYTES
from fsession.engine.stackmap import check_stack_map
from fsession.engine.threads import CPU_COUNT
from fsession.errors import KernelError
from fsession.uapi import MapFlag, MapType

if TYPE_CHECKING:
    from fsession.spec import MapSpec

__all__ = ["ARRAYS", "FD_ARRAYS", "HASHES", "PER_CPU", "check_map"]

ARRAYS = {MapType.ARRAY: "array", MapType.PERCPU_ARRAY: "percpu_array"}
HASHES = {
    MapType.HASH: "hash",
    MapType.PERCPU_HASH: "percpu_hash",
    MapType.LRU_HASH: "lru_hash",
    MapType.LRU_PERCPU_HASH: "lru_percpu_hash",
}
FD_ARRAYS = (MapType.PROG_ARRAY, MapType.PERF_EVENT_ARRAY)
PER_CPU = (MapType.PERCPU_ARRAY, MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH)
_OTHERS = (*FD_ARRAYS, MapType.RINGBUF, MapType.TASK_STORAGE, MapType.STACK_TRACE)
_FOR_PROGRAMS = MapFlag.RDONLY_PROG | MapFlag.WRONLY_PROG
_MOST_BYTES = 1 << 32
_MOST_STORED = 64 << 10  # what fits in one piece of the kernel's own allocation, about


def check_map(spec: MapSpec) -> None:
    """BPF_MAP_CREATE's own checks of sizes and kinds."""
    what = f"create map '{spec.name}'"
    if spec.type not in (*ARRAYS, *HASHES, *_OTHERS):
        raise KernelError(what, errno.EOPNOTSUPP).hint(
            f"the engine has no maps of the kind {spec.type.name}"
        )
    if spec.type in (*ARRAYS, *HASHES, *FD_ARRAYS):
        _check_table(spec, what)
    if spec.type is MapType.STACK_TRACE:
        check_stack_map(spec, what)
    if spec.type is MapType.TASK_STORAGE:
        _check_storage(spec, what)
    cpus = CPU_COUNT if spec.type in PER_CPU else 1
    if (spec.value_size * cpus + spec.key_size + HASH_HEAD_BYTES) * spec.max_entries > _MOST_BYTES:
        raise KernelError(what, errno.E2BIG)


def _check_table(spec: MapSpec, what: str) -> None:
    """As array_map_alloc_check, fd_array_map_alloc_check and htab_map_alloc_check."""
    numbered = spec.type in (*ARRAYS, *FD_ARRAYS)
    sound = spec.max_entries and spec.value_size and spec.key_size
    if spec.type in FD_ARRAYS:
        sound = sound and spec.value_size == 4 and not spec.flags & _FOR_PROGRAMS
    if not sound or (numbered and spec.key_size != 4):
        raise KernelError(what, errno.EINVAL)


def _check_storage(spec: MapSpec, what: str) -> None:
    """As bpf_local_storage_map_alloc_check and its check of BTF."""
    typed = spec.key_type and spec.value_type
    if spec.flags & ~MapFlag.CLONE != MapFlag.NO_PREALLOC or spec.max_entries or not typed:
        raise KernelError(what, errno.EINVAL)
    if spec.key_size != 4 or not spec.value_size:
        raise KernelError(what, errno.EINVAL)
    if spec.value_size > _MOST_STORED:
        raise KernelError(what, errno.E2BIG)
