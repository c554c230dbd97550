"""Writes ``corpus/table-*.test``: each kind of register with each thing that is done with one.

What comes of each is not written here: kernels say it (``confirmed.json``).
"""

from __future__ import annotations

from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"

_LOOKUP = """*(u64 *)(r10 -8) = 7
r2 = r10
r2 += -8
r1 = map[fd:1]
call bpf_map_lookup_elem#1
"""
_RESERVE = """r1 = map[fd:3]
r2 = 16
r3 = 0
call bpf_ringbuf_reserve#131
"""
_SUBMIT = """r1 = r6
r2 = 0
call bpf_ringbuf_submit#132
"""

# Kind: section, what puts one into r6 (the context stays in r8), what is done at the end.
KINDS = {
    "number": ("", "r6 = *(u64 *)(r8 +0)\n", ""),
    "context": ("", "r6 = r8\n", ""),
    "stack": ("", "*(u64 *)(r10 -16) = 1\n*(u64 *)(r10 -8) = 2\nr6 = r10\nr6 += -16\n", ""),
    "map": ("", "r6 = map[fd:1]\n", ""),
    "value": ("", _LOOKUP + "if r0 == 0 goto out\nr6 = r0\n", ""),
    "value or null": ("", _LOOKUP + "r6 = r0\n", ""),
    "record": ("", _RESERVE + "if r0 == 0 goto out\nr6 = r0\n", _SUBMIT),
    "struct": ("fentry/bpf_fentry_test7", "r6 = *(u64 *)(r8 +0)\n", ""),
    "task": ("", "call bpf_get_current_task_btf#158\nr6 = r0\n", ""),
    "nothing": ("", "", ""),
}

# What is done with r7, which is a copy of r6.
ACTIONS = {
    "add 8": "r7 += 8",
    "subtract 8": "r7 -= 8",
    "add a number": "r2 = *(u64 *)(r8 +0)\nr7 += r2",
    "add a small number": "r2 = *(u64 *)(r8 +0)\nr2 &= 7\nr7 += r2",
    "add to a small number": "r2 = *(u64 *)(r8 +0)\nr2 &= 7\nr2 += r7",
    "subtract from a number": "r2 = 8\nr2 -= r7",
    "subtract itself": "r7 -= r6",
    "multiply": "r7 *= 2",
    "divide": "r7 /= 2",
    "and": "r7 &= 255",
    "or": "r7 |= 1",
    "xor itself": "r7 ^= r6",
    "shift": "r7 <<= 3",
    "shift by 64": ".insn 0x67, r7, r0, 0, 64",
    "negate": "r7 = -r7",
    "swap bytes": "r7 = be32 r7",
    "add in 32 bits": "w7 += 8",
    "subtract in 32 bits": "w7 -= 8",
    "move in 32 bits": "w7 = w7",
    "extend the sign": "r7 = (s32)r7",
    "add too much": "r7 += 536870912",
    "read 8": "r2 = *(u64 *)(r7 +0)",
    "read 4 signed": "r2 = *(s32 *)(r7 +4)",
    "read 1": "r2 = *(u8 *)(r7 +3)",
    "read far": "r2 = *(u64 *)(r7 +4096)",
    "read before": "r2 = *(u64 *)(r7 -24)",
    "read misaligned": "r2 = *(u32 *)(r7 +1)",
    "read at a small number": "r2 = *(u64 *)(r8 +0)\nr2 &= 7\nr7 += r2\nr2 = *(u8 *)(r7 +0)",
    "write 8": "*(u64 *)(r7 +0) = r8",
    "write 4": "r2 = 5\n*(u32 *)(r7 +4) = r2",
    "write a constant": "*(u8 *)(r7 +0) = 1",
    "write far": "*(u64 *)(r7 +48) = 0",
    "write half a pointer": "*(u32 *)(r7 +0) = r8",
    "atomic add": "r2 = 1\nlock *(u64 *)(r7 +0) += r2",
    "atomic fetch": "r2 = 1\nr2 = atomic_fetch_add((u32 *)(r7 +0), r2)",
    "compare and exchange": "r0 = 1\nr2 = 2\nr0 = atomic64_cmpxchg((u64 *)(r7 +0), r0, r2)",
    "compare with 0": "if r7 == 0 goto out2",
    "compare with 0, then read": "if r7 == 0 goto out2\nr2 = *(u64 *)(r7 +0)",
    "compare with 5": "if r7 > 5 goto out2",
    "compare in 32 bits": "if w7 == 0 goto out2",
    "compare with itself": "if r7 == r6 goto out2",
    "test a bit": "if r7 & 1 goto out2",
    "spill and fill": "*(u64 *)(r10 -40) = r7\nr2 = *(u64 *)(r10 -40)\nr2 += 0",
    "spill, fill half": "*(u64 *)(r10 -40) = r7\nr2 = *(u32 *)(r10 -40)",
    "spill half": "*(u32 *)(r10 -40) = r7",
    "spill, overwrite a byte, fill": (
        "*(u64 *)(r10 -40) = r7\n*(u8 *)(r10 -40) = 1\nr2 = *(u64 *)(r10 -40)\nr2 += 1"
    ),
    "as destination of a read": "r1 = r7\nr2 = 8\nr3 = 0\ncall bpf_probe_read_kernel#113",
    "as destination of too long a read": "r1 = r7\nr2 = 64\nr3 = 0\ncall bpf_probe_read_kernel#113",
    "as source of a read": ("r1 = r10\nr1 += -32\nr2 = 8\nr3 = r7\ncall bpf_probe_read_kernel#113"),
    "as size": "r1 = r10\nr1 += -32\nr2 = r7\nr3 = 0\ncall bpf_probe_read_kernel#113",
    "as map": "r1 = r7\nr2 = r10\nr2 += -8\n*(u64 *)(r10 -8) = 0\ncall bpf_map_lookup_elem#1",
    "as key": "r1 = map[fd:1]\nr2 = r7\ncall bpf_map_lookup_elem#1",
    "as value": (
        "*(u64 *)(r10 -24) = 0\nr1 = map[fd:9]\nr2 = r10\nr2 += -24\nr3 = r7\nr4 = 0\n"
        "call bpf_map_update_elem#2"
    ),
    "as context": "r1 = r7\nr2 = r10\nr2 += -8\ncall bpf_get_func_ret#184",
    "as record": "r1 = r7\nr2 = 0\ncall bpf_ringbuf_discard#133",
    "as task": ("r1 = r7\nr2 = r10\nr2 += -32\nr3 = 8\nr4 = 0\ncall bpf_get_task_stack#141"),
    "as function": "r1 = 2\nr2 = r7\nr3 = 0\nr4 = 0\ncall bpf_loop#181",
    "as result": "r0 = r7\nexit",
    "as argument of a function": "r1 = r7\ncall function\n",
}


def table(kind: str) -> str:
    section, before, after = KINDS[kind]
    parts = []
    for action, text in ACTIONS.items():
        lines = [f"[{kind}: {action}]"]
        if section:
            lines.append(f"@ {section}")
        lines += ["r8 = r1", before.rstrip(), "r7 = r6" if before else "", text, "out2:"]
        lines += [after.rstrip(), "out:", "r0 = 0", "exit"]
        if "call function" in text:
            lines += ["function:", "r0 = *(u64 *)(r1 +0)", "exit"]
        parts.append("\n".join(line for line in lines if line))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    CORPUS.mkdir(exist_ok=True)
    for kind in KINDS:
        (CORPUS / f"table-{kind.replace(' ', '-')}.test").write_text(table(kind))


if __name__ == "__main__":
    main()
