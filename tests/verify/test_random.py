"""Random programs that are accepted do nothing that they must not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fsession.engine.jit import native
from fsession.isa.asm import assemble

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "fuzz"))
import run_accepted

COUNT, SEED = 600, 20


@pytest.fixture(scope="module")
def accepted():
    found = list(run_accepted.accepted(COUNT, SEED))
    assert len(found) > COUNT / 4
    return found


def test_interpreter_finds_no_fault(accepted):
    assert run_accepted.interpret(accepted, SEED) == 0


@pytest.mark.skipif(native() is None, reason="no machine code for this architecture")
def test_machine_code_does_not_crash(accepted):
    assert run_accepted.execute(accepted, SEED) == 0


FAULTS = {
    "behind the context": "r0 = *(u64 *)(r1 +96)\nexit",
    "the context written": "*(u64 *)(r1 +0) = 0\nr0 = 0\nexit",
    "above the stack": "r0 = *(u8 *)(r10 +0)\nexit",
    "a record kept": "r1 = map[fd:3]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve#131\nexit",
}


@pytest.mark.parametrize("text", FAULTS.values(), ids=FAULTS)
def test_faults_are_seen(text, capsys):
    """Programs that the verifier would refuse."""
    assert run_accepted.interpret([tuple(assemble(text))], SEED) == 1
