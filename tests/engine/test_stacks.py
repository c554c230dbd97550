"""Stacks by frame pointers, through the images of functions that call each other."""

from __future__ import annotations

import ctypes
import errno
import platform
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from fsession.btf.model import Arg, FuncModel
from fsession.btf.types import Func
from fsession.engine.interp import Interpreter
from fsession.engine.jit import arm64_images, x86_64_images
from fsession.engine.jit.plan import Node, Plan
from fsession.engine.memory import Block, Memory, poke
from fsession.engine.prototypes import library_machine
from fsession.errors import KernelError, UnsupportedError
from fsession.host import LoadRequest
from fsession.isa.asm import assemble
from fsession.spec import MapSpec
from fsession.tracer import trace
from fsession.uapi import AttachType, MapType, ProgType

SOURCE = Path(__file__).parent / "library.c"
FENTRY = AttachType.TRACE_FENTRY


@pytest.fixture
def path(tmp_path, monkeypatch):
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc")
    monkeypatch.setattr("fsession.engine.libraries._only_thread", lambda: True)
    out = tmp_path / "libdeep.so"
    entry = "-fpatchable-function-entry=" + {"x86_64": "5", "aarch64": "2"}[platform.machine()]
    command = ["gcc", "-g", "-O2", "-shared", "-fPIC", entry, "-o", str(out), str(SOURCE)]
    subprocess.run(command, check=True)
    return str(out)


@pytest.mark.parametrize("strategy", ["native", "split"])
def test_each_caller_is_there(path, strategy):
    with (
        library_machine([path]) as machine,
        trace("deep", host=machine, strategy=strategy, stack=True) as calls,
    ):
        assert ctypes.CDLL(path).deep(5) == 5
        stacks = [[str(at) for at in call.prints["kstack"]] for call in calls.read(0)]
    assert len(stacks) == 6
    for depth, stack in zip(range(5, -1, -1), stacks, strict=True):
        names = [at.partition("+")[0] for at in stack]
        assert names.count("fsession_image_deep") == depth
        names = [name for name in names if name != "fsession_image_deep"]
        assert names[: depth + 1] == ["deep"] * (depth + 1)
        assert "deep" not in names[depth + 1 :]
        assert stack[0] == "deep"


ASK = """
    r6 = r1
    r2 = map[fd:{numbers}][0]+8
    r3 = {size}
    r4 = {flags}
    call bpf_get_stack#67
    r2 = map[fd:{numbers}][0]+0
    *(u64 *)(r2 +0) = r0
    r0 = 0
    exit
"""
EINVAL = (1 << 64) - 22
EFAULT = (1 << 64) - 14
ASKED = [
    ("one", 8, 0, 8),
    ("of the process", 8, 0x100, 8),
    ("nothing left", 16, 255, EFAULT),
    ("half a word", 12, 0, EINVAL),
    ("build ids", 16, 0x800, EINVAL),
]


@pytest.mark.parametrize(("size", "flags", "result"), [row[1:] for row in ASKED], ids=str)
def test_what_is_asked_for(machine, program, numbers, size, flags, result):
    text = ASK.format(numbers=numbers.fd, size=size, flags=flags)
    function = machine.function("bpf_fentry_test1")
    with program(text, "bpf_fentry_test1", FENTRY) as loaded, machine.link(loaded, FENTRY):
        function(1)
    first = function.address if result == 8 else 0
    assert numbers.words()[:3] == [result, first, 0]


# Of a map of one stack, results of one run, one for each flags. The errnos are those of Linux 7.2;
# there a stack begins in the program, so that each place of a call has one of its own.
IDS = {
    0: 0,
    0x200: 0,  # equal by its hash
    1: -errno.EEXIST,  # another stack in the same bucket
    0x401: -errno.ENOMEM,  # to be replaced, but no entry is free
    255: -errno.EFAULT,
    0x800: -errno.EINVAL,
}


def ask_for_ids(stacks, numbers, flags) -> str:
    text = "r6 = r1\n"
    for at, flag in enumerate(flags):
        text += f"""
            r1 = r6
            r2 = map[fd:{stacks.fd}]
            r3 = {flag}
            call bpf_get_stackid#27
            r1 = map[fd:{numbers.fd}][0]+{8 * at}
            *(u64 *)(r1 +0) = r0
        """
    return f"{text} r0 = 0\n exit"


def test_ids_of_stacks(machine, program, numbers):
    stacks = machine.create_map(MapSpec("stacks", MapType.STACK_TRACE, 4, 64, 1))
    function = machine.function("bpf_fentry_test1")
    text = ask_for_ids(stacks, numbers, IDS)
    with program(text, "bpf_fentry_test1", FENTRY) as loaded, machine.link(loaded, FENTRY):
        function(1)
    words = [word - (word >> 63 << 64) for word in numbers.words()[: len(IDS)]]
    assert words == list(IDS.values())
    key = bytes(4)
    assert list(stacks.keys()) == [key]
    assert stacks.lookup(key)[:8] == function.address.to_bytes(8, "little")
    assert stacks.lookup(b"\1\0\0\0") is None
    assert (stacks.delete(key), stacks.delete(key), stacks.lookup(key)) == (True, False, None)
    for refused, number in (
        (lambda: stacks.delete(b"\1\0\0\0"), errno.E2BIG),
        (lambda: stacks.update(key, bytes(64)), errno.EINVAL),
    ):
        with pytest.raises(KernelError) as caught:
            refused()
        assert caught.value.errno == number


def test_stacks_of_many_callers(path):
    """Each has an id of its own, that does not change; what was deleted is free again."""
    with library_machine([path]) as machine:
        stacks = machine.create_map(MapSpec("stacks", MapType.STACK_TRACE, 4, 256, 64))
        numbers = machine.create_map(MapSpec("numbers", MapType.ARRAY, 4, 512, 1))
        text = f"""
            r6 = *(u64 *)(r1 +0)
            r2 = map[fd:{stacks.fd}]
            r3 = {0x400}
            call bpf_get_stackid#27
            r6 &= 63
            r6 <<= 3
            r1 = map[fd:{numbers.fd}][0]+0
            r1 += r6
            *(u64 *)(r1 +0) = r0
            r0 = 0
            exit
        """
        id = machine.types().id_of("deep", Func)
        request = LoadRequest("ids", ProgType.TRACING, assemble(text), FENTRY, attach_btf_id=id)
        deep, seen = ctypes.CDLL(path).deep, []
        with machine.load(request) as loaded, machine.link(loaded, FENTRY):
            for _ in range(30):
                deep(9)
                seen.append(struct.unpack("10q", numbers.lookup(bytes(4))[:80]))
                assert min(seen[-1]) >= 0  # no errno
                for key in list(stacks.keys()):
                    stacks.delete(key)
    assert len(set(seen[0])) >= 5  # one in 64 buckets may take another's place


@pytest.mark.parametrize(
    ("key", "value", "entries", "flags", "number"),
    [
        (4, 64, 0, 0, errno.EINVAL),
        (8, 64, 1, 0, errno.EINVAL),
        (4, 0, 1, 0, errno.EINVAL),
        (4, 60, 1, 0, errno.EINVAL),
        (4, 8 * 128, 1, 0, errno.EINVAL),
        (4, 64, 1, 1, errno.EINVAL),
        (4, 64, 1, 0x20, errno.EOPNOTSUPP),
    ],
)
def test_maps_of_stacks_that_are_refused(machine, key, value, entries, flags, number):
    with pytest.raises(KernelError) as caught:
        machine.create_map(MapSpec("stacks", MapType.STACK_TRACE, key, value, entries, flags))
    assert caught.value.errno == number


def test_only_where_there_is_an_image(machine, program):
    with pytest.raises(UnsupportedError, match="but for tracing programs"):
        program("call bpf_get_stack#67\n exit", kind=None)


@pytest.mark.parametrize("images", [arm64_images, x86_64_images], ids=["arm64", "x86_64"])
@pytest.mark.parametrize("slots", range(13))
@pytest.mark.parametrize("ip_arg", [False, True])
def test_the_frame_of_a_context(images, slots, ip_arg):
    """The text finds it, of whatever size the frame is."""
    model = FuncModel(tuple(Arg(slot, 8) for slot in range(slots)), slots, 8)
    nodes = (Node(0, 0, 0, is_session=True, uses_cookie=True),) * (slots % 3)
    frame = images._Frame(Plan(model, 0, 0, 0, 0, 0, nodes, (), nodes, ip_arg))
    memory = Block(4096)
    base = memory.address + 1024  # sp of arm64, rbp of x86_64
    context = base + frame.ctx
    poke(context - 8, 8, slots | 0xAA << 8)
    wanted = base + frame.size if images is arm64_images else base
    insns = assemble(images.FRAME_OF_CONTEXT + "\n exit")
    assert Interpreter(insns, Memory([memory.region])).run(context) == wanted
