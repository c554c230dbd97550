"""Programs step by step: the same results, each instruction told."""

from __future__ import annotations

import pytest

from fsession.errors import UnsupportedError
from fsession.uapi import AttachType

SESSION = AttachType.TRACE_FSESSION


def test_each_instruction_is_told(machine, program, numbers):
    machine.step = (lines := []).append
    text = f"""
        r6 = *(u64 *)(r1 +0)
        call bpf_session_is_return
        r0 <<= 3
        r2 = map[fd:{numbers.fd}][0]+0
        r2 += r0
        *(u64 *)(r2 +0) = r6
        r0 = 0
        exit
    """
    with program(text, "bpf_fentry_test1") as loaded, machine.link(loaded, SESSION):
        assert machine.function("bpf_fentry_test1")(7) == 8
        assert loaded.info.run_cnt == 2
    assert numbers.words()[:2] == [7, 7]
    entry, leave = lines[: len(lines) // 2], lines[len(lines) // 2 :]
    assert [line.split(" ;")[0].rstrip() for line in entry[1:4]] == [
        "   0: (79) r6 = *(u64 *)(r1 +0)",
        f"   1: (85) {_call(machine)}",
        "   2: (67) r0 <<= 3",
    ]
    assert entry[1].endswith("; r6=0x7")
    assert "map[numbers][0]+0" in entry[4]
    assert entry[-1] == leave[-1] == "test: returns 0x0"
    assert leave[2].endswith("; r0=0x1")


def _call(machine):
    from fsession.btf.types import Func

    return f"call bpf_session_is_return#{machine.types().id_of('bpf_session_is_return', Func)}"


def test_functions_of_the_program_and_faults(machine, program, numbers):
    """A load that faults gives 0; calls go into the same text."""
    machine.step = (lines := []).append
    text = f"""
        r1 = 5
        call triple
        r2 = map[fd:{numbers.fd}][0]+0
        *(u64 *)(r2 +0) = r0
        r1 = 8
        r1 = *(u64 *)(r1 +0)
        *(u64 *)(r2 +8) = r1
        r0 = 0
        exit
    triple:
        r0 = r1
        r0 *= 3
        exit
    """
    with (
        program(text, "bpf_fentry_test1", AttachType.TRACE_FENTRY) as loaded,
        machine.link(loaded, AttachType.TRACE_FENTRY),
    ):
        machine.function("bpf_fentry_test1")(1)
    assert numbers.words()[:2] == [15, 0]
    assert any("r0 *= 3" in line and line.endswith("; r0=0xf") for line in lines)


def test_tail_calls_are_refused(machine, program):
    machine.step = [].append
    with pytest.raises(UnsupportedError, match="tail call"):
        program("call bpf_tail_call#12\n r0 = 0\n exit", "bpf_fentry_test1")
