"""The test programs compiled by each compiler, with libbpf's headers and with our own."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import which

import pytest

from fsession.obj import compile_c

HERE = Path(__file__).parent
TYPES = HERE.parent / "kernel" / "include"
OURS = HERE.parent.parent / "src" / "fsession" / "include"
ZIG = (sys.executable, "-m", "ziglang", "cc", "-target", "bpfel-freestanding")


@dataclass(frozen=True)
class Toolchain:
    """A compiler, and headers: ours, or None for libbpf's."""

    name: str
    compiler: tuple[str, ...]
    headers: Path | None


TOOLCHAINS = (
    Toolchain("clang-ours", ("clang", "-target", "bpf"), OURS),
    Toolchain("clang-libbpf", ("clang", "-target", "bpf"), None),
    Toolchain("zig-ours", ZIG, OURS),
)


@cache
def compiled(program: str, toolchain: str = "clang-ours") -> bytes:
    """The object of ``program.bpf.c``; skips where the compiler or the headers are missing."""
    chain = next(chain for chain in TOOLCHAINS if chain.name == toolchain)
    if not which(chain.compiler[0]):
        pytest.skip(f"no {chain.compiler[0]}")
    if chain.headers is None and not Path("/usr/include/bpf/bpf_helpers.h").exists():
        pytest.skip("no libbpf-dev")
    return compile_c(
        HERE / f"{program}.bpf.c",
        include_dirs=[TYPES],
        compiler=chain.compiler,
        headers=chain.headers,
    )
