"""One program and one link for many functions."""

from __future__ import annotations

import os
import resource
import time

import pytest

import listing

pytestmark = pytest.mark.parametrize("strategy", ["multi"], indirect=True)


def test_glob(strategy, load, tid):
    """A pattern takes all functions it matches: one link, one program."""
    obj = load("args", "many")
    poke = load("sessions", "poke").programs["poke"]
    before = listing.ids("links")
    with obj.programs["many"].attach("bpf_fentry_test[1-6]") as attachment:
        assert len(listing.ids("links") - before) == 1
        obj.globals["only_tid"] = tid
        poke.test_run()
        obj.globals["only_tid"] = 0
        assert len(attachment.functions) == 6
    assert obj.globals["calls"] == [1, 1]  # each side records the first call only


def test_leaves_out(strategy, load):
    """What can't be attached is left out, each with its reason; the rest is attached."""
    obj = load("args", "many")
    with obj.programs["many"].attach("do_exit bpf_fentry_test1 __switch_to seq_printf") as done:
        assert [function.name for function in done.functions] == ["bpf_fentry_test1"]
        reasons = {left.name: left.reason for left in done.skipped}
    assert set(reasons) == {"do_exit", "__switch_to", "seq_printf"}
    assert all(reasons.values())


@pytest.mark.slow
def test_ten_thousand(strategy, load, poke_many):
    """10,000 functions by one link: few link calls, no second of waiting for each, little memory.

    On one CPU only: with two, the emulator crashes when many functions are patched at once.
    """
    if len(os.sched_getaffinity(0)) > 1:
        pytest.skip("more than one CPU: the emulator can't patch 10,000 functions then")
    obj = load("args", "many")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    links = listing.ids("links")
    start = time.monotonic()
    with obj.programs["many"].attach("[a-e]*", limit=10_000) as attachment:
        took_s = time.monotonic() - start
        assert len(listing.ids("links") - links) == 1
        assert len(attachment.functions) == 10_000
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        poke_many(obj)
    assert took_s < 30
    assert grown_kib < 40 * 1024


@pytest.fixture
def poke_many(load, tid):
    poke = load("sessions", "poke").programs["poke"]

    def run(obj) -> None:
        obj.globals["only_tid"] = tid
        poke.test_run()
        obj.globals["only_tid"] = 0
        assert obj.globals["calls"][1] == 1

    return run
