"""What LLVM says of the objects it makes is what we say: ISA v1 to v3 by llvm-objdump, and v4 by
the assembler text that a newer clang (ziglang) writes beside the object."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from fsession.isa.asm import assemble
from fsession.isa.disasm import format_insn, helper_name
from fsession.isa.insn import decode, encode, offsets

SOURCE = Path(__file__).parent / "programs.c"
FEATURES = {
    "v1": [],
    "v2": [],
    "v3": ["-DFETCHES"],
    "v4": ["-DFETCHES", "-DACQUIRE", "-DSIGNED_DIVISION"],
}
LISTED = re.compile(r"^ +(\d+):\t([0-9a-f ]{23,47})\t(.*?)(?: <[^<>]*>)?$", re.MULTILINE)

# From LLVM's syntax to the verifier's, every field kept. LLVM calls the low half of a register w
# also where the size is said by the access.
REWRITES = [
    (r"(.*(?:xchg|atomic_|load_acquire|store_release|\*\(|lock ).*)", lambda m: _wide(m[1])),
    (r"atomic_fetch_(\w+)\(\(u64", r"atomic64_fetch_\1((u64"),
    (r"(cmp)?xchg_64\((r\d+ [+-] \d+)", r"atomic64_\1xchg((u64 *)(\2)"),
    (r"(cmp)?xchg32_32\((r\d+ [+-] \d+)", r"atomic_\1xchg((u32 *)(\2)"),
    (r"\((r\d+) ([+-]) (\d+)\)", r"(\1 \2\3)"),
    (r" (-?\d+) ll$", lambda m: f" {int(m[1]) & 0xFFFF_FFFF_FFFF_FFFF:#x}"),
    (r"(if .*) (-?\d+) goto", lambda m: f"{m[1]} {int(m[2]) & 0xFFFF_FFFF:#x} goto"),
    (r"goto ([+-])", r"goto pc\1"),
    (r"r(\d+) = w(\d+)$", r"w\1 = w\2"),
    (r"call (\d+)$", lambda m: f"call {helper_name(int(m[1]))}#{m[1]}"),
]


def _wide(text: str) -> str:
    return re.sub(r"\bw(\d)", r"r\1", text)


def _verifiers(text: str) -> str:
    for pattern, new in REWRITES:
        text = re.sub(pattern, new, text)
    return text


def _called(raw: str, text: str) -> str:
    """LLVM's ``call 8`` may be a helper or a function 8 slots on: the source register says it."""
    if raw.startswith("85 10"):
        return re.sub(r"call (?:.*#)?(-?\d+)", lambda m: f"call pc{int(m[1]):+}", text)
    return text


def _code(path: Path) -> bytes:
    with path.open("rb") as file:
        return bytes(ELFFile(file).get_section_by_name(".text").data())


@pytest.mark.skipif(not shutil.which("clang"), reason="no clang")
@pytest.mark.skipif(not shutil.which("llvm-objdump"), reason="no llvm-objdump")
@pytest.mark.parametrize("cpu", ["v1", "v2", "v3"])
def test_objects_of_clang_are_listed_as_llvm_objdump_does(cpu, tmp_path):
    path = tmp_path / "programs.o"
    command = ["clang", "-target", "bpf", "-O2", f"-mcpu={cpu}", *FEATURES[cpu]]
    subprocess.run([*command, "-c", SOURCE, "-o", path], check=True)
    show = ["llvm-objdump", "-d", "--mattr=+alu32", path]
    listing = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    theirs = {int(at): _called(raw, _verifiers(text)) for at, raw, text in LISTED.findall(listing)}
    insns = decode(_code(path))
    ours = {at: format_insn(insn) for at, insn in zip(offsets(insns), insns, strict=False)}
    assert len(ours) > 150
    assert ours == theirs


@pytest.fixture(scope="module")
def modern(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """Assembler text and code of the programs, compiled for ISA v4."""
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("no ziglang")
    folder = tmp_path_factory.mktemp("v4")
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "bpfel-freestanding", "-O2"]
    command += ["-mcpu=v4", *FEATURES["v4"], str(SOURCE)]
    for flag, name in (("-S", "programs.s"), ("-c", "programs.o")):
        done = [*command, flag, "-o", str(folder / name)]
        subprocess.run(done, check=True, capture_output=True)
    return (folder / "programs.s").read_text(), _code(folder / "programs.o")


@pytest.mark.slow
def test_the_text_of_a_newer_clang_assembles_to_its_object(modern):
    text, code = modern
    lines = [line.split("#")[0].rstrip() for line in text.splitlines()]
    ours = [_verifiers(line) for line in lines if line and not line.lstrip().startswith(".")]
    insns = assemble("\n".join(ours))
    assert len(insns) > 150
    assert encode(insns) == code
    for word in ("s/=", "(s32)", "(s8)", "*(s16 *)", "bswap64", "load_acquire", "store_release"):
        assert any(word in format_insn(insn) for insn in insns), word
