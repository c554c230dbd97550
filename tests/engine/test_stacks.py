"""Stacks by frame pointers, through the images of functions that call each other."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from fsession.btf.model import Arg, FuncModel
from fsession.engine.interp import Interpreter
from fsession.engine.jit import arm64_images, x86_64_images
from fsession.engine.jit.plan import Node, Plan
from fsession.engine.memory import Block, Memory, poke
from fsession.engine.prototypes import library_machine
from fsession.errors import UnsupportedError
from fsession.isa.asm import assemble
from fsession.tracer import trace
from fsession.uapi import AttachType

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
