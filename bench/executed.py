"""How many BPF instructions programs execute in one run, exactly: executed.py OBJECTS, in a guest.

Each basic block of a program gets three instructions that add its length to a counter on the
stack, and each way out those that add the counter to a map; they are not counted themselves.
Ours and clang's programs are attached together, so that both see the same calls. Prints JSON:
the runs and the executed instructions of both, of each example.
"""

from __future__ import annotations

import importlib.util
import json
import socket
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fsession import Object
from fsession.errors import FsessionError
from fsession.isa.cfg import blocks, subprograms
from fsession.isa.edit import Edit
from fsession.isa.insn import InsnOff, alu, atomic, lddw, ldx, offsets, st, stx
from fsession.isa.opcode import R0, R1, R2, R3, R4, R5, R10, Alu, Atomic, Class, Mode, Size, Source
from fsession.kernel import KernelHost
from fsession.obj import read_object
from fsession.session.python import PythonObject
from fsession.spec import MapSpec, MapValueRef
from fsession.uapi import MapType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsession.isa.insn import Insn
    from fsession.spec import ObjectSpec, ProgramSpec

EXAMPLES = Path("/root/examples")
BLOCK_DEVICE = Path("/dev/nullb0")
COUNTER = "executed"
ARGUMENTS = frozenset({R1, R2, R3, R4, R5})
REPEAT = 5


def counted(spec: ObjectSpec) -> ObjectSpec:
    """The same programs, which count what they execute in the map `COUNTER`."""
    counter = MapSpec(COUNTER, MapType.ARRAY, 4, 16, 1)
    programs = tuple(_counted_program(program) for program in spec.programs)
    return replace(spec, programs=programs, maps=(*spec.maps, counter))


def _counted_program(spec: ProgramSpec) -> ProgramSpec:
    insns = dict(zip(offsets(spec.insns), spec.insns, strict=False))
    edit, live = Edit(spec.insns), _live(insns)
    marks = []
    for number, (first, behind) in enumerate(subprograms(spec.insns)):
        place = _below_stack([insn for at, insn in insns.items() if first <= at < behind])
        edit.insert(first, st(Size.DW, R10, place, 0), jumps="behind")
        for start, block in blocks(spec.insns).items():
            if first <= start < behind:
                count = sum(block.start <= at < block.end for at in insns)
                free = next(reg for reg in range(10) if reg not in live[start])
                edit.insert(
                    start,
                    ldx(Size.DW, free, R10, place),
                    alu(Alu.ADD, free, imm=count),
                    stx(Size.DW, R10, free, place),
                )
        for at, insn in insns.items():
            if first <= at < behind and insn.is_exit:
                edit.insert(at, *_leave(place, is_main=not number))
                marks.append(at)
    edited = edit.apply()
    length = len(_leave(0, is_main=True)) + 1
    relocs = [replace(reloc, at=edited.at[reloc.at]) for reloc in spec.relocs]
    for at in marks:
        back = length if at < subprograms(spec.insns)[0][1] else length - 2
        relocs.append(MapValueRef(InsnOff(edited.at[at] - back), COUNTER, 0))
    return replace(
        spec, insns=edited.insns, relocs=tuple(relocs), lines=(),
        funcs=tuple(replace(info, at=edited.start[info.at]) for info in spec.funcs),
    )  # fmt: skip


def _leave(place: int, *, is_main: bool) -> list[Insn]:
    insns = [
        lddw(R1, 0),
        ldx(Size.DW, R2, R10, place),
        atomic(Atomic.ADD, Size.DW, R1, R2, 0),
    ]
    if is_main:
        insns += [alu(Alu.MOV, R2, imm=1), atomic(Atomic.ADD, Size.DW, R1, R2, 8)]
    return insns


def _below_stack(insns: list[Insn]) -> int:
    """A word below all that a function keeps on its stack."""
    direct = [insn.off for insn in insns if R10 in (insn.src, insn.dst) and insn.off < 0]
    made = [insn.imm for insn in insns if insn.opcode == Class.ALU64 | Alu.ADD and insn.imm < 0]
    lowest = min([*direct, *(imm for imm in made if imm >= -512)], default=0)
    return (lowest // 8) * 8 - 8


def _live(insns: dict[InsnOff, Insn]) -> dict[InsnOff, frozenset[int]]:
    """Registers whose value is still needed, at the start of each block."""
    table = blocks(tuple(insns.values()))
    live: dict[InsnOff, frozenset[int]] = dict.fromkeys(table, frozenset())
    changed = True
    while changed:
        changed = False
        for start, block in reversed(table.items()):
            now: set[int] = set().union(*(live[other] for other in block.successors))
            for at in sorted((at for at in insns if block.start <= at < block.end), reverse=True):
                uses, defs = _effect(insns[at])
                now = (now - defs) | uses
            changed |= frozenset(now) != live[start]
            live[start] = frozenset(now)
    return live


def _effect(insn: Insn) -> tuple[frozenset[int] | set[int], frozenset[int] | set[int]]:
    """Registers that are read, and written."""
    by_register = {insn.src} if insn.opcode & Source.X else set[int]()
    if insn.is_exit:
        return {R0}, set()
    if insn.is_call:
        return ARGUMENTS, {R0, *ARGUMENTS}
    match insn.cls:
        case Class.ALU | Class.ALU64:
            is_move = insn.opcode & 0xF0 == Alu.MOV
            return by_register | (set() if is_move else {insn.dst}), {insn.dst}
        case Class.LD:
            return set(), {insn.dst}
        case Class.LDX:
            return {insn.src}, {insn.dst}
        case Class.ST:
            return {insn.dst}, set()
        case Class.STX:
            fetches = insn.opcode & 0xE0 == Mode.ATOMIC and insn.imm & 1
            return {insn.dst, insn.src, R0} if fetches else {insn.dst, insn.src}, set()
    return (by_register | {insn.dst} if insn.is_jump else by_register), set()


@contextmanager
def attached(host: KernelHost, spec: ObjectSpec) -> Iterator[Object]:
    with Object(counted(spec)) as obj:
        obj.load(host)
        with obj.attach():
            yield obj


def figures(obj: Object) -> tuple[int, int]:
    """Runs, and executed instructions."""
    executed, runs = struct.unpack("<2Q", obj.maps[COUNTER].raw.lookup(bytes(4)) or bytes(16))
    return runs, executed


def retransmit() -> None:
    """A connection that nobody answers."""
    route = ["ip", "route", "replace", "10.0.0.0/8", "dev", "lo"]
    subprocess.run(route, check=True)
    with socket.socket() as client:
        client.setblocking(False)
        client.connect_ex(("10.1.2.3", 9))
        time.sleep(1.5)


def cache_pages() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "ramfs", "none", folder], check=True)
        file = Path(folder) / "file"
        file.write_bytes(bytes(1 << 18))
        file.read_bytes()
        subprocess.run(["umount", folder], check=True)


def read_blocks() -> None:
    """Of a block device that has no disk behind it."""
    subprocess.run(["modprobe", "null_blk"], check=True)
    with BLOCK_DEVICE.open("rb", buffering=0) as device:
        device.read(1 << 16)


def main() -> None:
    (folder,) = sys.argv[1:]
    tests = importlib.util.spec_from_file_location("it", "/root/tests/kernel/test_examples.py")
    assert tests is not None
    assert tests.loader is not None
    module = importlib.util.module_from_spec(tests)
    tests.loader.exec_module(module)
    workloads = {
        **module.WORKLOADS, "retransmits": retransmit, "page_cache": cache_pages,
        "block_latency": read_blocks,
    }  # fmt: skip
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    found = {}
    with KernelHost() as host:
        for name, workload in workloads.items():
            ours = PythonObject.open(EXAMPLES / f"{name}.py").compile(host).spec
            theirs = read_object((Path(folder) / f"{name}.bpf.o").read_bytes(), name)
            try:
                with ExitStack() as stack:
                    objects = [stack.enter_context(attached(host, s)) for s in (ours, theirs)]
                    before = [figures(obj) for obj in objects]
                    for _ in range(1 if name == "retransmits" else REPEAT):
                        workload()
                    after = [figures(obj) for obj in objects]
                    found[name] = [
                        (runs - first[0], executed - first[1])
                        for (runs, executed), first in zip(after, before, strict=True)
                    ]
            except FsessionError as error:
                sys.stderr.write(f"{name}: {error}\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
