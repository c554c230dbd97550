"""Cookies: each session has its own for each call, whatever else is on the function."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

SESSIONS = ("session_a", "session_b", "session_c")


@pytest.fixture
def run(load, tid):
    """Attach programs of sessions.bpf.c one after the other, make one call, return what ran."""

    def attach_and_call(strategy: str, *names: str, **options: int):
        obj = load("sessions", "poke", *names)
        with ExitStack() as stack:
            for name in names:
                wanted = "auto" if name.startswith("plain") else strategy
                stack.enter_context(obj.programs[name].attach(strategy=wanted, **options))
            obj.globals["only_tid"] = tid
            obj.programs["poke"].test_run()
            obj.globals["only_tid"] = 0
        return obj.globals

    return attach_and_call


def trail(seen) -> str:
    return bytes(seen["trail"]).rstrip(b"\0").decode()


# The newest attachment runs first, at the entry and at the exit alike: it is no stack.
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(("session_a",), "aA", id="one"),
        pytest.param(("session_a", "session_b"), "baBA", id="two"),
        pytest.param(SESSIONS, "cbaCBA", id="three"),
        pytest.param(("session_a", "session_without_cookie", "session_b"), "bwaBWA", id="mixed"),
        pytest.param(
            ("session_a", "plain_entry", "session_b", "plain_exit", "session_c"),
            "cbnaCXBA",
            id="among plain programs",
        ),
    ],
)
def test_order(names, expected, strategy, run):
    seen = run(strategy, *names)
    assert trail(seen) == expected
    cookies = sum(name in SESSIONS for name in names)
    assert (seen["entries"], seen["exits"]) == (cookies, cookies)
    assert (seen["mismatches"], seen["stale_cookies"]) == (0, 0)


def test_subprograms(strategy, run):
    """The cookie and the side may be asked for in subprograms."""
    seen = run(strategy, "session_in_subprogram")
    assert (seen["entries"], seen["exits"]) == (1, 1)
    assert (seen["mismatches"], seen["stale_cookies"]) == (0, 0)


def test_sleepable(strategy, run, facts):
    if facts and not facts.sleepable_tests:
        pytest.skip("sleepable programs may not trace the kernel's test functions (6.1)")
    seen = run(strategy, "session_sleepable", "session_a")
    assert (seen["entries"], seen["exits"]) == (2, 2)
    assert (seen["mismatches"], seen["stale_cookies"]) == (0, 0)


def test_attach_cookie(strategy, run):
    """What the attachment was given is seen on both sides, beside the cookie of the call."""
    seen = run(strategy, "session_attach_cookie", cookie=0xC0FFEE_00C0FFEE)
    assert seen["attach_cookie"] == [0xC0FFEE_00C0FFEE] * 2
    assert (seen["entries"], seen["exits"], seen["mismatches"]) == (1, 1, 0)


def test_strategies_together(run, load, host, facts, tid):
    """A native and a split session on one function keep out of each other's cookies."""
    if not (facts and facts.native):
        pytest.skip("no fsession programs, one link a function")
    obj = load("sessions", "poke", "session_a", "session_b")
    with (
        obj.programs["session_a"].attach(strategy="native"),
        obj.programs["session_b"].attach(strategy="split"),
    ):
        obj.globals["only_tid"] = tid
        obj.programs["poke"].test_run()
        obj.globals["only_tid"] = 0
    assert trail(obj.globals) == "baBA"
    assert obj.globals["mismatches"] == 0


def test_reattach(strategy, run, load, tid):
    """Detached and attached again, a program works as before and has moved to the head."""
    obj = load("sessions", "poke", "session_a", "session_b")
    first, second = obj.programs["session_a"], obj.programs["session_b"]
    with second.attach(strategy=strategy):
        pass
    with first.attach(strategy=strategy), second.attach(strategy=strategy):
        pass
    with second.attach(strategy=strategy), first.attach(strategy=strategy):
        obj.globals["only_tid"] = tid
        obj.programs["poke"].test_run()
        obj.globals["only_tid"] = 0
    obj.programs["poke"].test_run()
    assert trail(obj.globals) == "abAB"
    assert obj.globals["mismatches"] == 0
