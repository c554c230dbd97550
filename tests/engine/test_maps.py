"""Maps of the machine: from Python and from programs, against models in Python."""

from __future__ import annotations

import errno
import os
import resource
import threading
from random import Random

import pytest

from fsession.engine.threads import CPU_COUNT
from fsession.errors import BadInputError, KernelError
from fsession.spec import MapSpec
from fsession.uapi import MapType

HASHES = [
    MapType.HASH,
    MapType.LRU_HASH,
    MapType.PERCPU_HASH,
    MapType.LRU_PERCPU_HASH,
]


def make(machine, kind, key_size=4, value_size=8, entries=50):
    return machine.create_map(MapSpec("m", kind, key_size, value_size, entries))


def random_value(rng, made):
    if made.buffer_size == made.value_size:
        return rng.randbytes(made.value_size)
    padding = bytes(-made.value_size % 8)
    return b"".join(rng.randbytes(made.value_size) + padding for _ in range(CPU_COUNT))


@pytest.mark.parametrize("key_size", [1, 4, 8, 13])
@pytest.mark.parametrize("kind", HASHES)
def test_a_hash_is_a_dict(machine, kind, key_size):
    """An LRU map may have forgotten a key, never a value."""
    made, rng, model = make(machine, kind, key_size, 12), Random(key_size), {}
    forgets = "LRU" in kind.name
    for _ in range(1500):
        key, action = bytes(rng.choices(range(20), k=key_size)), rng.random()
        if action < 0.5:
            value = random_value(rng, made)
            if len(model) == 50 and key not in model and not forgets:
                with pytest.raises(KernelError) as full:
                    made.update(key, value)
                assert full.value.errno == errno.E2BIG
            else:
                made.update(key, value)
                model[key] = value
        elif action < 0.7:
            there = made.delete(key)
            assert there == (key in model) or forgets
            model.pop(key, None)
        else:
            assert made.lookup(key) in ((None, model.get(key)) if forgets else (model.get(key),))
    if forgets:
        assert dict(made.items()).items() <= model.items()
    else:
        assert dict(made.items()) == model


FLAGS = [
    (MapType.HASH, 1, True, errno.EEXIST),
    (MapType.HASH, 2, False, errno.ENOENT),
    (MapType.HASH, 7, True, errno.EINVAL),
    (MapType.ARRAY, 1, True, errno.EEXIST),
    (MapType.ARRAY, 9, True, errno.EINVAL),
]


@pytest.mark.parametrize(("kind", "flags", "there", "number"), FLAGS)
def test_flags(machine, kind, flags, there, number):
    made = make(machine, kind)
    if there:
        made.update(bytes(4), bytes(8))
    with pytest.raises(KernelError) as failure:
        made.update(bytes(4), bytes(8), flags=flags)
    assert failure.value.errno == number


def test_arrays(machine):
    made = make(machine, MapType.ARRAY, entries=3)
    made.update(b"\2\0\0\0", b"12345678")
    assert [value for _, value in made.items()] == [bytes(8), bytes(8), b"12345678"]
    assert made.lookup(b"\3\0\0\0") is None
    with pytest.raises(KernelError) as failure:
        made.update(b"\3\0\0\0", bytes(8))
    assert failure.value.errno == errno.E2BIG
    with pytest.raises(KernelError) as failure:
        made.delete(bytes(4))
    assert failure.value.errno == errno.EINVAL
    with pytest.raises(BadInputError):
        made.update(bytes(3), bytes(8))


def test_one_cpu_of_a_percpu_array(machine):
    made = make(machine, MapType.PERCPU_ARRAY, value_size=5)
    made.update_all_cpus(bytes(4), b"aaaaa")
    made.update(bytes(4), b"bbbbb", flags=8 | 3 << 32)  # BPF_F_CPU
    assert [made.lookup_cpu(bytes(4), cpu) for cpu in (2, 3, 4)] == [b"aaaaa", b"bbbbb", b"aaaaa"]


@pytest.mark.parametrize(
    ("spec", "number"),
    [
        (MapSpec("m", MapType.ARRAY, 8, 8, 1), errno.EINVAL),
        (MapSpec("m", MapType.HASH, 4, 8, 0), errno.EINVAL),
        (MapSpec("m", MapType.RINGBUF, 0, 0, 5000), errno.EINVAL),
        (MapSpec("m", MapType.ARRAY, 4, 1 << 20, 1 << 20), errno.E2BIG),
        (MapSpec("m", MapType.BLOOM_FILTER, 0, 8, 1), errno.EOPNOTSUPP),
    ],
)
def test_maps_that_are_refused(machine, spec, number):
    with pytest.raises(KernelError) as failure:
        machine.create_map(spec)
    assert failure.value.errno == number


COUNT = """
    r1 = *(u64 *)(r1 +0)
    r1 &= 15
    *(u32 *)(r10 -4) = r1
    *(u64 *)(r10 -16) = 0
    r1 = map[fd:{fd}]
    r2 = r10
    r2 += -4
    r3 = r10
    r3 += -16
    r4 = 1
    call bpf_map_update_elem#2
    r1 = map[fd:{fd}]
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem#1
    if r0 == 0 goto out
    r1 = 1
    lock *(u64 *)(r0 +0) += r1
out:
    r0 = 0
    exit
"""


@pytest.mark.parametrize("kind", [MapType.HASH, MapType.PERCPU_HASH])
def test_threads_count_in_a_hash(machine, program, kind):
    """Every increment is there, whatever thread made it."""
    from fsession.uapi import AttachType

    made = make(machine, kind)
    loaded = program(COUNT.format(fd=made.fd), "bpf_fentry_test1", AttachType.TRACE_FENTRY)
    function = machine.function("bpf_fentry_test1")

    def call():
        for number in range(1600):
            function(number)

    with machine.link(loaded, AttachType.TRACE_FENTRY):
        crowd = [threading.Thread(target=call) for _ in range(4)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
    sums = {}
    for key, value in made.items():
        words = (value[at : at + 8] for at in range(0, len(value), 8))
        sums[key[0]] = sum(int.from_bytes(word, "little") for word in words)
    assert sums == dict.fromkeys(range(16), 400)


SEND = """
    r6 = r1
    r1 = map[fd:{fd}]
    r2 = 16
    r3 = 0
    call bpf_ringbuf_reserve#131
    if r0 == 0 goto full
    r1 = *(u64 *)(r6 +0)
    *(u64 *)(r0 +0) = r1
    r1 ^= -1
    *(u64 *)(r0 +8) = r1
    r1 = r0
    r2 = 0
    call {end}
    r0 = 0
    exit
full:
    r0 = 1
    exit
"""


def test_a_ring_buffer_read_by_the_kernels_consumer(machine, program):
    ring = machine.create_map(MapSpec("ring", MapType.RINGBUF, 0, 0, 4096))
    send = program(SEND.format(fd=ring.fd, end="bpf_ringbuf_submit#132"), kind=None)
    drop = program(SEND.format(fd=ring.fd, end="bpf_ringbuf_discard#133"), kind=None)
    seen = []
    reader = machine.ring_buffer(ring, lambda record: seen.append(bytes(record)))
    for number in range(1000):  # many times around
        word = number.to_bytes(8, "little")
        assert send.test_run(ctx=word).retval == 0
        drop.test_run(ctx=bytes(8))
        if number % 50 == 49:
            assert reader.poll(1) == 50
    assert seen == [
        number.to_bytes(8, "little") + (~number & (1 << 64) - 1).to_bytes(8, "little")
        for number in range(1000)
    ]
    sent = [send.test_run(ctx=bytes(8)).retval for _ in range(200)]
    assert sent == [0] * 170 + [1] * 30  # 24 bytes each, less than the size
    assert reader.poll(0, most=70) == 70
    assert reader.poll(1) == 100
    assert not reader.wait(0)


def test_tail_calls_end_after_33(machine, program):
    programs = machine.create_map(MapSpec("programs", MapType.PROG_ARRAY, 4, 4, 2))
    text = f"""
        r2 = *(u64 *)(r1 +0)
        r2 += 1
        *(u64 *)(r1 +0) = r2
        r6 = r1
        r2 = map[fd:{programs.fd}]
        r3 = 0
        call bpf_tail_call#12
        r0 = *(u64 *)(r6 +0)
        exit
    """
    loaded = program(text, kind=None)
    assert loaded.test_run(ctx=bytes(8)).retval == 1  # the array is empty: it goes on
    programs.update(bytes(4), loaded.fd.to_bytes(4, "little"))
    assert loaded.test_run(ctx=bytes(8)).retval == 34
    assert programs.delete(bytes(4))
    assert loaded.test_run(ctx=bytes(8)).retval == 1
    with pytest.raises(KernelError) as failure:
        programs.update(bytes(4), b"\xff\xff\0\0")
    assert failure.value.errno == errno.EBADF


EVENTS = [
    (0, errno.ENOENT),
    (2, errno.E2BIG),
    (0xFFFF_FFFF, errno.ENOENT),  # this CPU's, of as many as there are
    (1 << 32, errno.EINVAL),
]


@pytest.mark.parametrize(("flags", "number"), EVENTS)
def test_perf_event_arrays_stay_empty(machine, program, flags, number):
    """fsession has no reader of them on any host: what programs are told is the kernel's word."""
    entries = 0 if flags == 0xFFFF_FFFF else 2
    events = machine.create_map(MapSpec("events", MapType.PERF_EVENT_ARRAY, 4, 4, entries))
    assert events.max_entries == (entries or CPU_COUNT)
    text = f"""
        *(u64 *)(r10 -8) = 7
        r2 = map[fd:{events.fd}]
        r3 = {flags} ll
        r4 = r10
        r4 += -8
        r5 = 8
        call bpf_perf_event_output#25
        exit
    """
    assert program(text, kind=None).test_run().retval == -number & 0xFFFF_FFFF
    with pytest.raises(KernelError) as failure:
        events.update(bytes(4), bytes(4))
    assert failure.value.errno == errno.EBADF
    assert not events.delete(bytes(4))


BAD_ARRAYS = [(8, 4, 1), (4, 8, 1), (4, 4, 0)]


@pytest.mark.parametrize(("key_size", "value_size", "entries"), BAD_ARRAYS)
def test_sizes_of_arrays_of_descriptors(machine, key_size, value_size, entries):
    with pytest.raises(KernelError) as failure:
        make(machine, MapType.PROG_ARRAY, key_size, value_size, entries)
    assert failure.value.errno == errno.EINVAL


def test_readers_with_descriptors_above_1023(machine, program):
    """More than select(2) takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    files = [os.dup(1)]
    while files[-1] < 1024:
        files.append(os.dup(1))
    try:
        ring = machine.create_map(MapSpec("ring", MapType.RINGBUF, 0, 0, 4096))
        send = program(SEND.format(fd=ring.fd, end="bpf_ringbuf_submit#132"), kind=None)
        seen = []
        reader = machine.ring_buffer(ring, lambda record: seen.append(bytes(record)))
        send.test_run(ctx=bytes(8))
        assert reader.poll(1) == len(seen) == 1
        with machine.printk_lines() as lines:
            assert min(reader.fileno(), lines.fileno()) > 1023
            machine.print("here")
            assert lines.read(1) == ["here"]
            assert lines.read(0) == []
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_callbacks_of_bpf_loop(program):
    text = """
        *(u64 *)(r10 -8) = 0
        r1 = 10
        r2 = subprog[add]
        r3 = r10
        r3 += -8
        r4 = 0
        call bpf_loop#181
        r0 <<= 16
        r1 = *(u64 *)(r10 -8)
        r0 += r1
        exit
    add:
        r3 = *(u64 *)(r2 +0)
        r3 += r1
        *(u64 *)(r2 +0) = r3
        r0 = 0
        if r1 != 7 goto out
        r0 = 1
    out:
        exit
    """
    assert program(text, kind=None).test_run().retval == 8 << 16 | sum(range(8))
