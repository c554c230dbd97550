"""Attach to every function that `fsession list` calls safe, under load: soak_attach.py [SECONDS].

Runs in a guest, as root. Where the kernel has multi links, all functions are attached at once; else
they are in batches of functions that lie far apart, each as large as `BATCH`; ``--first`` goes on
where an earlier run ended, ``--batches`` is how many. The load begins when a batch is attached:
attaching to one function after the other under load takes a second for each.

Ends with status 1 if the kernel's log has a warning then that it had not before, if the load stood
still, or if a session never ran. A hang is the guest's time limit; the batch that it came with is
the last line.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fsession.attach import prepare_many, survey
from fsession.host import Feature
from fsession.isa.insn import alu, exit_, ldx, mov, stx
from fsession.isa.opcode import R0, R1, R6, R7, Alu, Jmp, Size
from fsession.kernel import KernelHost
from fsession.spec import ProgramSpec
from fsession.trace.code import Code
from fsession.uapi import AttachType, FuncId, ProgType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fsession.attach import Target
    from fsession.host import Program

BATCH = 4000
CONTEXT = 30  # lines of the log behind a warning
COUNTED_S = 3
FILES = 1 << 20
FEWEST_FORKS = 20  # of a load that is under way
WARNING = re.compile(
    r"WARNING:|BUG:|Oops|rcu:.*(?:stall|detected)|hung task|soft lockup|general protection"
    r"|unable to handle|possible recursive|scheduling while atomic|Call Trace"
)
LOADS = (
    "while :; do /bin/true; done",
    "while :; do ls -lR /proc/self /sys/class >/dev/null 2>&1; done",
    "while :; do dd if=/dev/zero of=/tmp/x bs=64k count=9 2>&-; rm /tmp/x; done",
    "while :; do ping -c 20 -i 0.01 127.0.0.1 >/dev/null 2>&1; done",
)
NICE = 19  # as khugepaged: it holds RCU's read lock, and must not starve beside the load


def session(*, multi: bool) -> ProgramSpec:
    """Takes the time at the entry into the cookie, and reads both at the exit."""
    code = Code()
    code.emit(mov(R6, R1))
    code.kfunc("bpf_session_is_return")
    code.emit(mov(R7, R0), mov(R1, R6))
    code.kfunc("bpf_session_cookie")
    code.emit(mov(R6, R0))
    code.jump(Jmp.JNE, R7, "exit", imm=0)
    code.helper(FuncId.ktime_get_ns)
    code.emit(stx(Size.DW, R6, R0))
    code.label("exit")
    code.emit(ldx(Size.DW, R1, R6), alu(Alu.MOV, R0, imm=0), exit_())
    kind = AttachType.TRACE_FSESSION_MULTI if multi else AttachType.TRACE_FSESSION
    return ProgramSpec("soak", ProgType.TRACING, code.insns(), kind, relocs=code.relocs)


@contextmanager
def load() -> Iterator[None]:
    """Processes, files, packets and sockets, until the end."""
    with ExitStack() as stack:
        talking = [sys.executable, __file__, "--talk"]
        for words in (*(["sh", "-c", line] for line in LOADS), talking):
            process = subprocess.Popen(words, preexec_fn=partial(os.nice, NICE))
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


def talk() -> None:
    """Connections over the loopback device, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        while True:
            with socket.create_connection(server.getsockname()) as one:
                other, _ = server.accept()
                with other:
                    for _ in range(20):
                        one.sendall(b"x" * 1000)
                        other.recv(1000)


def log() -> list[str]:
    """The kernel's log."""
    said = subprocess.run(["dmesg"], capture_output=True, text=True, check=True)
    return said.stdout.splitlines()


def warnings(lines: Sequence[str]) -> list[str]:
    """What must not be in a log, with what follows it."""
    found = [at for at, line in enumerate(lines) if WARNING.search(line)]
    shown = {near for at in found for near in range(at, min(at + CONTEXT, len(lines)))}
    return [lines[at] for at in sorted(shown)]


def forks() -> int:
    """Processes that were made since the kernel started."""
    found = re.search(r"^processes (\d+)", Path("/proc/stat").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def runs(programs: Iterable[Program]) -> int:
    """How often programs ran, of those in whose time the kernel counted it."""
    return sum(program.info.run_cnt for program in programs)


def count_runs(*, on: bool) -> None:
    """Statistics cost each run something and use other code, so they are off most of the time."""
    Path("/proc/sys/kernel/bpf_stats_enabled").write_text(f"{on:d}")


def under_load(programs: Sequence[Program], seconds: float) -> int:
    """So long; how often the programs ran in the last of it."""
    with load():
        time.sleep(seconds)
        count_runs(on=True)
        time.sleep(COUNTED_S)
        count_runs(on=False)
        return runs(programs)


def at_once(host: KernelHost, targets: Sequence[Target], asked: Asked) -> tuple[int, int]:
    """All functions for so long; how many they are, and how often their sessions ran at the end."""
    with prepare_many(session(multi=True), host, {}, targets) as loaded, loaded.attach() as all_:
        count = len(all_.targets)
        print(f"attached to {count} functions by {len(all_.links)} links", flush=True)
        for item in all_.refused:
            print(f"refused: {item.name}: {item.detail}")
        return count, under_load(loaded.programs, asked.seconds)


def in_batches(host: KernelHost, targets: Sequence[Target], asked: Asked) -> tuple[int, int]:
    """As `at_once`, of one batch after the other; the time is shared out among all there are."""
    step = max(1, -(-len(targets) // BATCH))
    count = ran = 0
    for batch in range(asked.first, min(step, asked.first + asked.batches)):
        some, start = targets[batch::step], time.monotonic()
        print(f"batch {batch} of {step}: {some[0].name} … {some[-1].name}", flush=True)
        with (
            prepare_many(session(multi=False), host, {}, some) as prepared,
            prepared.attach() as attached,
        ):
            took = time.monotonic() - start
            print(f"attached to {len(attached.targets)} in {took:.0f} s", flush=True)
            count += len(attached.targets)
            for item in attached.refused:
                print(f"refused: {item.name}: {item.detail}")
            ran += under_load(prepared.programs, asked.seconds / step)
    return count, ran


class Asked(NamedTuple):
    """What the command line says."""

    seconds: float
    first: int
    batches: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", nargs="?", type=float, default=60)
    parser.add_argument("--functions", default="*", help="pattern of functions")
    parser.add_argument("--first", type=int, default=0, help="batch to begin with")
    parser.add_argument("--batches", type=int, default=1000, help="how many, at most")
    parser.add_argument("--talk", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.talk:
        talk()
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    before = len(log())
    with KernelHost() as host:
        targets = survey(host, arguments.functions).targets
        multi = host.supports(Feature.FSESSION_MULTI)
        print(f"{len(targets)} functions can be traced, {host.description}", flush=True)
        run = at_once if multi else in_batches
        start, made = time.monotonic(), forks()
        asked = Asked(arguments.seconds, arguments.first, arguments.batches)
        count, ran = run(host, targets, asked)
        made = forks() - made
    print(
        f"{count} functions in {time.monotonic() - start:.0f} s, {made} processes of the load, "
        f"{ran} runs while they were counted"
    )
    new = warnings(log()[before:])
    print("\n".join(new) or "no warning in the kernel's log", flush=True)
    sys.exit(bool(new) or not ran or made < FEWEST_FORKS)


if __name__ == "__main__":
    main()
