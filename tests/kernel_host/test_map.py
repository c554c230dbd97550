"""Maps of this kernel: every kind that a tracing program uses, and what can be done with each."""

from __future__ import annotations

import os
import struct
from collections import Counter

import pytest

from fsession.btf.encode import Builder
from fsession.btf.types import Int
from fsession.errors import BadInputError, KernelError, UnsupportedError
from fsession.host import Feature
from fsession.kernel import KernelHost, KernelMap, map_by_id
from fsession.kernel.map import create_map
from fsession.spec import MapSpec
from fsession.uapi import MapFlag, MapType, UpdateFlag

pytestmark = pytest.mark.kernel

BUILD = Builder()
U32, U64 = BUILD.add(Int("u32", 4, 32)), BUILD.add(Int("u64", 8, 64))
TYPES = BUILD.types()

KEYED = [
    MapType.HASH,
    MapType.ARRAY,
    MapType.PERCPU_HASH,
    MapType.PERCPU_ARRAY,
    MapType.LRU_HASH,
    MapType.LRU_PERCPU_HASH,
]
ARRAYS = (MapType.ARRAY, MapType.PERCPU_ARRAY)


@pytest.fixture(scope="module")
def host():
    with KernelHost() as host:
        yield host


def spec(kind: MapType, **changes: object) -> MapSpec:
    fields = {"key_size": 4, "value_size": 8, "max_entries": 64, "key_type": U32, "value_type": U64}
    return MapSpec(f"of_{kind.name.lower()}", kind, **fields | changes)


def key(number: int) -> bytes:
    return struct.pack("<I", number)


UNKEYED = [
    spec(MapType.RINGBUF, key_size=0, value_size=0, max_entries=4096),
    spec(MapType.PERF_EVENT_ARRAY, value_size=4),
    spec(MapType.STACK_TRACE, value_size=8 * 127),
    spec(MapType.PROG_ARRAY, value_size=4),
    spec(MapType.TASK_STORAGE, max_entries=0, flags=MapFlag.NO_PREALLOC),
    spec(MapType.QUEUE, key_size=0),
    spec(MapType.STACK, key_size=0),
]


@pytest.mark.parametrize(
    "wanted", [*map(spec, KEYED), *UNKEYED], ids=lambda wanted: wanted.type.name
)
def test_every_kind_is_made_as_it_was_wanted_btf_or_not(host: KernelHost, wanted: MapSpec):
    for types in (TYPES, None):
        if types is None and wanted.type == MapType.TASK_STORAGE:
            continue  # local storage must have BTF
        with host.create_map(wanted, types) as made:
            assert (made.type, made.key_size, made.value_size, made.max_entries, made.name) == (
                wanted.type,
                wanted.key_size,
                wanted.value_size,
                wanted.max_entries,
                wanted.name,
            )
            with map_by_id(made.id, host.cpu_count) as again:
                assert (again.id, again.type) == (made.id, made.type)
                assert again.name == wanted.name[:15]


@pytest.mark.parametrize("kind", KEYED, ids=lambda kind: kind.name)
def test_elements(host: KernelHost, kind: MapType):
    with host.create_map(spec(kind), TYPES) as made:
        value = struct.pack("<Q", 7) * (made.buffer_size // 8)
        made.update(key(3), value)
        assert made.lookup(key(3)) == value
        assert dict(made.items())[key(3)] == value
        assert key(3) in list(made.keys())
        missing = key(64)
        assert made.lookup(missing) is None
        with pytest.raises(KernelError, match=made.name) as refused:
            made.update(key(3), value, flags=UpdateFlag.NOEXIST)
        assert refused.value.errno == 17  # EEXIST
        if kind not in ARRAYS:
            assert made.delete(key(3))
            assert not made.delete(key(3))
            assert list(made.items()) == list(made.keys()) == []


@pytest.mark.parametrize("kind", KEYED, ids=lambda kind: kind.name)
def test_batches(host: KernelHost, kind: MapType):
    count = 3000  # more than one batch of a look-up
    with host.create_map(spec(kind, max_entries=count), TYPES) as made:
        width = made.buffer_size
        values = {key(n): struct.pack("<Q", n).ljust(width, b"\1") for n in range(count)}
        made.update_batch(values.items())
        held = dict(made.items())
        # An LRU map evicts by itself before it is full; what it holds must be right.
        assert len(held) == count or kind in (MapType.LRU_HASH, MapType.LRU_PERCPU_HASH)
        assert len(held) > count // 2
        assert held == {name: values[name] for name in held}
        if kind not in ARRAYS:
            some = [key(count + 5), *list(held)[:10], key(count + 6), *list(held)[10:20]]
            assert made.delete_batch(some) == 20
            assert Counter(made.keys()) == Counter(list(held)[20:])


@pytest.mark.parametrize("kind", [MapType.QUEUE, MapType.STACK], ids=lambda kind: kind.name)
def test_queue_and_stack(host: KernelHost, kind: MapType):
    with host.create_map(spec(kind, key_size=0), TYPES) as made:
        for number in (1, 2, 3):
            made.update(b"", struct.pack("<Q", number))
        order = [1, 2, 3] if kind == MapType.QUEUE else [3, 2, 1]
        assert made.lookup(b"") == struct.pack("<Q", order[0])
        taken = [made.pop() for _ in range(4)]
        assert taken == [*(struct.pack("<Q", number) for number in order), None]


def test_values_of_each_cpu_whatever_the_kernel_offers(host: KernelHost):
    wanted = spec(MapType.PERCPU_ARRAY, value_size=12, value_type=0)
    with host.create_map(wanted) as made:
        assert made.buffer_size == 16 * host.cpu_count
        cpus = [bytes([cpu + 1]) * 12 + bytes(4) for cpu in range(host.cpu_count)]
        made.update(key(0), b"".join(cpus))
        for cpu in range(host.cpu_count):
            assert made.lookup_cpu(key(0), cpu) == cpus[cpu][:12]
        made.update_all_cpus(key(0), b"same" * 3)
        last = host.cpu_count - 1
        assert made.lookup_cpu(key(0), last) == made.lookup_cpu(key(0), 0) == b"same" * 3


def test_per_cpu_flags_are_what_the_feature_says(host: KernelHost):
    with host.create_map(spec(MapType.PERCPU_ARRAY), TYPES) as made:
        if host.supports(Feature.PER_CPU_FLAGS):
            made.update(key(0), b"12345678", flags=UpdateFlag.F_CPU)
            assert made.lookup(key(0), flags=UpdateFlag.F_CPU) == b"12345678"
        else:
            with pytest.raises(KernelError):
                made.update(key(0), b"12345678", flags=UpdateFlag.F_CPU)


def test_task_storage_is_keyed_by_a_pidfd(host: KernelHost):
    wanted = spec(MapType.TASK_STORAGE, max_entries=0, flags=MapFlag.NO_PREALLOC)
    pidfd = os.pidfd_open(os.getpid())
    try:
        with host.create_map(wanted, TYPES) as made:
            assert made.lookup(key(pidfd)) is None
            made.update(key(pidfd), b"12345678")
            assert made.lookup(key(pidfd)) == b"12345678"
            assert made.delete(key(pidfd))
            assert not made.delete(key(pidfd))
    finally:
        os.close(pidfd)


@pytest.mark.parametrize(
    "kind", [MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS], ids=lambda kind: kind.name
)
def test_maps_of_maps_hold_ids_and_take_fds(host: KernelHost, kind: MapType):
    with (
        host.create_map(spec(MapType.ARRAY), TYPES) as inner,
        host.create_map(spec(kind, value_size=4), None, inner) as outer,
    ):
        outer.update(key(1), key(inner.fd))
        assert outer.lookup(key(1)) == key(inner.id)


def test_mapped_memory_is_the_values(host: KernelHost):
    wanted = spec(MapType.ARRAY, value_size=12, value_type=0, flags=MapFlag.MMAPABLE)
    with host.create_map(wanted) as made, made.mmap() as memory:
        memory[16:28] = b"second value"  # elements lie 8-aligned
        assert made.lookup(key(1)) == b"second value"
        made.update(key(0), b"first  value")
        assert memory[:12] == b"first  value"


def test_only_maps_made_for_it_are_mapped(host: KernelHost):
    with host.create_map(spec(MapType.ARRAY), TYPES) as made, pytest.raises(UnsupportedError):
        made.mmap()


def test_a_frozen_map_can_be_read_only(host: KernelHost):
    with host.create_map(spec(MapType.ARRAY), TYPES) as made:
        made.update(key(0), b"12345678")
        made.freeze()
        with pytest.raises(KernelError, match="EPERM"):
            made.update(key(0), b"87654321")
        assert made.lookup(key(0)) == b"12345678"


@pytest.mark.parametrize(
    ("size", "made_size"), [(1, 4096), (4097, 8192), (1 << 20, 1 << 20)], ids=str
)
def test_ring_sizes_are_rounded_up(host: KernelHost, size: int, made_size: int):
    wanted = spec(MapType.RINGBUF, key_size=0, value_size=0, max_entries=size)
    with host.create_map(wanted) as made:
        assert made.max_entries == max(made_size, os.sysconf("SC_PAGE_SIZE"))


REFUSED = [
    ("short key", lambda made: made.lookup(b"123"), "a key of 'of_hash' has 4 bytes, not 3"),
    ("long value", lambda made: made.update(key(1), bytes(9)), "a value of 'of_hash' has 8"),
]


@pytest.mark.parametrize(
    ("attempt", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_wrong_sizes_never_reach_the_kernel(host: KernelHost, attempt, message: str):
    with (
        host.create_map(spec(MapType.HASH), TYPES) as made,
        pytest.raises(BadInputError, match=message),
    ):
        attempt(made)


def test_a_refused_map_is_named_with_the_kernels_words(host: KernelHost):
    with pytest.raises(KernelError, match="create map 'of_array': EINVAL") as refused:
        create_map(spec(MapType.ARRAY, extra=5), host.cpu_count)
    assert ("map_extra" in refused.value.log) == host.supports(Feature.COMMON_ATTR)


def test_names_keep_what_the_kernel_allows(host: KernelHost):
    with host.create_map(MapSpec("a-b c.d_é", MapType.ARRAY, 4, 4, 1)) as m:
        assert m.name == "a-b c.d_é"
        with map_by_id(m.id, host.cpu_count) as again:
            assert again.name == "a_b_c.d___"


def test_closing_is_final_and_may_be_repeated(host: KernelHost):
    made = host.create_map(spec(MapType.ARRAY), TYPES)
    fd = made.fd
    assert os.get_inheritable(fd) is False
    made.close()
    made.close()
    assert made.closed
    with pytest.raises(ValueError, match="closed"):
        made.lookup(key(0))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_forgotten_map_is_closed_with_a_warning(host: KernelHost):
    made = host.create_map(spec(MapType.ARRAY), TYPES)
    fd = made.fd
    with pytest.warns(ResourceWarning, match=KernelMap.__name__):
        del made
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
