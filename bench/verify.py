"""The verifier beside the kernel's: verify.py [--kernel 7.2]. Instructions walked, and how fast.

Each program of `examples/` and tests/verify/globals.bpf.c is judged in a guest by both (the counts
must be within 20 % of each other, the verdicts the same); the speed is that of this machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from time import process_time

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fuzz"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
from hostile import straight

from fsession.btf.catalog import Types
from fsession.guest import capture
from fsession.obj import compile_c
from fsession.uapi import ProgType
from fsession.verify import Subject, verify
from guest_btf import guest_btf

ROOT = Path(__file__).resolve().parent.parent
SOURCES = (*sorted((ROOT / "examples").glob("*.bpf.c")), ROOT / "tests/verify/globals.bpf.c")
MOST_OFF = 0.2
LEAST_PER_S = 30_000
SIZES = (10_000, 100_000)


def in_guest(kernel: str) -> list[dict[str, object]]:
    """What `fsession verify --against kernel` says there of each program."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        types = Types.from_bytes(guest_btf(kernel).read_bytes(), name="vmlinux")
        for source in SOURCES:
            made = folder / f"{source.name.removesuffix('.bpf.c')}.bpf.o"
            made.write_bytes(compile_c(source, types=types))
        for source in (ROOT / "examples").glob("*.py"):
            (folder / source.name).write_text(source.read_text())
        asked = f"verify --kernel {kernel} --against kernel --format json"
        command = f"for file in /root/p/*; do python3 -m fsession {asked} $file; done; true"
        done = capture(
            ["sh", "-c", command],
            kernel=kernel,
            arch="x86_64",
            copies={str(folder): "/root/p"},
            timeout_s=200,
        )
    rows = [json.loads(line) for line in done.stdout.decode().splitlines() if line[:1] == "{"]
    if not rows:
        sys.exit(done.stderr.decode())
    return rows


def _row(row: dict[str, object]) -> bool:
    """Print a program's line; whether it is as it should be."""
    theirs = row["kernel"]
    assert isinstance(theirs, dict)
    ours, count = int(str(row["insns"])), theirs["insns"]
    same = row["accepted"] == theirs["accepted"]
    near = not count or abs(ours - count) <= max(MOST_OFF * count, 1)
    words = "" if same and near else "MISSED"
    verdict = "accepted" if row["accepted"] else "refused"
    print(f"{row['program']!s:<28} {verdict:<9} {ours:>7} {count:>7}  {words}")
    if not same:
        print(f"    here: {row['message']}\n    kernel: {theirs['message']}")
    return same and near


def _speed() -> bool:
    """Straight code of two sizes: instructions a second, and that the time grows as the size."""
    rates = []
    for size in SIZES:
        insns = straight(size)
        started = process_time()
        verify(Subject("straight", ProgType.RAW_TRACEPOINT, insns))
        rates.append(size / (process_time() - started))
        print(f"{size:>7} instructions of straight code: {rates[-1]:,.0f} a second")
    return min(rates) >= LEAST_PER_S


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", default="7.2")
    options = parser.parse_args()
    print(f"{'program':<28} {'verdict':<9} {'here':>7} {options.kernel:>7}")
    good = [_row(row) for row in in_guest(options.kernel)]
    good.append(_speed())
    return not all(good)


if __name__ == "__main__":
    sys.exit(main())
