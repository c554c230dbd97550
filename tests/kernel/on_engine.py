"""The engine as the host of this suite: FSESSION_TEST_HOST=engine, in the unit tests and in guests.

The same tests, on a machine with functions of the kernel's names and prototypes. What they do is
what the tests need of the kernel's: they sleep, block, call themselves, return an error.
"""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import listing
from fsession.btf.catalog import Types
from fsession.engine import Machine
from fsession.obj import compile_c
from listing import Holdings
from triggers import TRIGGERS, Call, Word, libc

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from fsession.engine.functions import NativeFunction
    from fsession.spec import ObjectSpec

__all__ = ["Engine", "compile_objects", "missing", "without_unused_maps"]

HERE = Path(__file__).parent
_RESULT = -errno.EAGAIN
_KERNEL = "kernel to do the workload"
_LACKS = {
    "test_examples.py": _KERNEL,
    "test_graph.py": _KERNEL,
    "test_hist.py": _KERNEL,
    "test_list.py": _KERNEL,
    "test_processes.py": "processes that share what is attached, capabilities",
    "test_prototypes.py": "tables of a kernel to compare with",
    "test_python.py": _KERNEL,
    "test_record.py": _KERNEL,
    "test_trace.py": _KERNEL,
    "test_trace_expressions.py": _KERNEL,
    "test_truth.py": _KERNEL,
    "test_module": "modules",
    "test_ten_thousand": "10,000 functions",
    "test_kfuncs": "bpf_task_acquire",
    "test_externs": "configuration and symbols of a kernel",
    "test_relocations": "task_struct of the current task",
    "test_pins": "pins",
    "test_without_fentry": "architecture without trampolines that it knows",
}


def missing(name: str, file: str) -> str:
    """What the engine has not got that a test, or all tests of a file, needs."""
    return _LACKS.get(name.partition("[")[0]) or _LACKS.get(file, "")


def compile_objects(out: Path) -> Path:
    """The programs of this folder."""
    for source in sorted(HERE.glob("*.bpf.c")):
        data = compile_c(source, include_dirs=[HERE / "include"])
        (out / source.with_suffix(".o").name).write_bytes(data)
    return out


def without_unused_maps(spec: ObjectSpec, programs: Collection[str]) -> ObjectSpec:
    """Only the maps that `programs` name, and variables: the engine has not each kind."""
    loaded = [program for program in spec.programs if program.name in programs]
    named = {getattr(reloc, "map", "") for program in loaded for reloc in program.relocs}
    kept = tuple(each for each in spec.maps if each.data is not None or each.name in named)
    return replace(spec, maps=kept)


def _sleep(request: int, *_: int) -> int:
    """``hrtimer_nanosleep(ktime_t rqtp, …)``: ends early when a signal comes."""
    seconds, rest = divmod(request, 10**9)
    time = (ctypes.c_long * 2)(seconds, rest)
    return -ctypes.get_errno() if libc.nanosleep(time, None) else 0


_BODIES: dict[str, Callable[..., int]] = {
    "find_task_by_vpid": lambda _: 0,
    "hrtimer_nanosleep": _sleep,
    "eventfd_read": lambda file, _: os.eventfd_read(file),
    "do_epoll_ctl": lambda *_: 0,
    "do_exit": lambda *_: 0,
    "make_task_dead": lambda *_: 0,
    "migrate_disable": lambda: 0,
}


class Engine(Machine):
    """A machine with the functions that the suite's programs are on, and calls of them: what
    system calls do in a kernel."""

    def __init__(self) -> None:
        path = os.environ.get("FSESSION_UAPI_BTF", "/sys/kernel/btf/vmlinux")
        super().__init__(Types.from_bytes(Path(path).read_bytes(), name="vmlinux"))
        self._depth = 0
        for name, body in _BODIES.items():
            self.define(name, body)
        for name, _ in TRIGGERS.values():
            self.define(name, lambda *_: _RESULT)
        self.define("ep_loop_check_proc", self._check_loops)

    def _check_loops(self, *args: int) -> int:
        """Calls itself for each level below; the level is its last argument."""
        if args[-1] + 1 < self._depth:
            self.function("ep_loop_check_proc")(*args[:-1], args[-1] + 1)
        return 0

    def trigger(self, name: str) -> Call:
        """Call the function of a program of args.bpf.c; each byte of the arguments differs."""
        function = self.function(TRIGGERS[name][0])
        args, words = _arguments(function)
        function(*args)
        size = function.model.return_size
        return Call(tuple(words), Word(_RESULT, size) if size else None)

    def look_up(self, number: int) -> None:
        self.function("find_task_by_vpid")(number)

    def sleep(self, seconds: float) -> None:
        self.function("hrtimer_nanosleep")(int(seconds * 1e9), 0, 0)

    def read_event(self, file: int) -> None:
        self.function("eventfd_read")(file, 0)

    def nest(self, levels: int) -> None:
        """As `triggers.nest_epoll`: a chain is checked each time that it gets longer."""
        function: Any = self.function("ep_loop_check_proc")
        for depth in range(1, levels + 1):
            self._depth = depth
            function(*[0] * (len(function.model.args) - 1), 0)

    def holdings(self) -> Holdings:
        """What there is in the machine, and what this process holds; code that waits to be freed
        counts as maps."""
        self.graveyard.sweep()
        return Holdings(
            frozenset(self._programs),
            frozenset(self._links),
            frozenset(range(len(self.graveyard))),
            *listing.of_process(),
        )


def _arguments(function: NativeFunction) -> tuple[list[int | bytes], list[Word]]:
    args: list[int | bytes] = []
    words = []
    for number, arg in enumerate(function.model.args, 1):
        data = bytes(16 * number + at for at in range(arg.size))
        args.append(data if arg.is_struct else int.from_bytes(data, "little"))
        for at in range(0, arg.size, 8):
            part = data[at : at + 8]
            words.append(Word(int.from_bytes(part, "little"), len(part)))
    return args, words
