"""What a refusal tells: message, place, advice, slice; logs; budgets."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest

from fsession.isa.asm import assemble
from fsession.spec import LineInfo, MapSpec
from fsession.uapi import AttachType, MapType, ProgType
from fsession.verify import SERIES, Subject, verify

HASH = MapSpec("hash", MapType.HASH, 8, 16, 4)


def _subject(text: str, **more: object) -> Subject:
    fields = {"name": "p", "type": ProgType.RAW_TRACEPOINT, "insns": assemble(text)}
    return Subject(**fields | {"maps": {1: HASH}} | more)  # type: ignore[arg-type]


INDEX = """
r6 = *(u64 *)(r1 +0)
r7 = 1
r6 += 5
r8 = r10
r8 += -64
r8 += r6
*(u8 *)(r8 +0) = 1
r0 = 0
exit
"""


def test_a_refusal_has_its_place_and_advice():
    report = verify(_subject(INDEX))
    assert not report.accepted
    assert report.judged
    assert report.at == 5
    assert "unbounded min value" in report.message
    assert "compare it with 0" in report.advice


def test_the_slice_leaves_out_what_has_nothing_to_do_with_it():
    text = INDEX.replace("r8 += r6", "r2 = *(u64 *)(r8 +0)\nr3 = *(u64 *)(r2 +0)")
    report = verify(_subject(text))
    assert report.message == "R2 invalid mem access 'scalar'"
    lines = report.explanation.splitlines()
    assert [re.sub(" +;", " ;", line.strip()) for line in lines] == [
        "3: r8 = r10 ; R8 is fp0",
        "4: r8 += -64 ; R8 is fp-64",
        "5: r2 = *(u64 *)(r8 +0) ; R2 is scalar()",
        "6: r3 = *(u64 *)(r2 +0)",
        "there R2 is scalar()",
    ]


def test_a_size_that_is_too_large_is_told_as_well_as_the_memory():
    text = "r2 = *(u64 *)(r1 +0)\nr2 &= 31\nr1 = r10\nr1 += -8\nr3 = 0\n"
    report = verify(_subject(text + "call bpf_probe_read_kernel#113\nr0 = 0\nexit"))
    told = report.explanation
    assert "1: r2 &= 31" in told
    assert "smax=umax=smax32=umax32=31" in told.splitlines()[1]
    assert told.splitlines()[-1].strip().startswith("there R1 is fp-8, R2 is scalar(")


def test_results_are_of_the_way_that_was_refused():
    """Of two ways to one instruction, the second fails."""
    text = "r6 = *(u64 *)(r1 +0)\nr7 = -8\nif r6 == 0 goto far\ngoto on\nfar:\nr7 = -600\non:\n"
    report = verify(_subject(text + "r8 = r10\nr8 += r7\n*(u64 *)(r8 +0) = 1\nr0 = 0\nexit"))
    assert not report.accepted
    assert "R7 is -600" in report.explanation
    assert "R7 is -8" not in report.explanation


def test_the_number_is_what_an_unbounded_sum_is_about():
    report = verify(_subject(INDEX))
    assert report.explanation.splitlines()[-1].strip() == "there R6 is scalar()"


def test_logs_end_as_the_kernels_do():
    log = verify(_subject("r0 = 0\nexit"), log_level=1).log
    assert re.fullmatch(
        r"processed 2 insns \(limit 1000000\) max_states_per_insn \d+ total_states \d+ "
        r"peak_states \d+ mark_read \d+",
        log.splitlines()[-1],
    )


def test_source_lines():
    lines = (LineInfo(0, "p.c", "int x;", 3, 1), LineInfo(2, "p.c", "  return *p;", 4, 1))
    report = verify(_subject("r1 = 5\nr0 = 0\nr0 = *(u64 *)(r1 +0)\nexit", lines=lines))
    assert report.source == "p.c:4: return *p;"


def test_logs_have_states_and_the_count():
    log = verify(_subject("r0 = 0\nexit"), log_level=1).log
    assert log.splitlines() == [
        "0: R1=ctx() R10=fp0",
        "0: (b7) r0 = 0",
        "1: (95) exit",
        "processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 "
        "mark_read 0",
    ]
    log = verify(_subject("r0 = 0\nexit"), log_level=2).log
    assert "1: R0=0 R1=ctx() R10=fp0" in log


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": ProgType.XDP}, "not judged: programs of type XDP"),
        ({"type": ProgType.TRACING, "attach_type": AttachType.LSM_MAC}, "not judged: attach type"),
        ({"type": ProgType.TRACING, "attach_type": AttachType.MODIFY_RETURN}, "not judged: which"),
    ],
)
def test_what_is_not_judged_is_refused(changes, words):
    report = verify(_subject("r0 = 0\nexit", **changes))
    assert not report.accepted
    assert not report.judged
    assert report.message.startswith(words)


def test_a_tail_call_leaves_nothing_behind():
    call = "r1 = r6\nr2 = map[fd:3]\nr3 = 0\ncall bpf_tail_call#12\nr0 = 0\nexit"
    maps = {
        2: MapSpec("ring", MapType.RINGBUF, 0, 0, 4096),
        3: MapSpec("programs", MapType.PROG_ARRAY, 4, 4, 2),
    }
    assert verify(_subject(f"r6 = r1\n{call}", maps=maps)).accepted
    reserve = "r1 = map[fd:2]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve#131"
    report = verify(_subject(f"r6 = r1\n{reserve}\n{call}", maps=maps))
    assert report.message == "tail_call would lead to reference leak"


def test_sessions_are_of_their_series():
    changes = {"type": ProgType.TRACING, "attach_type": AttachType.TRACE_FSESSION}
    assert verify(_subject("r0 = 0\nexit", **changes), "7.0").accepted
    assert not verify(_subject("r0 = 0\nexit", **changes), "6.12").accepted


def test_the_budget():
    """A million instructions; here fewer, for the time it takes."""
    assert SERIES["7.2"].max_insns == 1_000_000
    rules = replace(SERIES["7.2"], max_insns=20_000)
    subject = _subject("r6 = 0\nagain:\nr6 += 1\nif r6 < 2000000 goto again\nr0 = 0\nexit")
    assert verify(subject, rules).message == "BPF program is too large. Processed 20001 insn"


def test_many_branches_end_by_pruning():
    """Twenty conditions are a million ways; all but a few of them are alike."""
    ways = "\n".join(f"if r6 & {1 << bit} goto +1\nr7 = {bit}" for bit in range(20))
    report = verify(_subject(f"r6 = *(u64 *)(r1 +0)\nr7 = 0\n{ways}\nr0 = 0\nexit"))
    assert report.accepted
    assert report.insns < 2000


def test_speed_of_straight_code():
    """30,000 instructions a second are asked for; a busy machine may be five times slower."""
    text = "r6 = *(u64 *)(r1 +0)\n" + "r6 += 3\nr7 = r6\nr7 &= 255\n" * 5000 + "r0 = 0\nexit"
    subject = _subject(text)
    start = time.process_time()
    report = verify(subject)
    assert report.accepted
    assert report.insns / (time.process_time() - start) > 6000
