"""What the verifier accepts runs without a fault: run_accepted.py --count 10000 --seed 1.

Random programs (`fuzz_verify`) that are accepted run in the interpreter, which checks every access
against the memory that the program was given, and as machine code in processes of their own.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from fuzz_verify import MAPS, programs

from fsession.engine import Machine
from fsession.engine.interp import Interpreter
from fsession.engine.memory import Block, Memory, Region
from fsession.errors import BadInputError, FsessionError
from fsession.host import LoadRequest
from fsession.isa.disasm import disassemble
from fsession.isa.insn import lddw
from fsession.uapi import FuncId, ProgType
from fsession.verify import Subject, verify
from fsession.verify.limits import NEWEST, limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fsession.isa.insn import Insn

MOST_INSNS = 20_000
RUNS = 3  # of each program, with other numbers each time
BATCH = 200  # programs in one process
_CTX_BYTES = 96
_WORDS = (0, 1, 7, 8, 63, 1 << 31, 1 << 63, (1 << 64) - 1)


def accepted(count: int, seed: int) -> Iterator[tuple[Insn, ...]]:
    """Those of `count` random programs that are accepted, by a walk that is not too long."""
    rules = replace(limits(NEWEST), max_insns=MOST_INSNS)
    maps = dict(enumerate(MAPS, 1))
    for insns in programs(count, seed):
        if verify(Subject("random", ProgType.RAW_TRACEPOINT, insns, maps=maps), rules).accepted:
            yield insns


class World:
    """What a program can reach: its context, the values of maps, records; all with bounds."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.ctx = Block(_CTX_BYTES, self._bytes(_CTX_BYTES))
        self.maps = [Block(8) for _ in MAPS]  # nothing in them may be touched
        self.values = [Block(max(spec.value_size, 8)) for spec in MAPS]
        self.memory = Memory([replace(self.ctx.region, writable=False)])
        self.records: dict[int, Block] = {}
        for block in self.values[:2]:
            block.write(self._bytes(block.size))
            self.memory.add(block.region)

    def _bytes(self, size: int) -> bytes:
        words = (self.rng.choice((*_WORDS, self.rng.getrandbits(64))) for _ in range(size // 8))
        return b"".join(word.to_bytes(8, "little") for word in words)

    def run(self, insns: Sequence[Insn]) -> int:
        known = [
            lddw(insn.dst, self.maps[insn.imm - 1].address)
            if insn.is_lddw and insn.src == 1
            else insn
            for insn in insns
        ]
        done = Interpreter(known, self.memory, call=self._call).run(self.ctx.address)
        if self.records:
            raise FsessionError("a record was not given back")
        return done

    def _call(self, insn: Insn, args: Sequence[int]) -> int:
        match insn.imm:
            case FuncId.map_lookup_elem:
                number = self._map(args[0])
                self._check(args[1], MAPS[number].key_size)
                there = self.rng.random() < 0.8 or number == 1
                return self.values[number].address if there else 0
            case FuncId.probe_read_kernel:
                size = args[1] & 0xFFFF_FFFF
                for at in range(size):
                    self.memory.store(args[0] + at, 1, self.rng.randrange(256))
                return 0
            case FuncId.ringbuf_reserve:
                return self._reserve(self._map(args[0]), args[1])
            case FuncId.ringbuf_submit:
                self.memory.remove(self.records.pop(args[0]).region)
                return 0
            case FuncId.ktime_get_ns | FuncId.get_prandom_u32:
                return self.rng.getrandbits(32)
        raise FsessionError(f"a call of helper {insn.imm}")

    def _map(self, address: int) -> int:
        return [block.address for block in self.maps].index(address)

    def _check(self, address: int, size: int) -> Region:
        found = self.memory.find(address, size)
        if found is None:
            raise FsessionError(f"{size} bytes at {address:#x} given to a helper")
        return found

    def _reserve(self, number: int, size: int) -> int:
        if size > MAPS[number].max_entries or self.rng.random() < 0.3:
            return 0
        made = Block(size)
        self.records[made.address] = made
        self.memory.add(made.region)
        return made.address


def interpret(found: Sequence[tuple[Insn, ...]], seed: int) -> int:
    """How many of them did what they must not, in some run."""
    failed = 0
    for number, insns in enumerate(found):
        for run in range(RUNS):
            try:
                World(random.Random(seed + RUNS * number + run)).run(insns)
            except BadInputError:  # in code that nothing reaches; it is not run at all
                break
            except (FsessionError, ValueError, KeyError) as error:
                print(f"{error!r}\n", *disassemble(insns), sep="\n", file=sys.stderr)
                failed += 1
                break
    return failed


def execute(found: Sequence[tuple[Insn, ...]], seed: int) -> int:
    """How many processes ended by a signal, each running `BATCH` of them as machine code."""
    failed = 0
    for start in range(0, len(found), BATCH):
        child = os.fork()
        if not child:
            status = 1
            try:
                _run_machine(found[start : start + BATCH], random.Random(seed + start))
                status = 0
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
                program.test_run(ctx=rng.randbytes(_CTX_BYTES))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
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
