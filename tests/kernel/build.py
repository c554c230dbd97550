"""Compile the programs of the kernel suite on the host: guests have no compiler.

    python tests/kernel/build.py --btf VMLINUX_BTF --out FOLDER

FOLDER gets ``NAME.bpf.o`` of this folder's programs, which bring their own ``vmlinux.h``, and
below ``examples`` and, where ``../shared/cases`` is beside the checkout, ``cases`` the programs
that are written against a whole one, made from VMLINUX_BTF. One object serves all kernels and
both architectures: it fits itself to the types it meets (CO-RE) and names no register.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.btf.catalog import Types
from fsession.obj import compile_c

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
WHOLE = {"examples": ROOT / "examples", "cases": ROOT.parent / "shared" / "cases"}


def build(out: Path, types: Types) -> Iterator[Path]:
    """Compile all programs below `out`; each object as it is made."""
    for source in sorted(HERE.glob("*.bpf.c")):
        yield _write(out, source, compile_c(source, include_dirs=[HERE / "include"]))
    for name, folder in WHOLE.items():
        for source in sorted(folder.glob("*.bpf.c")):
            yield _write(out / name, source, compile_c(source, types=types, cache_dir=out))


def _write(folder: Path, source: Path, data: bytes) -> Path:
    target = folder / source.with_suffix(".o").name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--btf", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    types = Types.from_bytes(arguments.btf.read_bytes(), name="vmlinux")
    for path in build(arguments.out, types):
        print(path)


if __name__ == "__main__":
    main()
