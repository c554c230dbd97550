"""Instructions of the programs in Python of examples/ beside the same in C by clang -O2: lang.py.

Both are counted as they are loaded, against the types of one kernel (Linux 7.2), and as they are
executed in a guest, by `executed.py`; a table in Markdown, as docs/benchmarks.md has it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from fsession.btf.catalog import Types
from fsession.guest import StderrProgress, capture
from fsession.isa.insn import slot_count
from fsession.lang import compile_programs
from fsession.obj import compile_c, read_object
from fsession.session.python import PythonObject
from guest_btf import guest_btf

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "bench" / "lang").glob("*.bpf.c"))
LIMIT, EXECUTED_LIMIT = 1.15, 1.1


def counts(types: Types, name: str) -> tuple[int, int]:
    """Slots of all programs of an example: ours, clang's."""
    programs = PythonObject.open(ROOT / "examples" / f"{name}.py").programs
    ours = compile_programs(programs, lambda _: types, name).spec.programs
    source = ROOT / "bench" / "lang" / f"{name}.bpf.c"
    theirs = read_object(compile_c(source, types=types), name).programs
    return tuple(sum(slot_count(p.insns) for p in some) for some in (ours, theirs))  # type: ignore[return-value]


def executed(types: Types, kernel: str) -> dict[str, list[tuple[int, int]]]:
    """Of each example what `executed.py` counts in a guest: (runs, instructions) of both."""
    with tempfile.TemporaryDirectory() as folder:
        for source in SOURCES:
            compiled = compile_c(source, types=types)
            (Path(folder) / f"{source.name.split('.')[0]}.bpf.o").write_bytes(compiled)
        copies = {
            folder: "/root/objects", str(ROOT / "bench"): "/root/bench",
            str(ROOT / "examples"): "/root/examples",
            str(ROOT / "tests" / "kernel"): "/root/tests/kernel",
        }  # fmt: skip
        done = capture(
            ["python3", "/root/bench/executed.py", "/root/objects"], kernel=kernel, arch="x86_64",
            timeout_s=300, copies=copies, progress=StderrProgress(),
        )  # fmt: skip
    sys.stderr.write(done.stderr.decode())
    if done.status:
        raise SystemExit(f"bench: executed.py ended with status {done.status}")
    sys.stderr.write(f"runs: {done.stdout.decode().splitlines()[-1]}\n")
    found: dict[str, list[tuple[int, int]]] = json.loads(done.stdout.decode().splitlines()[-1])
    return found


def row(name: str, types: Types, runs: list[tuple[int, int]]) -> tuple[str, bool]:
    """A line of the table, and whether it is within the limits."""
    ours, theirs = counts(types, name)
    cells = [name, str(ours), str(theirs), f"{ours / theirs:.2f}"]
    met = ours / theirs <= LIMIT
    if not runs or not runs[0][0] or not runs[1][0]:
        return f"| {' | '.join([*cells, '', '', 'no run'])} |", met
    mine, other = (executed / count for count, executed in runs)
    cells += [f"{mine:.1f}", f"{other:.1f}", f"{mine / other:.2f}"]
    return f"| {' | '.join(cells)} |", met and mine / other <= EXECUTED_LIMIT


def main() -> None:
    types = Types.from_bytes(guest_btf("7.2").read_bytes(), name="vmlinux")
    runs = executed(types, "7.2")
    print("| program | ours | clang -O2 | ratio | ours, executed | clang's | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    names = [source.name.split(".")[0] for source in SOURCES]
    rows = [row(name, types, runs.get(name, [])) for name in names]
    for text, _ in rows:
        print(text)
    limits = f"{LIMIT} times clang's, and {EXECUTED_LIMIT} times executed"
    print(f"\n{sum(met for _, met in rows)} of {len(rows)} at most {limits}")


if __name__ == "__main__":
    main()
