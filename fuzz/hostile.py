"""Programs that are hard on a verifier, and what they cost: hostile.py [NAME…] [--insns 1000000].

Prints for each one line of JSON: the verdict, instructions walked, seconds of the processor, the
most memory in MiB. Each runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

from fsession.isa.asm import assemble
from fsession.isa.insn import Insn, alu, decode, encode, exit_
from fsession.isa.opcode import Alu
from fsession.uapi import ProgType
from fsession.verify import Subject, verify
from fsession.verify.limits import NEWEST, limits

if TYPE_CHECKING:
    from collections.abc import Callable

_START = "r6 = *(u64 *)(r1 +0)\nr7 = 0\n"
_END = "r0 = 0\nexit\n"


def branches(count: int) -> str:
    """Each bit of a number adds another one to a sum whose value counts: 2 to the `count` ways."""
    parts = [_START]
    for bit in range(count):
        parts.append(f"r8 = r6\nr8 &= {1 << bit % 30}\nif r8 == 0 goto l{bit}\n")
        parts.append(f"r7 += {1 << bit % 20}\nl{bit}:\n")
    parts.append("if r7 > 100000000 goto bad\n" + _END)
    return "".join(parts) + "bad:\nr0 = r10\nr0 += r7\nr1 = *(u8 *)(r0 -1)\n" + _END


def slots(count: int) -> str:
    """As many ways through a stack that is full of numbers."""
    parts = [_START]
    for step in range(count):
        first, second = 8 * (step % 60 + 1), 8 * (step * 7 % 60 + 1)
        parts.append(f"r8 = r6\nr8 >>= {step % 60}\nr8 &= 1\n*(u64 *)(r10 -{first}) = r8\n")
        parts.append(f"if r8 == 0 goto l{step}\n*(u64 *)(r10 -{second}) = {step}\nl{step}:\n")
    parts += [f"r1 = *(u64 *)(r10 -{8 * (slot + 1)})\nr7 += r1\n" for slot in range(60)]
    return "".join(parts) + "r7 &= 255\nr1 = r10\nr1 += r7\nr1 = *(u8 *)(r1 -300)\n" + _END


def loops() -> str:
    """Three loops of a thousand rounds in each other."""
    inner = "c:\nr8 += 1\nif r8 < 1000 goto c\n"
    middle = f"b:\nr8 = 0\n{inner}r7 += 1\nif r7 < 1000 goto b\n"
    return f"{_START}r6 = 0\na:\nr7 = 0\n{middle}r6 += 1\nif r6 < 1000 goto a\n{_END}"


def functions() -> str:
    """Functions that call each other, eight times each and six deep."""
    parts = ["call f0\n" + _END]
    parts += [f"f{depth}:\n" + f"call f{depth + 1}\n" * 8 + "exit\n" for depth in range(6)]
    last = "f6:\ncall bpf_get_prandom_u32#7\nif r0 > 5 goto k\nr0 = 1\nk:\nexit\n"
    return "".join(parts) + last


def waiting(count: int) -> str:
    """Many ways out of straight code, none of which is walked before its end."""
    tests = "".join(f"r6 += 3\nif r6 == {number} goto out\n" for number in range(count))
    return f"{_START}{tests}out:\n{_END}"


def straight(count: int) -> tuple[Insn, ...]:
    ends = (alu(Alu.MOV, 0, imm=0), exit_())
    made = (alu(Alu.MOV, 0, imm=0), *(alu(Alu.ADD, 0, imm=1),) * (count - 4), *ends)
    return decode(encode(made))


PROGRAMS: dict[str, Callable[[int], tuple[Insn, ...]]] = {
    "branches": lambda most: assemble(branches(40)),
    "slots": lambda most: assemble(slots(200)),
    "loops": lambda most: assemble(loops()),
    "functions": lambda most: assemble(functions()),
    "waiting": lambda most: assemble(waiting(9000)),
    "straight": straight,
    "straight, a quarter": lambda most: straight(most // 4),
}


def measure(name: str, most: int) -> dict[str, object]:
    insns = tuple(PROGRAMS[name](most))
    rules = replace(limits(NEWEST), max_insns=most)
    started = process_time()
    report = verify(Subject(name, ProgType.RAW_TRACEPOINT, insns), rules)
    took = process_time() - started
    return {
        "name": name,
        "accepted": report.accepted,
        "message": report.message,
        "insns": report.insns,
        "seconds": round(took, 2),
        "mib": _peak_kib() // 1024,
    }


def _peak_kib() -> int:
    """Of this program: ``ru_maxrss`` has that of the process that started it, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(PROGRAMS))
    parser.add_argument("--insns", type=int, default=1_000_000)
    options = parser.parse_args()
    if len(options.names) == 1:
        print(json.dumps(measure(options.names[0], options.insns)))
        return
    for name in options.names:
        command = [sys.executable, __file__, name, "--insns", str(options.insns)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
