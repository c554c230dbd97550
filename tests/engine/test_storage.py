"""Task storage: a value for each thread, from programs and by pidfd."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from fsession.btf.encode import Builder
from fsession.btf.types import Int
from fsession.errors import KernelError
from fsession.spec import MapSpec
from fsession.uapi import AttachType, MapFlag, MapType

FLAGS = MapFlag.NO_PREALLOC
COUNT = """
    call bpf_get_current_task_btf#158
    r2 = r0
    r1 = map[fd:{map}]
    r3 = 0
    r4 = 1
    call bpf_task_storage_get#156
    if r0 == 0 goto out
    r1 = *(u64 *)(r0 +0)
    r1 += 1
    *(u64 *)(r0 +0) = r1
out:
    r0 = 0
    exit
"""


def spec(size=8, flags=FLAGS, entries=0, types=1):
    return MapSpec("stored", MapType.TASK_STORAGE, 4, size, entries, flags, types, types)


@pytest.fixture
def stored(machine):
    build = Builder()
    build.add(Int("int", 4, 32, 1))
    return machine.create_map(spec(), build.types())


@pytest.fixture
def me():
    descriptor = os.pidfd_open(os.getpid())
    yield descriptor.to_bytes(4, "little")
    os.close(descriptor)


def word(number):
    return number.to_bytes(8, "little")


def load(program, stored, text=COUNT):
    return program(text.format(map=stored.fd), "bpf_fentry_test1", AttachType.TRACE_FENTRY)


def test_each_thread_has_its_own(machine, program, stored, me):
    function = machine.function("bpf_fentry_test1")
    with load(program, stored) as loaded, machine.link(loaded, AttachType.TRACE_FENTRY):
        for _ in range(3):
            function(1)
        others = [threading.Thread(target=lambda: [function(1) for _ in range(9)]) for _ in "ab"]
        for other in others:
            other.start()
        for other in others:
            other.join()
        assert stored.lookup(me) == word(3)


def test_what_a_thread_stored_is_gone_with_it(machine, program, stored, numbers):
    """The next thread takes its block over."""
    function = machine.function("bpf_fentry_test1")
    note = COUNT.replace(
        "out:",
        f"""
        r6 = r1
        r2 = map[fd:{numbers.fd}][0]+0
        *(u64 *)(r2 +0) = r6
        out:""",
    )
    with load(program, stored, note) as loaded, machine.link(loaded, AttachType.TRACE_FENTRY):
        for _ in range(3):
            thread = threading.Thread(target=lambda: [function(1), function(1)])
            thread.start()
            thread.join()
            assert numbers.words()[0] == 2


def test_from_python(machine, program, stored, me):
    assert stored.lookup(me) is None
    assert not stored.delete(me)
    with pytest.raises(KernelError) as caught:
        stored.update(me, word(1), flags=2)
    assert caught.value.errno == errno.ENOENT
    stored.update(me, word(7))
    with pytest.raises(KernelError) as caught:
        stored.update(me, word(1), flags=1)
    assert caught.value.errno == errno.EEXIST
    with load(program, stored) as loaded, machine.link(loaded, AttachType.TRACE_FENTRY):
        machine.function("bpf_fentry_test1")(1)
    assert stored.lookup(me) == word(8)
    assert stored.delete(me)
    assert stored.lookup(me) is None
    stored.update(me, word(1))
    assert stored.lookup(me) == word(1)
    with pytest.raises(KernelError) as caught:
        stored.lookup((1 << 20).to_bytes(4, "little"))
    assert caught.value.errno == errno.EBADF
    with pytest.raises(KernelError) as caught:
        next(stored.keys())
    assert caught.value.errno == errno.EOPNOTSUPP


def test_a_first_value_and_deletion_by_a_program(machine, program, stored, numbers, me):
    """Without the flag nothing is made; the first value is copied; deletion is -ENOENT twice."""
    text = """
        *(u64 *)(r10 -8) = 41
        call bpf_get_current_task_btf#158
        r6 = r0
        r2 = r6
        r1 = map[fd:{map}]
        r3 = 0
        r4 = 0
        call bpf_task_storage_get#156
        r7 = map[fd:{numbers}][0]+0
        *(u64 *)(r7 +0) = r0
        r2 = r6
        r1 = map[fd:{map}]
        r3 = r10
        r3 += -8
        r4 = 1
        call bpf_task_storage_get#156
        r0 = *(u64 *)(r0 +0)
        *(u64 *)(r7 +8) = r0
        r2 = r6
        r1 = map[fd:{map}]
        call bpf_task_storage_delete#157
        *(u64 *)(r7 +16) = r0
        r2 = r6
        r1 = map[fd:{map}]
        call bpf_task_storage_delete#157
        *(u64 *)(r7 +24) = r0
        r0 = 0
        exit
    """.replace("{numbers}", str(numbers.fd))
    with load(program, stored, text) as loaded, machine.link(loaded, AttachType.TRACE_FENTRY):
        machine.function("bpf_fentry_test1")(1)
        machine.function("bpf_fentry_test1")(1)
    assert numbers.words()[:4] == [0, 41, 0, (1 << 64) - errno.ENOENT]


REFUSED = [
    (spec(flags=0), errno.EINVAL),
    (spec(entries=1), errno.EINVAL),
    (spec(types=0), errno.EINVAL),
    (spec(size=0), errno.EINVAL),
    (spec(size=1 << 20), errno.E2BIG),
]


@pytest.mark.parametrize(("wrong", "number"), REFUSED)
def test_what_can_not_be_made(machine, wrong, number):
    with pytest.raises(KernelError) as caught:
        machine.create_map(wrong)
    assert caught.value.errno == number


def test_a_task_has_its_ids_and_name(machine, program, numbers):
    types = machine.types()
    text = "call bpf_get_current_task_btf#158\n"
    for at, name in enumerate(("pid", "tgid")):
        offset = _offset(types, name)
        if offset is None:
            pytest.skip("no kernel's BTF here")
        text += f"""
            r1 = *(u32 *)(r0 +{offset})
            r2 = map[fd:{numbers.fd}][0]+{8 * at}
            *(u64 *)(r2 +0) = r1
        """
    text += "r0 = 0\n exit"
    with (
        program(text, "bpf_fentry_test1", AttachType.TRACE_FENTRY) as loaded,
        machine.link(loaded, AttachType.TRACE_FENTRY),
    ):
        thread = threading.Thread(target=machine.function("bpf_fentry_test1"), args=(1,))
        thread.start()
        thread.join()
        assert numbers.words()[:2] == [thread.native_id, os.getpid()]


def _offset(types, name):
    from fsession.engine.objects import members

    found = members(types, types.id_of("task_struct"))
    return next((bit // 8 for member, _, bit, _ in found if member == name), None)


def test_memory_is_given_back():
    """Maps that nobody has any more leave their place to the next ones."""
    from fsession.engine import Machine
    from fsession.engine.threads import STORAGE_LIMIT

    for _ in range(STORAGE_LIMIT // 100 + 1):
        with Machine(test_functions=False) as machine:
            for _ in range(100):
                machine.create_map(spec())
