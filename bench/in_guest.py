"""The measurements themselves, run in a guest: in_guest.py calls|traced|hist|start|many OBJECT.

Prints one JSON object. For `calls` the guest's clock counts machine instructions.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import mmap
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import raw

from fsession import Object
from fsession.kernel import KernelHost
from fsession.kernel.remembered import runtime_folder
from fsession.tracer import trace
from fsession.tracer.hist import hist

TARGET = "__do_sys_getppid"
CALLS = 20_000
TRACING = Path("/sys/kernel/tracing")
TRACE_OPTIONS: dict[str, dict[str, Any]] = {
    "--pid of another": {"pid": 1},
    "--filter 'ret < 0'": {"filter": "ret < 0"},
    "--print comm": {"print": ["comm"]},
    "--print current->pid": {"print": ["current->pid"]},
}
HIST_OPTIONS: dict[str, dict[str, Any]] = {
    "durations": {},
    "durations, linear": {"linear": (0, 100_000, 1000)},
    "--by ret": {"by": "ret"},
    "--by comm": {"by": "comm"},
    "--of ret": {"of": "ret"},
}
UP = "the workload is up"
WORKLOAD = ("sh", "-c", f"echo {UP}; exec sleep 600")

# int loop(unsigned n): getppid() n times and nothing else.
#   push rbx; mov ebx, edi; again: mov eax, 110; syscall; dec ebx; jnz again; pop rbx; ret
_LOOP = bytes.fromhex("53 89fb b86e000000 0f05 ffcb 75f5 5b c3")


def machine_loop() -> tuple[ctypes._CFuncPtr, mmap.mmap]:
    """The loop as a function, and the memory it is in, which must outlive it."""
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(_LOOP)
    place = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    return ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint)(place), memory


class Calls:
    """Machine instructions that an attachment adds to one call of getppid."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.host = KernelHost()
        self.loop, self._code = machine_loop()
        self.loop(CALLS)
        self.untraced = self._per_call()

    def _per_call(self) -> float:
        start = time.thread_time_ns()
        self.loop(CALLS)
        return (time.thread_time_ns() - start) / CALLS

    def added(self, attachment: AbstractContextManager[object]) -> float:
        with attachment:
            self.loop(100)
            return round(self._per_call() - self.untraced, 1)

    def by_package(self, strategy: str, *names: str) -> float:
        """Programs of the object, attached with the package."""
        with ExitStack() as stack:
            obj = Object.open(self.path)
            for name, program in obj.programs.items():
                program.autoload = name in names
            stack.enter_context(obj.load(self.host))
            for name in reversed(names):
                stack.enter_context(obj.programs[name].attach(strategy=strategy))
            return self.added(nullcontext())

    def by_tracer(self, strategy: str, **options: Any) -> float:
        """`fsession trace`, each call recorded; nobody reads meanwhile, the buffer is large."""
        with trace(TARGET, host=self.host, strategy=strategy, ring_bytes=1 << 26, **options) as it:
            added = self.added(nullcontext())
            it.detach()
            if len(it.read(0)) < CALLS and not {"filter", "pid"} & options.keys():
                raise SystemExit("the tracer did not record each call")
        return added

    def by_hist(self, strategy: str, **options: Any) -> float:
        """`fsession hist`."""
        with hist(TARGET, host=self.host, strategy=strategy, **options) as it:
            added = self.added(nullcontext())
            it.detach()
            if sum(row.count for row in it.read()) < CALLS:
                raise SystemExit("hist did not count each call")
        return added

    def measure_hist(self) -> dict[str, float]:
        """What counting costs."""
        return {
            f"{name}, {one}": self.by_hist(one, **options)
            for name, options in HIST_OPTIONS.items()
            for one in ("native", "multi", "split")
        }

    def measure_trace(self) -> dict[str, float]:
        """What each feature of the tracer costs."""
        strategies = ("native", "multi", "split")
        plain = {f"each call, {one}": self.by_tracer(one) for one in strategies}
        return plain | {
            f"{name}, {one}": self.by_tracer(one, **options)
            for name, options in TRACE_OPTIONS.items()
            for one in strategies
        }

    def measure(self) -> dict[str, float]:
        hand = {
            name: self.added(raw.attached_by_hand(self.path, name, TARGET))
            for name in ("empty", "histogram")
        }
        sessions = {
            f"{name}, {strategy}": self.by_package(strategy, name)
            for name in ("empty", "histogram")
            for strategy in ("native", "multi", "split")
        }
        return {
            "untraced": self.untraced,
            **{f"{name}, by hand": figure for name, figure in hand.items()},
            **sessions,
            "pair with hash map": self.by_package("auto", "hash_entry", "hash_exit"),
            "pair with task storage": self.by_package("auto", "task_entry", "task_exit"),
        }


def start_tracer(*words: str) -> tuple[subprocess.Popen[str], float]:
    """A tracer that is attached, and the seconds from its start to the end of its last link call.

    The kernel writes down each bpf(2) call: what is traced from there on delays nothing we count.
    """
    (TRACING / "trace_clock").write_text("mono")
    events = TRACING / "events/raw_syscalls"
    (events / "filter").write_text("id==321")
    (events / "enable").write_text("1")
    start = time.monotonic()
    tracer = subprocess.Popen(
        [sys.executable, "-m", "fsession", "trace", *words, "--", *WORKLOAD],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert tracer.stdout is not None
    while UP not in (said := tracer.stdout.readline()):  # calls may come first
        if not said:
            raise SystemExit(f"the tracer ended with status {tracer.wait()}")
    (events / "enable").write_text("0")
    return tracer, link_calls()[-1] - start


def link_calls() -> list[float]:
    """When the ``BPF_LINK_CREATE`` calls that the kernel wrote down had ended."""
    lines = (TRACING / "trace").read_text().splitlines()
    pairs = itertools.pairwise(lines)
    ends = [end for begin, end in pairs if "NR 321 (1c," in begin and "NR 321 =" in end]
    return [float(found[1]) for end in ends if (found := re.search(r" (\d+\.\d+): ", end))]


def peak_kib(process: subprocess.Popen[str]) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]


def stop(process: subprocess.Popen[str]) -> float:
    """Ctrl-C; the seconds until it has ended."""
    start = time.monotonic()
    process.send_signal(2)
    process.communicate()
    return time.monotonic() - start


def measure_start() -> dict[str, float]:
    """From Enter to attached, and memory, for one function: the first time after a boot, and later.

    What must be read once a boot is `fsession.kernel.remembered`'s.
    """
    subprocess.run([sys.executable, "-m", "fsession", "features"], capture_output=True, check=True)
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    figures = {"python_s": time.monotonic() - begin}
    for which in ("first", "later"):
        rows = []
        for _ in range(3):
            if which == "first":
                shutil.rmtree(runtime_folder() or "", ignore_errors=True)
            tracer, seconds = start_tracer("icmp_rcv")
            rows.append((seconds, peak_kib(tracer)))
            stop(tracer)
        figures[f"{which}_s"] = sorted(seconds for seconds, _ in rows)[1]
        figures[f"{which}_kib"] = max(peak for _, peak in rows)
    return figures


def measure_many(pattern: str) -> dict[str, float]:
    """A glob by one multi link, against the bare call with the ids that the tracer found."""
    single, _ = start_tracer("icmp_rcv")
    small_kib = peak_kib(single)
    stop(single)
    (TRACING / "trace").write_text("")
    tracer, seconds = start_tracer(pattern)
    calls = len(link_calls())
    peak, ids = peak_kib(tracer), attached_ids(tracer)
    detach_s = stop(tracer)
    return {
        "functions": len(ids),
        "attached_s": seconds,
        "detached_s": detach_s,
        "link_calls": calls,
        "grown_kib": peak - small_kib,
        "bare_s": bare_link_s(ids),
    }


def attached_ids(process: subprocess.Popen[str]) -> list[int]:
    """BTF ids of the functions of a multi link, from the fdinfo of its descriptor."""
    for descriptor in Path(f"/proc/{process.pid}/fdinfo").iterdir():
        text = descriptor.read_text()
        if "tracing_multi" in text:
            return [int(number) for number in re.findall(r"^\s*\d+\s+(\d+)\s", text, re.MULTILINE)]
    raise SystemExit("the tracer has no multi link")


def bare_link_s(ids: list[int]) -> float:
    """Seconds of loading a program that does nothing and of one link call."""
    start = time.monotonic()
    program = raw.load_program(bytes.fromhex("b700000000000000 9500000000000000"), 61, 0)
    link = raw.link_multi(program, ids)
    seconds = time.monotonic() - start
    os.close(link)
    os.close(program)
    return seconds


def main() -> None:
    what, *words = sys.argv[1:]
    if what == "calls":
        figures = Calls(Path(words[0])).measure()
    elif what == "hist":
        figures = Calls(Path(words[0])).measure_hist()
    elif what == "traced":
        figures = Calls(Path(words[0])).measure_trace()
    elif what == "start":
        figures = measure_start()
    else:
        figures = measure_many(words[0])
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
