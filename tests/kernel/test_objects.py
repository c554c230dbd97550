"""What object files have besides sessions, on a real kernel through the public interface."""

from __future__ import annotations

import errno
import os
import struct
import threading
from pathlib import Path

import pytest

from fsession import FsessionError
from fsession.btf.types import Func, Struct
from fsession.host import Feature
from triggers import ON_ENGINE


@pytest.fixture
def run(load, tid):
    """Load and attach one program of objects.bpf.c, make one call, and give the object."""

    def attach_and_call(name: str, *, setup=lambda obj: None, calls: int = 1):
        obj = load("objects", "poke", name)
        setup(obj)
        with obj.programs[name].attach():
            for _ in range(calls):
                obj.globals["only_tid"] = tid
                obj.programs["poke"].test_run()
                obj.globals["only_tid"] = 0
        return obj

    return attach_and_call


def test_globals(run):
    """Read and written by name, before and while programs run, with their C types."""

    def setup(obj) -> None:
        assert obj.globals["product"] == -1
        assert obj.globals["shape"]["points"] == [{"x": 1, "y": -1}, {"x": 2, "y": -2}]
        obj.globals["apart"] = 100

    seen = run("globals", setup=setup, calls=2).globals
    assert (seen["product"], seen["zeroed"], seen["apart"]) == (-900, 2, 106)
    shape = seen["shape"]
    assert (shape["small"], shape["middle"], shape["large"]) == (200, -300, 2)
    assert shape["points"][1] == {"x": 2, "y": 200}


def test_constants(host, open_object, tid):
    """A constant is set before loading and can't be changed after."""
    obj = open_object("objects", "poke", "globals")
    obj.globals["factor"] = 7
    with obj.load(host):
        with pytest.raises(FsessionError, match="factor"):
            obj.globals["factor"] = 8
        with obj.programs["globals"].attach():
            obj.globals["only_tid"] = tid
            obj.programs["poke"].test_run()
        assert obj.globals["product"] == -2100


def test_maps(run, host):
    """Each kind of map a tracing program uses, as the program left it."""

    def setup(obj) -> None:
        obj.maps["array"][1] = {"left": 10, "right": 5}
        obj.maps["hash"][{"left": 1, "right": 2}] = 3

    maps = run("maps", setup=setup).maps
    assert dict(maps["hash"].items()) == {_key(maps["hash"], 1, 2): 3, _key(maps["hash"], 5, 6): 70}
    assert maps["array"][1] == {"left": 10, "right": 15}
    assert len(maps["array"]) == 4
    assert maps["percpu_hash"][1].count(70) == 1
    assert len(maps["percpu_hash"][1]) == host.cpu_count
    assert sum(maps["percpu_array"][1]) == 1
    assert maps["lru_hash"][1] == 70
    assert 70 in maps["lru_percpu_hash"][1]
    with pytest.raises(KeyError):
        maps["lru_hash"][2]
    del maps["lru_hash"][1]
    assert 1 not in maps["lru_hash"]


def _key(view, left: int, right: int):
    """The key as the mapping gives it."""
    return next(key for key in view if _pair(key) == (left, right))


def _pair(key) -> tuple[int, int]:
    return struct.unpack("=II", key) if isinstance(key, bytes) else tuple(dict(key).values())


def test_stack_trace(run):
    obj = run("maps_of_events")
    stack = obj.globals["stack_id"]
    assert stack >= 0
    frames = obj.maps["stacks"].raw.lookup(struct.pack("=i", stack))
    assert struct.unpack_from("=Q", frames)[0] >> 48 == (0 if ON_ENGINE else 0xFFFF)
    assert obj.globals["perf_status"] == -errno.ENOENT  # nobody listens


def test_per_cpu_flags(run, host, require):
    """One CPU's value of a per-CPU map, and one value for all CPUs."""
    require(Feature.PER_CPU_FLAGS, None)
    raw = run("maps").maps["percpu_array"].raw
    raw.update(struct.pack("=I", 0), struct.pack("=Q", 5), flags=16)  # BPF_F_ALL_CPUS
    one = raw.lookup(struct.pack("=I", 0), flags=8 | 1 << 32)  # BPF_F_CPU, CPU 1
    assert one == struct.pack("=Q", 5)


def test_task_storage(run, require):
    require(Feature.TASK_STORAGE, True)
    obj = run("task_storage", calls=3)
    task = os.pidfd_open(os.getpid())
    try:
        value = obj.maps["per_task"].raw.lookup(struct.pack("=i", task))
    finally:
        os.close(task)
    assert value == struct.pack("=Q", 27)


def test_ring_buffer(run, host, load, tid, require):
    """Records in the order of their reservation, and none twice."""
    require(Feature.RINGBUF, True)
    obj = load("objects", "poke", "records")
    got = []
    with (
        host.ring_buffer(obj.maps["ring"].raw, lambda data: got.append(bytes(data))) as reader,
        obj.programs["records"].attach(),
    ):
        assert reader.poll(0) == 0
        obj.globals["only_tid"] = tid
        for _ in range(100):  # more than the buffer holds at once
            obj.programs["poke"].test_run()
            reader.poll(0)
        assert reader.poll(0.01) == 0
    records = [struct.unpack("=QII", data) for data in got]
    assert [number for _, _, number in records] == list(range(200))
    assert [side for _, side, _ in records] == [0, 1] * 100
    assert {argument & 0xFFFFFFFF for argument, _, _ in records} == {1}
    assert obj.globals["dropped"] == 0


def test_full_ring_buffer(load, host, tid):
    """What does not fit is not reserved: the program counts it."""
    obj = load("objects", "poke", "records")
    got = []
    with (
        host.ring_buffer(obj.maps["ring"].raw, got.append) as reader,
        obj.programs["records"].attach(),
    ):
        obj.globals["only_tid"] = tid
        for _ in range(100):
            obj.programs["poke"].test_run()
        read = reader.poll(0)
    assert read == len(got) == 4096 // 24 - (4096 % 24 == 0)
    assert obj.globals["dropped"] == 200 - read


def test_printk(load, host, tid):
    """Lines of ``bpf_printk``, as they come."""
    obj = load("objects", "poke", "printing")
    with host.printk_lines() as lines, obj.programs["printing"].attach():
        obj.globals["only_tid"] = tid
        obj.programs["poke"].test_run()
        text = "\n".join(lines.read(2.0) + lines.read(0.2))
    assert text.index("suite entry abcdef") < text.index("suite exit 1 2 3 4")


def test_prog_array(load, tid):
    """A tail call goes where the slot says, and nowhere when it is empty."""
    obj = load("objects", "poke", "jumping", "jump_target")
    target = obj.programs["jump_target"]
    with obj.programs["jumping"].attach():
        obj.globals["only_tid"] = tid
        obj.programs["poke"].test_run()
        assert (obj.globals["jumped"], obj.globals["stayed"]) == (0, 1)
        obj.maps["jumps"].raw.update(struct.pack("=I", 1), struct.pack("=I", target.fd))
        obj.programs["poke"].test_run()
        assert (obj.globals["jumped"], obj.globals["stayed"]) == (1, 1)
        obj.maps["jumps"].raw.delete(struct.pack("=I", 1))


def test_externs(run, host, facts):
    """The kernel's version, configuration and symbols; what is weak and absent is 0."""
    if not host.kconfig():
        assert facts is None or not facts.modules  # its package is where the modules are
        pytest.skip("no kernel configuration")
    seen = run("externs").globals
    assert seen["version"] == host.version_code()
    assert seen["missing_address"] == 0
    assert seen["address"] == host.symbol("jiffies_64")
    assert seen["prog_active"] >= 0
    assert seen["has_nonsense"] in (0, False)
    config = host.kconfig()
    assert seen["has_syscall"] == (config.get("CONFIG_BPF_SYSCALL") == "y")
    if "CONFIG_HZ" in config:
        assert seen["hz"] == int(config["CONFIG_HZ"])


def test_kfuncs(run, host, tid):
    """A kernel function is called where it is, and left out where it is not."""
    there = host.types().find("bpf_task_acquire", Func) is not None
    seen = run("kfuncs").globals
    assert seen["acquired"] == (tid if there else 0)
    assert seen["called_nonsense"] == 0


def test_relocations(run, host, tid):
    """CO-RE: each kind of relocation against this kernel's types."""
    seen = run("relocated").globals["core"]
    types = host.types()
    task = types.get("task_struct", Struct)
    offset = next(member.bit_offset for member in task.members if member.name == "pid") // 8
    assert (seen["pid"], seen["tgid"], seen["parent_tgid"]) == (tid, os.getpid(), os.getppid())
    assert (seen["pid_offset"], seen["pid_size"]) == (offset, 4)
    assert (seen["pid_signed"], seen["exit_code_signed"]) == (1, 1)
    assert (seen["has_pid"], seen["has_nonsense"]) == (1, 0)
    assert (seen["has_type"], seen["has_nonsense_type"]) == (1, 0)
    assert (seen["type_size"], seen["list_size"]) == (task.size, 16)
    assert seen["type_id"] == types.id_of("list_head", Struct)
    assert seen["type_matches"] == 1
    assert (seen["enum_value"], seen["has_enum_value"], seen["has_nonsense_value"]) == (5, 1, 0)
    assert seen["bits"] == 0
    name = Path("/proc/self/task", str(tid), "comm").read_text().strip()
    assert _text(seen["comm"]) == name


def _text(value) -> str:
    raw = value if isinstance(value, str) else bytes(value).decode()
    return raw.split("\0")[0]


def test_info(load, host):
    """Names as the kernel's tools show them, counts, maps."""
    obj = load("objects", "maps", "poke")
    with obj.programs["maps"].attach() as attachment:
        info = obj.programs["poke"].info
        assert info.name == "poke"
        assert info.verified_insns > 0
        assert obj.maps["hash"].raw.name == "hash"
        assert attachment is not None


def test_pins(load, host, tmp_path, bpffs):
    """Pinned, a program and a map outlive their object and are opened again by path."""
    place = bpffs / "suite"
    place.mkdir()
    obj = load("objects", "poke")
    try:
        obj.programs["poke"].pin(str(place / "poke"))
        obj.maps["hash"].raw.pin(str(place / "hash"))
        obj.maps["hash"][{"left": 8, "right": 9}] = 10
        obj.close()
        with host.open_program(str(place / "poke")) as program:
            assert program.name == "poke"
            program.test_run()
        with host.open_pinned_map(str(place / "hash")) as again:
            assert again.lookup(struct.pack("=II", 8, 9)) == struct.pack("=Q", 10)
    finally:
        for entry in place.iterdir():
            entry.unlink()
        place.rmdir()


@pytest.fixture
def bpffs() -> Path:
    place = Path("/sys/fs/bpf")
    if not os.path.ismount(place):
        pytest.skip("no bpf filesystem")
    return place


def test_attach_all(load, host, tid):
    """``Object.attach`` attaches every program by its section; leaving detaches all."""
    obj = load("objects", "records", "globals", "jump_target")
    poke = load("objects", "poke").programs["poke"]
    with obj.attach():
        obj.globals["only_tid"] = tid
        poke.test_run()
    poke.test_run()
    assert (obj.globals["next_number"], obj.globals["zeroed"], obj.globals["jumped"]) == (2, 1, 1)


def test_threads_of_our_own():
    """Nothing of the package keeps a thread."""
    assert threading.active_count() == 1
