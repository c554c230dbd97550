"""The verifier against a real one: against_kernel.py --count 20000 --seed 1 [--kernel 7.2].

Random programs, half of them raw tracepoints, half tracing programs, are loaded in a guest and
judged here. Prints how often the verdicts are the same, and each reason of a difference with its
first program. The exit status is 1 if one was accepted here that the kernel refused for safety:
one that took the kernel too many steps to judge is a difference like others.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections import Counter, deque
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

from fuzz_verify import MAPS, programs
from loader import FIRST_FD, exchange, packed
from tracing_programs import tracing_programs

from fsession.btf.catalog import Types
from fsession.btf.types import Func
from fsession.isa.disasm import disassemble
from fsession.isa.insn import encode
from fsession.uapi import ProgType
from fsession.verify import Subject, verify
from fsession.verify.limits import limits
from guest_btf import guest_btf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fsession.isa.insn import Insn
    from fsession.verify import Report

NUMBERS = {FIRST_FD + number: spec for number, spec in enumerate(MAPS)}
MOST_INSNS = 2_000  # longer walks take the kernel in a guest too long; one program in 250


def subjects(count: int, seed: int, types: Types) -> Iterator[Subject]:
    """`count` random programs, every second one a tracing program."""
    for insns in programs(count - count // 2, seed):
        yield Subject("raw", ProgType.RAW_TRACEPOINT, _with_maps(insns), maps=NUMBERS, types=types)
    for made in tracing_programs(count // 2, seed, types):
        target = types.find(made.target, Func)
        yield Subject(
            f"{made.attach_type.name.lower()} {made.target}",
            ProgType.TRACING,
            _with_maps(made.insns),
            made.attach_type,
            NUMBERS,
            types,
            target=target,
            target_types=types,
        )


def _with_maps(insns: tuple[Insn, ...]) -> tuple[Insn, ...]:
    """Maps are 1, 2, 3 in the programs as they are made."""
    return tuple(
        replace(insn, imm=insn.imm + FIRST_FD - 1) if insn.is_lddw and insn.src == 1 else insn
        for insn in insns
    )


def reason(words: str) -> str:
    """Without the numbers."""
    last = words.splitlines()[-1] if words else ""
    return re.sub(r"-?\b(0x[0-9a-f]+|\d+)\b|R\d+", "N", last)


def is_for_safety(words: str) -> bool:
    """Not for the size of the kernel's own walk."""
    return _TOO_LARGE not in words


_TOO_LARGE = "BPF program is too large"


class Tally:
    """Differences by reason, with the first program of each."""

    def __init__(self) -> None:
        self.verdicts: Counter[tuple[bool, bool]] = Counter()
        self.reasons: Counter[tuple[str, str]] = Counter()
        self.first: dict[tuple[str, str], str] = {}
        self.unsafe = 0

    def add(self, subject: Subject, report: Report, words: str) -> None:
        self.verdicts[report.accepted, not words] += 1
        if report.accepted == (not words):
            return
        side = "taken here only" if report.accepted else "refused here only"
        self.unsafe += report.accepted and is_for_safety(words)
        key = (side, reason(words or report.message))
        self.reasons[key] += 1
        if key not in self.first:
            text = "\n".join(disassemble(subject.insns))
            self.first[key] = f"{subject.name}: {words or report.message} (at {report.at})\n{text}"

    def print(self, *, full: bool) -> None:
        both, only_here = self.verdicts[True, True], self.verdicts[True, False]
        only_there = self.verdicts[False, True]
        print(f"taken by both {both}, refused by both {self.verdicts[False, False]}")
        share = 100 * both / max(1, both + only_there)
        print(f"taken here only {only_here}, unsafe {self.unsafe}")
        print(f"of what the kernel takes {share:.2f} % taken here")
        for (side, words), number in self.reasons.most_common():
            print(f"{number:6} {side}: {words}")
        if full:
            for (side, _), text in self.first.items():
                print(f"\n-- {side}: {text}")


class Judge:
    """The verdicts here, of programs that are not walked too long, and those of the kernel."""

    def __init__(self, kernel: str) -> None:
        self.rules = replace(limits(kernel), max_insns=MOST_INSNS)
        self.waiting: deque[tuple[int, Subject, Report]] = deque()
        self.tally = Tally()
        self.marks = bytearray()
        self.insns = 0

    def rows(self, found: Iterable[Subject]) -> Iterator[bytes]:
        """Judge each, and give it to the kernel."""
        for number, subject in enumerate(found):
            report = verify(subject, self.rules)
            self.insns += report.insns
            self.marks += b"-"
            if report.insns < MOST_INSNS:
                self.waiting.append((number, subject, report))
                yield packed(subject, expected=report.accepted)

    def add(self, words: str) -> None:
        """What the kernel says of the next one."""
        number, subject, report = self.waiting.popleft()
        self.marks[number] = ord("0" if words else "1")
        self.tally.add(subject, report, words)


def digest(found: Iterable[Subject]) -> str:
    """Of the programs, without ids of the kernel's types."""
    whole = hashlib.sha256()
    for subject in found:
        plain = [replace(insn, imm=0) if insn.is_kfunc_call else insn for insn in subject.insns]
        whole.update(subject.name.encode() + encode(plain))
    return whole.hexdigest()[:16]


def recorded(options: argparse.Namespace, types: Types, marks: str) -> str:
    """JSON: for each program 1 if the kernel took it, 0 if not, - if it was not asked."""
    rows = [marks[at : at + 80] for at in range(0, len(marks), 80)]
    made = digest(subjects(options.count, options.seed, types))
    head = {"kernel": options.kernel, "seed": options.seed, "digest": made}
    return json.dumps({**head, "taken": rows}, indent=1) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kernel", default="7.2")
    parser.add_argument("--record", type=Path, help="write the kernel's verdicts to this file")
    parser.add_argument("--full", action="store_true", help="print a program for each reason")
    options = parser.parse_args()
    types = Types.from_bytes(guest_btf(options.kernel).read_bytes(), name="vmlinux")
    judge, started = Judge(options.kernel), monotonic()
    rows = judge.rows(subjects(options.count, options.seed, types))
    for words in exchange(rows, options.kernel, 300 + options.count / 5):
        judge.add(words)
    if judge.waiting:
        sys.exit(f"no answer for {len(judge.waiting)} programs")
    if options.record:
        options.record.write_text(recorded(options, types, judge.marks.decode()))
    judge.tally.print(full=options.full)
    asked, took = len(judge.marks) - judge.marks.count(b"-"), monotonic() - started
    print(f"{asked} programs of {options.count}; the others walk over {MOST_INSNS} insns")
    print(f"{took:.0f} s, {judge.insns:,} instructions walked here")
    return judge.tally.unsafe != 0


if __name__ == "__main__":
    sys.exit(main())
