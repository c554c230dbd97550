"""Attach to every function that `fsession list` calls safe, under load: soak_attach.py [SECONDS].

Runs in a guest, as root. Where the kernel has multi links, all functions are attached at once and
stay so; else as many as fit are, batch after batch, evenly spread. Ends with status 1 if the
kernel's log has a warning then that it had not before. A hang is the guest's time limit.
"""

from __future__ import annotations

import argparse
import re
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from fsession.attach import prepare_many, survey
from fsession.host import Feature
from fsession.isa.insn import alu, exit_, ldx, mov, stx
from fsession.isa.opcode import R0, R1, R6, R7, Alu, Jmp, Size
from fsession.kernel import KernelHost
from fsession.spec import ProgramSpec
from fsession.trace.code import Code
from fsession.uapi import AttachType, FuncId, ProgType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fsession.attach import Target

BATCH = 100
WARNING = re.compile(
    r"WARNING:|BUG:|Oops|rcu:.*(?:stall|detected)|hung task|soft lockup|general protection"
    r"|unable to handle|possible recursive|scheduling while atomic|Call Trace"
)
LOADS = (
    ["sh", "-c", "while :; do /bin/true; done"],
    ["sh", "-c", "while :; do ls -lR /proc/self /sys/class >/dev/null 2>&1; done"],
    ["sh", "-c", "while :; do dd if=/dev/zero of=/tmp/x bs=64k count=9 2>&-; rm /tmp/x; done"],
    ["sh", "-c", "while :; do ping -c 20 -i 0.01 127.0.0.1 >/dev/null 2>&1; done"],
)  # fmt: skip


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
        for words in LOADS:
            process = subprocess.Popen(words)
            stack.callback(process.wait)
            stack.callback(process.kill)
        process = subprocess.Popen([sys.executable, __file__, "--talk"])
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


def warnings() -> list[str]:
    """Lines of the kernel's log that must not be there."""
    log = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    return [line for line in log.splitlines() if WARNING.search(line)]


def at_once(host: KernelHost, targets: Sequence[Target], seconds: float) -> int:
    """All functions for so long."""
    with prepare_many(session(multi=True), host, {}, targets) as loaded, loaded.attach() as all_:
        count = len(all_.targets)
        print(f"attached to {count} functions by {len(all_.links)} links", flush=True)
        for item in all_.refused:
            print(f"refused: {item.name}: {item.detail}")
        with load():
            time.sleep(seconds)
    return count


def in_batches(host: KernelHost, targets: Sequence[Target], seconds: float) -> int:
    """Batches of functions that lie far from each other, until the time is over."""
    with load():
        return _batches(host, targets, seconds)


def _batches(host: KernelHost, targets: Sequence[Target], seconds: float) -> int:
    end = time.monotonic() + seconds
    step = max(1, len(targets) // BATCH)
    count = 0
    for first in range(step):
        if time.monotonic() > end:
            break
        some = targets[first::step]
        with (
            prepare_many(session(multi=False), host, {}, some) as prepared,
            prepared.attach() as attached,
        ):
            count += len(attached.targets)
            for item in attached.refused:
                print(f"refused: {item.name}: {item.detail}")
            time.sleep(0.5)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", nargs="?", type=float, default=60)
    parser.add_argument("--functions", default="*", help="pattern of functions")
    parser.add_argument("--talk", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.talk:
        talk()
    before = warnings()
    with KernelHost() as host:
        targets = survey(host, arguments.functions).targets
        multi = host.supports(Feature.FSESSION_MULTI)
        print(f"{len(targets)} functions can be traced, {host.description}", flush=True)
        run = at_once if multi else in_batches
        start = time.monotonic()
        count = run(host, targets, arguments.seconds)
        print(f"{count} functions in {time.monotonic() - start:.0f} s", flush=True)
    new = warnings()[len(before) :]
    print("\n".join(new) or "no warning in the kernel's log", flush=True)
    sys.exit(bool(new))


if __name__ == "__main__":
    main()
