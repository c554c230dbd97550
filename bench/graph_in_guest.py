"""Measurements of graphs, run in a guest: graph_in_guest.py calls|start [STRATEGY].

Prints one JSON object. For `calls` the guest's clock counts machine instructions: what a call of
``read(zero, buffer, 1)`` costs with ``vfs_read`` as root and with none, one and two calls below it.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import subprocess
import sys
import time

from in_guest import UP, WORKLOAD, peak_kib, stop

import fsession
from fsession.trace import Call

CALLS = 10_000
ROOT, LEAVES = "vfs_read", ("rw_verify_area", "read_zero")


def machine_loop(fd: int, buffer: int) -> tuple[ctypes._CFuncPtr, mmap.mmap]:
    """``int loop(unsigned n)``: read(fd, buffer, 1) n times; and the memory it is in.

    push rbx; mov ebx, edi; again: mov edi, fd; mov rsi, buffer; mov edx, 1; xor eax, eax; syscall;
    dec ebx; jnz again; pop rbx; ret
    """
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    read = b"\xbf" + fd.to_bytes(4, "little") + b"\x48\xbe" + buffer.to_bytes(8, "little")
    memory.write(
        bytes.fromhex("53 89fb") + read + bytes.fromhex("ba01000000 31c0 0f05 ffcb 75e4 5b c3")
    )
    place = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    return ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint)(place), memory


def calls(strategy: str) -> dict[str, float]:
    zero = os.open("/dev/zero", os.O_RDONLY)
    buffer = ctypes.create_string_buffer(8)
    loop, memory = machine_loop(zero, ctypes.addressof(buffer))

    def per_call() -> float:
        loop(100)
        start = time.thread_time_ns()
        loop(CALLS)
        return (time.thread_time_ns() - start) / CALLS

    figures = {"untraced": per_call()}
    for count in range(len(LEAVES) + 1):
        leaves = LEAVES[:count]
        with fsession.graph(
            ROOT, depth=2, include=leaves or ("none",), extra=leaves[1:], strategy=strategy,
            pid=os.getpid(), ring_bytes=1 << 26,
        ) as grapher:  # fmt: skip
            figures[f"{count} below"] = per_call()
            events = grapher.read(0)
            grapher.detach()
        seen = sum(isinstance(event, Call) for event in events)
        if seen < CALLS * (1 + count):
            raise SystemExit(f"{seen} calls recorded with {leaves}")
    with fsession.graph(ROOT, depth=1, strategy=strategy, pid=1) as grapher:
        figures["of another process"] = per_call()
    del memory
    base = figures.pop("untraced")
    alone, one, two = (figures[f"{count} below"] for count in range(3))
    return {
        "untraced": base,
        "a root": alone - base,
        "the first call below, with the root's entry": one - alone,
        "a call below": two - one,
        "a root of another process": figures["of another process"] - base,
    }


def start(strategy: str) -> dict[str, float]:
    """From Enter to the start of the workload, Ctrl-C to the end, memory."""
    words = ["graph", "icmp_rcv", "--strategy", strategy, "--dry-run"]
    command = [sys.executable, "-m", "fsession"]
    begin = time.monotonic()
    listed = subprocess.run([*command, *words], capture_output=True, text=True, check=True)
    selected_s = time.monotonic() - begin
    rows = []
    for _ in range(2):
        begin = time.monotonic()
        graph = subprocess.Popen(
            [*command, *words[:-1], "--", *WORKLOAD], stdout=subprocess.PIPE, text=True
        )
        assert graph.stdout is not None
        while UP not in (said := graph.stdout.readline()):
            if not said:
                raise SystemExit(f"the graph ended with status {graph.wait()}")
        rows.append((time.monotonic() - begin, peak_kib(graph), stop(graph)))
    with fsession.graph("icmp_rcv", strategy=strategy) as grapher:
        begin = time.monotonic()
        grapher.detach()
        detached_s = time.monotonic() - begin
    return {
        "detached_s": detached_s,
        "functions": listed.stdout.count("\n"),
        "selected_s": selected_s,
        "ready_s": min(row[0] for row in rows),
        "peak_kib": max(row[1] for row in rows),
        "ended_s": min(row[2] for row in rows),
    }


if __name__ == "__main__":
    measure = {"calls": calls, "start": start}[sys.argv[1]]
    print(json.dumps(measure(sys.argv[2] if len(sys.argv) > 2 else "auto")))
