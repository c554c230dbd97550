"""What a verifier log says, in a few lines. Pure.

A log is the walk of the verifier: instructions (``12: (79) r1 = *(u64 *)(r1 +0)``), states behind
them (``; R1=ctx()`` or ``13: R0=scalar()``), source lines before them (``; return x; @ prog.c:7``),
and at the end the reason and statistics. Linux 7.3 adds a report in sections, "Verification
failed: …"; its suggestion is worth telling, the rest repeats what comes before it.
"""

from __future__ import annotations

import re

__all__ = ["NO_REASON", "telling_lines"]

NO_REASON = "the kernel gave no reason"

_STATISTICS = re.compile(
    r"^(processed \d+ insns|verification time|stack depth|insns processed|max_states|"
    r"peak_states|mark_read|arg#\d+ reference type|(cur|old) state: )"
)
_INSN = re.compile(r"^\d+: \([0-9a-f]{2}\) ")
# A reason may start with a register ("R5 !read_ok"); a state has "=" behind it ("R5_w=ctx()").
_STATE = re.compile(
    r"^(\d+: |from \d+ to \d+|last_idx|regs=|mark_precise|parent state|R\d+(_[a-zA-Z]+)?=)"
)
_SOURCE = re.compile(r"^; ")
_REPORT = re.compile(r"^Verification failed: .*", re.MULTILINE | re.DOTALL)
_SUGGESTION = re.compile(r"^Suggestion:\n((?:  .+\n?)+)", re.MULTILINE)
_MOST = 4


def telling_lines(log: str) -> tuple[str, tuple[str, ...]]:
    """``(summary, lines)``: the reason, and the source line and instruction it belongs to."""
    report = _REPORT.search(log)
    if report is not None:
        summary, lines_before = telling_lines(log[: report.start()])
        found = _SUGGESTION.search(report[0])
        return summary, (*lines_before, *([" ".join(found[1].split())] if found else []))
    lines = [line.rstrip() for line in log.splitlines()]
    lines = [line for line in lines if line and not _STATISTICS.match(line)]
    reasons: list[str] = []
    while lines and not _INSN.match(lines[-1]) and len(reasons) < _MOST:
        line = lines.pop()
        if _SOURCE.match(line) or _STATE.match(line):
            break
        reasons.insert(0, line)
    insn = next((line for line in reversed(lines) if _INSN.match(line)), "")
    source = next((line for line in reversed(lines) if _SOURCE.match(line)), "")
    if not reasons:
        return (insn or source or NO_REASON), ()
    return reasons[-1], tuple(line for line in (source, insn, *reasons[:-1]) if line)
