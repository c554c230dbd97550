"""Instructions of the programs in Python of examples/ beside the same in C by clang -O2: lang.py.

Both are counted as they are loaded, against the types of one kernel (Linux 7.2); a table in
Markdown, as docs/benchmarks.md has it.
"""

from __future__ import annotations

from pathlib import Path

from fsession.btf.catalog import Types
from fsession.isa.insn import slot_count
from fsession.lang import compile_programs
from fsession.obj import compile_c, read_object
from fsession.session.python import PythonObject
from guest_btf import guest_btf

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 1.15


def counts(types: Types, name: str) -> tuple[int, int]:
    """Slots of all programs of an example: ours, clang's."""
    programs = PythonObject.open(ROOT / "examples" / f"{name}.py").programs
    ours = compile_programs(programs, lambda _: types, name).spec.programs
    source = ROOT / "bench" / "lang" / f"{name}.bpf.c"
    theirs = read_object(compile_c(source, types=types), name).programs
    return tuple(sum(slot_count(p.insns) for p in some) for some in (ours, theirs))  # type: ignore[return-value]


def main() -> None:
    types = Types.from_bytes(guest_btf("7.2").read_bytes(), name="vmlinux")
    print("| program | ours | clang -O2 | ratio |\n| --- | --- | --- | --- |")
    rows = []
    for source in sorted((ROOT / "bench" / "lang").glob("*.bpf.c")):
        name = source.name.split(".")[0]
        ours, theirs = counts(types, name)
        rows.append(ours / theirs)
        missed = "" if rows[-1] <= LIMIT else " (over the limit)"
        print(f"| {name} | {ours} | {theirs} | {rows[-1]:.2f}{missed} |", flush=True)
    print(f"\n{sum(ratio <= LIMIT for ratio in rows)} of {len(rows)} at most {LIMIT} times clang's")


if __name__ == "__main__":
    main()
