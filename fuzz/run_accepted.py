"""What the verifier accepts runs without a fault: run_accepted.py --count 10000 --seed 1.

Random programs (`fuzz_verify`) that are accepted run in the interpreter, which checks every access
against the memory that the program was given, and as machine code in processes of their own. Random
tracing programs (`tracing_programs`) run both ways, too, with structures of Linux 7.2.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from fuzz_verify import MAPS, programs
from tracing_native import NativeWorld
from tracing_world import TracingWorld, accepted_tracing
from world import CTX_BYTES, World

from fsession.btf.catalog import Types
from fsession.engine import Machine
from fsession.errors import BadInputError, FsessionError
from fsession.host import LoadRequest
from fsession.isa.disasm import disassemble
from fsession.uapi import ProgType
from fsession.verify import Subject, verify
from fsession.verify.limits import NEWEST, limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tracing_programs import Program

    from fsession.isa.insn import Insn

MOST_INSNS = 20_000
RUNS = 3  # of each program, with other numbers each time
BATCH = 200  # programs in one process


def accepted(count: int, seed: int) -> Iterator[tuple[Insn, ...]]:
    """Those of `count` random programs that are accepted, by a walk that is not too long."""
    rules = replace(limits(NEWEST), max_insns=MOST_INSNS)
    maps = dict(enumerate(MAPS, 1))
    for insns in programs(count, seed):
        if verify(Subject("random", ProgType.RAW_TRACEPOINT, insns, maps=maps), rules).accepted:
            yield insns


def interpret(found: Sequence[tuple[Insn, ...]], seed: int) -> int:
    """How many of them did what they must not, in some run."""
    return sum(_is_faulty(insns, World, seed + RUNS * number) for number, insns in enumerate(found))


def interpret_tracing(found: Sequence[Program], seed: int, types: Types) -> int:
    """As `interpret`."""
    return sum(
        _is_faulty(
            made.insns,
            lambda rng, made=made: TracingWorld(rng, made, types),  # type: ignore[misc]
            seed + RUNS * number,
        )
        for number, made in enumerate(found)
    )


def _is_faulty(insns: tuple[Insn, ...], world: Callable[[random.Random], World], seed: int) -> bool:
    for run in range(RUNS):
        try:
            world(random.Random(seed + run)).run(insns)
        except BadInputError:  # in code that nothing reaches; it is not run at all
            return False
        except (FsessionError, ValueError, KeyError) as error:
            print(f"{error!r}\n", *disassemble(insns), sep="\n", file=sys.stderr)
            return True
    return False


def execute(found: Sequence[tuple[Insn, ...]], seed: int) -> int:
    """How many processes ended by a signal, each running `BATCH` of them as machine code."""
    return _in_processes(
        len(found),
        lambda start: _run_machine(found[start : start + BATCH], random.Random(seed + start)),
    )


def execute_tracing(found: Sequence[Program], seed: int, types: Types) -> int:
    """As `execute`; a process also fails where a program leaves something."""

    def run(start: int) -> None:
        faulthandler.disable()
        for fault in (signal.SIGSEGV, signal.SIGBUS):
            signal.signal(fault, signal.SIG_DFL)  # the engine's handler mends some
        for number, made in enumerate(found[start : start + BATCH], start):
            for again in range(RUNS):
                rng = random.Random(seed + RUNS * number + again)
                with suppress(BadInputError):
                    NativeWorld(rng, made, types).execute(made.insns)

    return _in_processes(len(found), run)


def _in_processes(count: int, run: Callable[[int], None]) -> int:
    """How many of the processes failed that ran a batch each, from the one that they are given."""
    failed = 0
    for start in range(0, count, BATCH):
        child = os.fork()
        if not child:
            status = 1
            try:
                run(start)
                status = 0
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(status)
        status = os.waitpid(child, 0)[1]
        if status:
            print(f"programs from {start}: status {status}", file=sys.stderr)
            failed += 1
    return failed


def _run_machine(found: Sequence[tuple[Insn, ...]], rng: random.Random) -> None:
    with Machine() as machine:
        maps = [machine.create_map(spec) for spec in MAPS]
        for insns in found:
            known = tuple(
                replace(insn, imm=maps[insn.imm - 1].fd) if insn.is_lddw and insn.src == 1 else insn
                for insn in insns
            )
            request = LoadRequest("random", ProgType.RAW_TRACEPOINT, known)
            with suppress(BadInputError), machine.load(request) as program:
                program.test_run(ctx=rng.randbytes(CTX_BYTES))


def _run_tracing(options: argparse.Namespace) -> int:
    types = Types.from_bytes(options.tracing.read_bytes(), name="vmlinux")
    found = list(accepted_tracing(options.count, options.seed, types, MOST_INSNS))
    failed = interpret_tracing(found, options.seed, types)
    crashed = execute_tracing(found, options.seed, types)
    print(
        f"{len(found)} of {options.count} accepted and run {RUNS} times each in the interpreter "
        f"and as machine code: {failed} and {crashed} faults"
    )
    return failed + crashed > 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tracing", type=Path, metavar="BTF", help="tracing programs only")
    options = parser.parse_args()
    if options.tracing:
        return _run_tracing(options)
    started = monotonic()
    found = list(accepted(options.count, options.seed))
    verified = monotonic()
    failed = interpret(found, options.seed), execute(found, options.seed)
    print(
        f"{len(found)} of {options.count} accepted in {verified - started:.0f} s; run {RUNS} times "
        f"each in the interpreter and as machine code in {monotonic() - verified:.0f} s: "
        f"{failed[0]} and {failed[1]} faults"
    )
    return any(failed)


if __name__ == "__main__":
    sys.exit(main())
