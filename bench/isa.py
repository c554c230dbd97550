"""How long the passes over a program of 10,000 instructions take: CPU time, the best of five."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fsession.isa.asm import assemble
from fsession.isa.cfg import blocks, subprograms
from fsession.isa.dataflow import context_pointers
from fsession.isa.disasm import disassemble
from fsession.isa.edit import Edit
from fsession.isa.insn import InsnOff, decode, encode, ja

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.isa.insn import Insn

BODY = """
    r6 = r1
    *(u64 *)(r10 -8) = r6
    r1 = *(u64 *)(r6 +8)
    r2 = r10
    r2 += -8
    call bpf_map_lookup_elem
    if r0 == 0 goto +2
    r1 = r0
    r1 += 8
    r6 = *(u64 *)(r10 -8)
"""


def best_ms(run: Callable[[], object]) -> float:
    """CPU time of a run in milliseconds."""
    times = []
    for _ in range(5):
        start = time.process_time_ns()
        run()
        times.append(time.process_time_ns() - start)
    return min(times) / 1e6


def edited(program: tuple[Insn, ...]) -> object:
    """The program with an instruction put before every tenth."""
    edit = Edit(program)
    for at in range(0, 10_000, 10):
        edit.insert(InsnOff(at), ja(0))
    return edit.apply()


def main() -> None:
    program = (*assemble(BODY) * 1000, *assemble("r0 = 0\nexit"))
    code, text = encode(program), "\n".join(disassemble(program))
    passes = {
        "encode": lambda: encode(program),
        "decode": lambda: decode(code),
        "disassemble": lambda: list(disassemble(program)),
        "assemble": lambda: assemble(text),
        "subprograms": lambda: subprograms(program),
        "blocks": lambda: blocks(program),
        "context_pointers": lambda: context_pointers(program),
        "edit, 1000 insertions": lambda: edited(program),
    }
    for name, run in passes.items():
        print(f"{name:24}{best_ms(run):8.1f} ms")


if __name__ == "__main__":
    main()
