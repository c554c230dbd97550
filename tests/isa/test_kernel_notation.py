"""Our texts are those that the running kernel and bpftool print for the same instructions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from fsession.isa.asm import assemble
from fsession.isa.disasm import disassemble, xlated
from fsession.isa.insn import Insn, decode, offsets
from fsession.isa.notation import Rule, rules
from fsession.isa.opcode import Class, Pseudo

from . import bpf

pytestmark = pytest.mark.kernel

LOGGED = re.compile(r"^(\d+): \(([0-9a-f]{2})\) (.*?)\s*(?:;.*)?$", re.MULTILINE)
BASES = {Class.LDX: {"src": 10}, Class.ST: {"dst": 10}, Class.STX: {"dst": 10}}
BEFORE = assemble("r0 = 1\nr1 = r6\nr2 = 7\nr3 = 3\n*(u64 *)(r10 -8) = 0")
SKIPPED = ("gotox", "call", "exit", "addr_space_cast")  # 6.19; each has its own test

LATER = {  # what older kernels lack: all of a line, or nothing
    "Linux 6.6": ("s/=", "s%=", "(s8)", "(s16)", "(s32)", "*(s", "bswap", "gotol"),
    "Linux 6.9": ("may_goto",),
    "Linux 6.15": ("load_acquire", "store_release"),
}


def _logged(insns: tuple[Insn, ...]) -> dict[int, str]:
    """What the verifier's log says of each slot of a program that must load."""
    fd, log = bpf.load(insns)
    assert fd >= 0, log[-2000:]
    os.close(fd)
    return {int(at): f"({opcode}) {text}" for at, opcode, text in LOGGED.findall(log)}


def _ours(insns: tuple[Insn, ...]) -> dict[int, str]:
    lines = disassemble(insns)
    return {at: line.split(": ", 1)[1] for at, line in zip(offsets(insns), lines, strict=False)}


def _example(rule: Rule) -> Insn:
    """An instruction of a rule that the verifier takes between `BEFORE` and ``r0 = 0; exit``."""
    cls = rule.opcode & 7
    regs = {"dst": 2, "src": 3} | BASES.get(Class(cls), {})
    if "load_acquire" in rule.template:
        regs = {"dst": 2, "src": 10}
    jumps = cls in (Class.JMP, Class.JMP32)
    return Insn(
        rule.opcode,
        regs["dst"] if rule.dst is None else rule.dst,
        regs["src"] if rule.src is None else rule.src,
        (0 if jumps else -8) if rule.off is None else rule.off,
        (0 if "goto" in rule.template and "u32" not in rule.template else 5) & ~rule.hidden
        | rule.imm,
    )


def _rules() -> list[Rule]:
    every = [rule for group in rules().values() for rule in group]
    return [
        rule
        for rule in every
        if not any(word in rule.template for word in SKIPPED)
        and (rule.opcode != 0x18 or rule.src == Pseudo.NONE)
    ]


def _program(wanted: list[Rule]) -> tuple[Insn, ...]:
    middle = [insn for rule in wanted for insn in (*BEFORE, _example(rule))]
    return (*assemble("r6 = r1"), *middle, *assemble("r0 = 0\nexit"))


def _loads(wanted: list[Rule]) -> bool:
    fd, _ = bpf.load(_program(wanted))
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def test_every_instruction_is_logged_as_we_write_it():
    left = _rules()
    for since, words in LATER.items():
        later = [rule for rule in left if any(word in rule.template for word in words)]
        assert later, f"no instruction of {since}"
        if not any(_loads([rule]) for rule in later):
            left = [rule for rule in left if rule not in later]
    program = _program(left)
    assert _logged(program) == _ours(program)


NEGATIVE = """
    r0 = -2147483648
    w0 = -7
    r1 = 0xffffffffffffffff
    r2 = 0x8000000000000000
    *(u64 *)(r10 -512) = -1
    *(u8 *)(r10 -1) = -1
    r3 = *(s8 *)(r10 -1)
    if r0 s< -5 goto pc+0
    if w0 == -1 goto pc+1
    goto pc+1
    goto pc-2
    r4 = r10
    r4 += -8
    *(u64 *)(r4 +0) = -8
    call bpf_ktime_get_ns
    call bpf_get_smp_processor_id
    r0 = 0
    exit
"""


def test_negative_numbers_and_helpers():
    program = assemble(NEGATIVE)
    ours = _ours(program)
    logged = _logged(program)
    assert {at: text for at, text in ours.items() if at in logged} == logged
    assert len(logged) >= len(ours) - 1


def test_a_local_call_and_a_return():
    program = assemble("call f\nr0 = 0\nexit\nf: r0 = 1\nexit")
    assert _logged(program) == _ours(program)


def _arena() -> int:
    try:
        return bpf.create_map(bpf.ARENA, 0, 0, 1, bpf.MMAPABLE, extra=1 << 44)
    except OSError as error:
        pytest.skip(f"no arena maps (Linux 6.9): {error}")


def test_address_space_casts():
    fd = _arena()
    casts = "r3 = 16\nr2 = addr_space_cast(r3, 0, 1)\nr4 = addr_space_cast(r2, 1, 0)"
    program = assemble(f"r1 = map[fd:{fd}]\n{casts}\nr0 = 0\nexit")
    logged = _logged(program)
    os.close(fd)
    assert logged == _ours(program) | {0: logged[0]}  # the log has the map's address


LISTED = """
    r6 = r1
    r1 = map[fd:{map}]
    r2 = map[fd:{map}][0]+4
    r3 = *(u32 *)(r2 +0)
    *(u64 *)(r10 -8) = 0
    r2 = r10
    r2 += -8
    call bpf_map_lookup_elem
    if r0 == 0 goto out
    r1 = r0
    call f
    lock *(u32 *)(r10 -8) += r0
    r3 = 0x1122334455667788
    w3 s>>= 3
    r0 = be32 r0
out:
    r0 = 0
    exit
f:  r0 = *(u32 *)(r1 +0)
    if w0 s> 5 goto big
    r0 = -r0
big:
    exit
"""


@pytest.mark.skipif(not shutil.which("bpftool"), reason="no bpftool")
def test_xlated_is_listed_as_bpftool_does():
    array = bpf.create_map(bpf.ARRAY, 4, 8, 1)
    program = assemble(LISTED.format(map=array))
    fd, log = bpf.load(program)
    assert fd >= 0, log
    number, code = bpf.info(fd)
    command = ["bpftool", "prog", "dump", "xlated", "id", str(number)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    os.close(fd)
    os.close(array)
    theirs = [_no_address(line) for line in listing.splitlines() if re.match(r" *\d+: ", line)]
    ours = [_no_address(line) for line in disassemble(decode(code), xlated)]
    assert len(theirs) > 20
    assert ours == theirs


def _no_address(line: str) -> str:
    """A line without what only the kernel's symbols say: names and addresses of functions."""
    line = re.sub(r"(call pc\S*?)#.*", r"\1", line)
    return re.sub(r"call (?!pc).*", "call", line)
