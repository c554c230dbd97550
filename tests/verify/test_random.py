"""Random programs that are accepted do nothing that they must not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tests.verify.corpus import Case

from fsession.btf.catalog import Types
from fsession.btf.types import Struct
from fsession.engine.jit import native
from fsession.isa.asm import assemble
from fsession.uapi import AttachType

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "fuzz"))
import run_accepted
import tracing_world
from tracing_programs import Program

COUNT, SEED = 600, 20
TRACING = 200
MOST_INSNS = 2_000
NATIVE = pytest.mark.skipif(native() is None, reason="no machine code for this architecture")


@pytest.fixture(scope="module")
def accepted():
    found = list(run_accepted.accepted(COUNT, SEED))
    assert len(found) > COUNT / 4
    return found


def test_interpreter_finds_no_fault(accepted):
    assert run_accepted.interpret(accepted, SEED) == 0


@NATIVE
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


@pytest.fixture(scope="module")
def types() -> Types:
    path = os.environ.get("FSESSION_UAPI_BTF")
    if not path:
        pytest.skip("FSESSION_UAPI_BTF does not name the BTF of Linux 7.2")
    return Types.from_bytes(Path(path).read_bytes(), name="vmlinux")


@pytest.fixture(scope="module")
def accepted_tracing(types):
    found = list(tracing_world.accepted_tracing(TRACING, SEED, types, MOST_INSNS))
    assert len(found) > TRACING / 8
    return found


def test_interpreter_finds_no_fault_in_tracing_programs(accepted_tracing, types):
    assert run_accepted.interpret_tracing(accepted_tracing, SEED, types) == 0


@NATIVE
def test_machine_code_of_tracing_programs_does_not_fault(accepted_tracing, types):
    assert run_accepted.execute_tracing(accepted_tracing, SEED, types) == 0


TRACING_FAULTS = {
    "behind a structure": "r1 = *(u64 *)(r1 +0)\nr0 = *(u64 *)(r1 +30000)\nr0 = 0\nexit",
    "a structure written": "r1 = *(u64 *)(r1 +0)\n*(u64 *)(r1 +0) = 0\nr0 = 0\nexit",
    "a section left open": "call @bpf_rcu_read_lock\nr0 = 0\nexit",
    "a task given back twice": (
        "call bpf_get_current_task_btf#158\nr1 = r0\ncall @bpf_task_release\nr0 = 0\nexit"
    ),
    "a number as a task": "r1 = 1\ncall @bpf_task_release\nr0 = 0\nexit",
    "an iterator left": (
        "r1 = r10\nr1 += -8\nr2 = 0\nr3 = 3\ncall @bpf_iter_num_new\nr0 = 0\nexit"
    ),
    "a result": "r0 = 1\nexit",
}


@pytest.mark.parametrize("text", TRACING_FAULTS.values(), ids=TRACING_FAULTS)
def test_faults_of_tracing_programs_are_seen(text, types, capsys):
    insns = Case("", text).request(types, {}).insns
    made = Program(AttachType.TRACE_FENTRY, "wake_up_new_task", tuple(insns))
    assert run_accepted.interpret_tracing([made], SEED, types) == 1


NATIVE_FAULTS = {
    "behind a structure": "r1 = *(u64 *)(r1 +0)\nr0 = *(u64 *)(r1 +BYTES)\nr0 = 0\nexit",
    "a number as an address": "r0 = 64\nr0 = *(u64 *)(r0 +0)\nr0 = 0\nexit",
    **{name: TRACING_FAULTS[name] for name in TRACING_FAULTS if name != "behind a structure"},
}


@NATIVE
@pytest.mark.parametrize("text", NATIVE_FAULTS.values(), ids=NATIVE_FAULTS)
def test_faults_of_machine_code_are_seen(text, types, capfd):
    size = types.size_of(types.find("task_struct", Struct))
    text = text.replace("BYTES", str(size))
    insns = Case("", text).request(types, {}).insns
    made = Program(AttachType.TRACE_FENTRY, "wake_up_new_task", tuple(insns))
    assert run_accepted.execute_tracing([made], SEED, types) == 1
