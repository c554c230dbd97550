"""What is missed and left out is counted exactly: sent + missed = made.

Lost records: `test_trace.py`, `test_graph.py`, `test_record.py`; keys without room: `test_hist.py`;
values that can't be read, and those that can't be kept: `test_trace_expressions.py`.
"""

from __future__ import annotations

import os
import threading
import time
from functools import partial

import fsession
from fsession.attach import prepare
from fsession.host import Feature
from fsession.trace.values import FAULT
from fsession.tracer import programs

NICE, READS = "set_user_nice", "copy_from_kernel_nofault"
CALLS, SLEEPERS, SLOTS = 20, 24, 16


def nice(times: int) -> None:
    for _ in range(times):
        os.setpriority(os.PRIO_PROCESS, 0, 7)


def test_recursion(host, strategy):
    """A function that the program itself calls, while it runs: both sides of each such call are
    missed; where a split session's entry is, its exit is not counted again."""
    mine = {"host": host, "strategy": strategy, "pid": os.getpid()}
    with fsession.trace(NICE, READS, print=["*(int *)8"], **mine) as tracer:
        nice(CALLS)
        tracer.detach()
        calls, summary = tracer.read(0), tracer.summary
    shown = [call for call in calls if call.function == NICE]
    assert [call.prints["*(int *)8"] for call in shown] == [FAULT] * CALLS
    assert summary.calls == summary.faulted == len(calls)
    reads = len(calls) - CALLS  # of programs, and a few of the kernel's as it attaches
    assert reads >= (0 if strategy == "multi" else CALLS)
    inside = len(calls) if strategy == "multi" else reads  # one program for both, or each its own
    assert summary.missed == inside * (1 if strategy == "split" else 2)


def test_no_slot(host, require, monkeypatch):
    """More calls under way than a split session has slots for."""
    require(Feature.FENTRY, None)
    monkeypatch.setattr(programs, "prepare", partial(prepare, slots=SLOTS))
    threads = [threading.Thread(target=time.sleep, args=(1,)) for _ in range(SLEEPERS)]
    with fsession.trace(
        "hrtimer_nanosleep", host=host, strategy="split", pid=os.getpid()
    ) as tracer:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        tracer.detach()
        calls, summary = tracer.read(0), tracer.summary
    assert 0 < len(calls) <= SLOTS
    assert len(calls) + summary.missed == SLEEPERS
    assert summary.calls == len(calls)


def test_functions_that_are_left_out(host, strategy):
    with fsession.trace(
        "do_sys_openat2", NICE, errors=True, host=host, strategy=strategy, pid=os.getpid()
    ) as tracer:
        nice(1)
        summary = tracer.summary
    assert (summary.functions, summary.skipped) == (1, {"a result that tells no error": 1})
