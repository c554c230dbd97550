"""Graphs of real calls, held to ftrace's function_graph and to themselves."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fsession
from fsession.recording import Recording
from fsession.trace import Call
from fsession.uapi import MapType
from function_graph import FunctionGraph, Seen

if TYPE_CHECKING:
    from collections.abc import Iterable

NICE = "set_user_nice"
OPEN = "do_sys_openat2"
FEW = ("--include", "do_filp_open", "--include", "*fd*")  # of what it calls
TIMES, RUNS = 3, 10
REST_S = 0.01  # lets ksoftirqd end its work: until then Linux 6.1 leaves it what we send


@pytest.fixture
def graph(host):
    """A graph of this process's calls; on kernels without multi links of few functions, since each
    takes some 50 ms."""

    def make(*targets, **options):
        many = host.supports(fsession.Feature.FSESSION_MULTI)
        depth = 5 if many else 2
        return fsession.graph(
            *targets, **{"host": host, "pid": os.getpid(), "depth": depth} | options
        )

    return make


@pytest.fixture
def one_cpu():
    """function_graph shows each CPU by itself, so the work stays on one."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    yield
    os.sched_setaffinity(0, cpus)


def finish(grapher) -> list:
    events = grapher.read(0)
    grapher.detach()
    return events + grapher.read(0)


def trees_of(events) -> list[list[Call]]:
    """Whole trees, each in the order of its entries."""
    trees: dict[int, list[Call]] = {}
    for event in events:
        if isinstance(event, Call):
            trees.setdefault(event.place.tree, []).append(event)
    whole = (sorted(tree, key=lambda call: call.place.order) for tree in trees.values())
    return [tree for tree in whole if tree[0].place.order == 0]


def checked(tree: list[Call], *, missed: int = 0) -> list[Call]:
    """A tree of which nothing is lost is right in itself; `missed` calls have no record."""
    orders = {call.place.order: call for call in tree}
    assert len(orders) == len(tree)
    assert missed or list(orders) == list(range(tree[0].place.begun))
    for call in tree[1:]:
        assert call.tid == tree[0].tid
        parent = orders.get(call.place.parent)
        assert parent or missed
        if parent:
            assert call.place.depth == parent.place.depth + 1
            assert parent.start_ns <= call.start_ns
            assert call.start_ns + call.duration_ns <= parent.start_ns + parent.duration_ns
    return tree


def echo() -> None:
    """An ICMP echo to ourselves."""
    head = struct.pack("!BBHHH", 8, 0, 0xF7FD, 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sender:
        sender.sendto(head, ("127.0.0.1", 0))


def read() -> None:
    Path("/etc/hostname").read_bytes()


def connect() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        socket.create_connection(server.getsockname()).close()


def make_map() -> None:
    from fsession.kernel.map import create_map
    from fsession.spec import MapSpec

    create_map(MapSpec("x", MapType.ARRAY, 4, 8, 1), 1).close()


WORK = {
    "icmp_rcv": echo,
    "vfs_read": read,
    "tcp_v4_connect": connect,
    OPEN: read,
    "__sys_bpf": make_map,
}


@pytest.fixture
def first_in_line():
    """Nothing that is not an interrupt takes the CPU away while this process works.

    The kernel starts no program of ours on a CPU where another run of it is preempted, and counts
    that as missed.
    """
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    yield
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.mark.parametrize("root", list(WORK))
def test_the_same_as_ftrace(root, graph, host, one_cpu, first_in_line):
    """Call by call, in order, every tree, in all runs of which the kernel missed nothing.

    An interrupt that hits a program of ours makes it miss what the interrupt calls, which may or
    may not be of the tree: that is counted, and only such a run may differ. An interrupt that hits
    ftrace makes that miss what the end of the interrupt calls: of that other runs may differ.
    """
    WORK[root]()
    options = {"depth": 2} if root == "__sys_bpf" else {}  # it calls thousands
    if root == "__sys_bpf" and not host.supports(fsession.Feature.FSESSION_MULTI):
        options["include"] = ("map_*", "bpf_map*", "bpf_check*", "security_*")
    runs: dict[str, tuple[list[list[Call]], int]] = {}
    with graph(root, **options) as grapher:
        names = [target.function for target in grapher.selection.targets if not target.module]
        with FunctionGraph(root, names, os.getpid()) as theirs:
            for number in range(RUNS):
                missed = grapher.summary.missed
                grapher.read(0)
                time.sleep(REST_S)
                theirs.begin(f"run {number}")
                WORK[root]()
                theirs.end(f"run {number}")
                trees = trees_of(grapher.read(0))
                runs[f"run {number}"] = trees, grapher.summary.missed - missed
    same = 0
    for mark, expected in theirs.runs().items():
        ours, missed = runs.pop(mark)
        shown = outline(map(seen, ours))
        if not shown and not expected:
            continue  # another task did it
        if shown == outline(expected):
            assert max(map(len, expected)) > 1, "nothing nested"
            assert all(map(durations_agree, map(checked, ours), expected))
            same += 1
        else:
            assert missed or without_ends(shown) == without_ends(outline(expected)), mark
    assert not runs
    assert same >= TIMES


def without_ends(trees: list[list[tuple[int, str]]]) -> list[list[tuple[int, str]]]:
    """Without what the ends of interrupts call with the sign of a task: timers are set anew there
    (Linux 7.2)."""
    return [
        [(depth, name) for depth, name in tree if name != "ktime_get" and "hrtimer" not in name]
        for tree in trees
    ]


def seen(tree: list[Call]) -> list[Seen]:
    return [Seen(call.place.depth, call.function, call.duration_ns / 1000) for call in tree]


def outline(trees: Iterable[list[Seen]]) -> list[list[tuple[int, str]]]:
    return [[(call.depth, call.name) for call in tree] for tree in trees]


def durations_agree(ours: list[Call], theirs: list[Seen]) -> bool:
    """ftrace's hook lies around ours, so it sees the cost of ours, too.

    The clocks are two, and read one after the other: 2 µs and 1 % are nothing.
    """
    return all(
        call.duration_ns / 1000 <= other.duration_us * 1.01 + 2
        for call, other in zip(ours, theirs, strict=True)
    )


def test_one_program_for_all(host, graph, require):
    require(fsession.Feature.FSESSION_MULTI, None)
    with graph("icmp_rcv") as grapher:
        summary = grapher.summary
        assert (summary.programs, summary.links) == (1, 1)
        assert summary.functions > 100
        assert summary.functions == len(grapher.selection.nodes)
        first = grapher.selection.nodes
    assert graph("icmp_rcv").select().nodes == first  # the same in every run


def test_sent_and_lost_are_all_that_were(graph):
    with graph(NICE, depth=1, ring_bytes=4096) as grapher:
        for _ in range(500):
            os.setpriority(os.PRIO_PROCESS, 0, 7)
        calls = finish(grapher)
        summary = grapher.summary
    assert 0 < len(calls) < 500
    assert summary.trees["begun"] == 500
    assert len(calls) + summary.lost == summary.calls == 500


def test_a_gap_and_then_whole_trees_again(graph):
    with graph(OPEN, ring_bytes=8192, depth=2) as grapher:
        for _ in range(30):
            read()
        broken = grapher.read(0)
        read()
        after = finish(grapher)
        summary = grapher.summary
    calls = [event for event in broken + after if isinstance(event, Call)]
    assert summary.lost > 0
    assert summary.calls == len(calls) + summary.lost
    last = trees_of(after)[-1]
    assert checked(last, missed=summary.missed)[0].place.tree == summary.trees["begun"]


def test_filters(graph):
    def ended(**options) -> int:
        with graph(NICE, depth=1, **options) as grapher:
            os.setpriority(os.PRIO_PROCESS, 0, 7)
            return len(finish(grapher))

    comm = Path("/proc/self/comm").read_text().strip()
    assert ended() == ended(comm=comm) == ended(tid=os.getpid()) == 1
    assert ended(pid=1) == ended(comm="nobody") == 0
    assert ended(min_duration_ns=10_000_000_000) == 0


def test_filter_stack_and_texts(graph):
    name = "/etc/hostname"
    wanted = f'dfd == -100 && str(filename) == "{name}"'
    with graph(OPEN, depth=1, filter=wanted, stack=True) as grapher:
        for path in (name, "/dev/null", name):
            os.close(os.open(path, os.O_RDONLY))
        calls = finish(grapher)
        summary = grapher.summary
    assert summary.trees["begun"] == len(calls) == 2
    for call in calls:
        assert call.args["filename"] == name
        assert any("openat" in str(frame) for frame in call.prints["kstack"])


def test_what_arguments_point_to(graph, host):
    """Objects and whole structs, with a program for all and one for each."""
    has_native = host.supports(fsession.Feature.FSESSION)
    if has_native and not host.supports(fsession.Feature.FSESSION_MULTI):
        pytest.skip("a program for each function: tried where sessions are split")
    few = ("do_dentry_open", "fd_install")
    wanted = {"filter": 'str(filename) == "/etc/hostname"', "objects": True, "expand": True}
    with graph(OPEN, depth=2, include=few, extra=few, **wanted) as grapher:
        os.close(os.open("/etc/hostname", os.O_RDONLY))
        calls = {event.function: event for event in finish(grapher) if isinstance(event, Call)}
    installed = calls["fd_install"].prints
    assert installed["file"] == calls["do_dentry_open"].prints["f"] == "/etc/hostname"
    assert installed["*file"]["f_mode"] & 1
    assert calls[OPEN].prints["*how"].keys() == {"flags", "mode", "resolve"}


def test_include_exclude_leaf(graph):
    def names(**options) -> set[str]:
        return {target.name for target in graph("icmp_rcv", depth=3, **options).select().targets}

    whole = names()
    assert names(include=["icmp_*"]) == {name for name in whole if name.startswith("icmp_")}
    assert "icmp_reply" not in names(leaf=["icmp_echo"], exclude=["icmp_address"])
    assert names(extra=[NICE]) > whole | {NICE}


def test_learned_callees(graph, host, require, tmp_path):
    """What a pointer to a function points to, and then what that calls."""
    require(fsession.Feature.FSESSION, None)
    many = host.supports(fsession.Feature.FSESSION_MULTI)
    file = tmp_path / "text"
    file.write_text("text")
    few = "*_read_iter" if many else "*shmem*_read_iter"  # the guest's files are a tmpfs's
    with graph("vfs_read", depth=2, learn=True, include=[few]) as grapher:
        for _ in range(TIMES):  # one may be missed where another task's program was preempted
            file.read_bytes()
        finish(grapher)
    readers = grapher.learned
    assert len(readers) == 1
    if not many:
        return
    with graph("vfs_read", depth=3, extra=readers) as again:
        for _ in range(TIMES):
            file.read_bytes()
        trees = [checked(tree, missed=again.summary.missed) for tree in trees_of(finish(again))]
    found = [(tree, call) for tree in trees for call in tree if call.function == readers[0]]
    assert {call.place.depth for _, call in found} == {1}
    assert 4 in {call.ret for _, call in found}
    assert any(below.place.parent == call.place.order for tree, call in found for below in tree)


def test_a_root_inside_another(graph):
    few = ("do_filp_open", "vfs_open")
    with graph(OPEN, "path_openat", depth=2, include=few) as grapher:
        read()
        events = finish(grapher)
        missed = grapher.summary.missed
    trees = [checked(tree, missed=missed) for tree in trees_of(events)]
    inner = [call for tree in trees for call in tree if call.function == "path_openat"]
    assert inner
    assert all(call.place.depth > 0 for call in inner)


def test_a_task_that_dies_inside(host):
    """It leaves its tree open, and others are whole."""
    words = "import os, time; os.write(1, b'.'); time.sleep(60)"
    with (
        fsession.graph("get_signal", NICE, host=host, depth=1) as grapher,
        subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE) as child,
    ):
        assert child.stdout.read(1) == b"."
        child.send_signal(signal.SIGKILL)
        child.wait()
        os.setpriority(os.PRIO_PROCESS, 0, 7)
        trees = trees_of(finish(grapher))
        counts = grapher.summary.trees
    assert counts["begun"] > counts["ended"]
    mine = [tree for tree in trees if tree[0].pid == os.getpid() and tree[0].function == NICE]
    assert len(mine) == 1


def test_interrupts_idle_tasks_and_many_threads(host):
    """Trees of softirqs, of interrupted and of idle tasks, at once: each is right in itself."""
    roots = ("vfs_read", "vfs_write", "icmp_rcv", "schedule_idle", "tick_nohz_handler")
    known = [name for name in roots if host.types("").find(name)]
    with fsession.graph(*known, host=host, depth=2) as grapher:
        load = "for i in range(300): open('/proc/uptime').read()"
        with subprocess.Popen([sys.executable, "-c", load]) as child:
            for _ in range(100):
                echo()
                read()
            child.wait()
        events = finish(grapher)
        summary = grapher.summary
    missed = summary.missed + summary.lost
    whole = [checked(tree, missed=missed) for tree in trees_of(events)]
    assert len(whole) > 200 or summary.lost
    counts = summary.trees
    assert counts["unpaired"] == 0 or missed
    assert counts["begun"] - counts["ended"] <= 8 + missed  # those that wait at the end


def test_a_program_as_root(host, graph, load, require):
    """Its subprograms, and the helpers and kfuncs that it calls, found in its machine code."""
    require(fsession.Feature.PROGRAM_TARGETS, True)
    program = load("targets", "caller").programs["caller"].program
    root = f"prog:{program.id}"
    with graph(root, depth=3) as grapher:
        names = {target.name for target in grapher.selection.targets}
        assert program.test_run(data=bytes(64)).retval == 1
        (tree,) = [checked(tree) for tree in trees_of(finish(grapher))]
    seen = [(call.place.depth, call.function) for call in tree]
    helper = [(0, root), (1, f"{root}/checksum"), (2, "bpf_csum_diff")]
    assert seen[:3] == helper
    assert tree[1].args == {"to": 7}
    kfuncs = [call.function for call in tree if call.place.depth == 1][1:]
    if "bpf_iter_num_next" in names:
        next_, last = "bpf_iter_num_next", "bpf_iter_num_destroy"
        assert kfuncs == ["bpf_iter_num_new", *3 * [next_], last]
    else:
        assert not kfuncs
    with graph(f"{root}/checksum", depth=2) as grapher:
        assert program.test_run(data=bytes(64)).retval == 1
        (tree,) = [checked(tree) for tree in trees_of(finish(grapher))]
    assert [call.function for call in tree] == [f"{root}/checksum", "bpf_csum_diff"]


def test_disasm_of_a_program(host, load):
    pytest.importorskip("capstone", reason="no capstone: a guest of another architecture")
    program = load("targets", "caller").programs["caller"].program
    words = [sys.executable, "-m", "fsession", "disasm", "--calls"]
    done = subprocess.run([*words, f"prog:{program.id}/*"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    heads = [line for line in done.stdout.splitlines() if line.startswith("0x")]
    assert [f"_{name}>" in head for name, head in zip(("caller", "checksum"), heads, strict=True)]
    assert "<bpf_csum_diff>" in done.stdout
    assert "_checksum>" in done.stdout.split(heads[1])[0]


def test_recorded_and_replayed(tmp_path):
    """The same tree in text, and all of its calls, by a process that has no privileges."""
    file = tmp_path / "graph.fsr"
    command = [sys.executable, "-m", "fsession"]
    words = ["graph", "--record", str(file), "--depth", "2", *FEW, OPEN, "--comm", "cat"]
    words += ["--stack"]
    done = subprocess.run(
        [*command, *words, "--", "cat", "/etc/hostname"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    file.chmod(0o644)
    with Recording.open(file) as recording:
        trees = [checked(tree, missed=1) for tree in trees_of(recording)]
        summary = recording.summary
    assert recording.is_graph
    assert not recording.is_cut
    assert len(trees) == summary.trees["ended"] == summary.trees["begun"]
    assert sum(map(len, trees)) + summary.lost == summary.calls
    shown = subprocess.run([*command, "replay", str(file)], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count(f"{OPEN} by cat/") == len(trees)
    assert shown.stdout.count("} = ") >= len(trees)
    assert "sys_openat" in shown.stdout.partition(f"{OPEN}(")[0]  # the stack above the root


def test_command(host):
    words = [sys.executable, "-m", "fsession", "graph", "--depth", "2", *FEW, OPEN]
    done = subprocess.run(
        [*words, "--comm", "cat", "--", "cat", "/etc/hostname"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"{OPEN} by cat/" in done.stdout
    assert f"            {OPEN}(" in done.stdout
    nested = [line for line in done.stdout.splitlines() if line[12:14] == "  " and "(" in line]
    assert nested
    assert " lost · " in done.stdout
