"""One program and one link for many functions."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

import listing
from fsession.attach import Reason, find_targets

TEN_THOUSAND = "[a-e]*"

pytestmark = pytest.mark.parametrize("strategy", ["multi"], indirect=True)


def test_glob(strategy, load, caller, tid):
    """A pattern takes all functions it matches: one link, one program."""
    obj = load("args", "many")
    poke = load("sessions", "poke").programs["poke"]
    before = caller.holdings().links
    with obj.programs["many"].attach("bpf_fentry_test[1-6]") as attachment:
        assert len(caller.holdings().links - before) == 1
        obj.globals["only_tid"] = tid
        poke.test_run()
        obj.globals["only_tid"] = 0
        assert len(attachment.targets) == 6
    assert obj.globals["calls"] == [1, 1]  # each side records the first call only


def test_leaves_out(strategy, load, host):
    """What can't be attached is left out, each with its reason; the rest is attached."""
    reasons = {left.name: left.reason for left in find_targets(host, ["do_e*"]).refused}
    assert reasons["do_exit"] is Reason.NORETURN
    with load("args", "many").programs["many"].attach("do_e*") as attachment:
        assert "do_epoll_ctl" in attachment.targets
        assert not set(reasons) & set(attachment.targets)


@pytest.mark.slow
def test_ten_thousand(strategy, load, poke_many, one_cpu):
    """10,000 functions by one link, and calls of one of them seen; little memory."""
    obj = load("args", "many")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    links = listing.ids("links")
    with obj.programs["many"].attach(TEN_THOUSAND) as attachment:
        assert len(listing.ids("links") - links) == 1
        assert len(attachment.targets) >= 10_000
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        poke_many(obj)
    assert grown_kib < 40 * 1024


@pytest.fixture
def one_cpu():
    """With two, the emulator crashes when thousands of functions are patched."""
    second = Path("/sys/devices/system/cpu/cpu1/online")
    if second.exists():
        second.write_text("0")
    yield
    if second.exists():
        second.write_text("1")


@pytest.fixture
def poke_many(load, tid):
    poke = load("sessions", "poke").programs["poke"]

    def run(obj) -> None:
        obj.globals["only_tid"] = tid
        poke.test_run()
        obj.globals["only_tid"] = 0
        assert obj.globals["calls"][1] == 1

    return run
