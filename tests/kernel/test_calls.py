"""Calls that overlap: recursion, threads on two CPUs, sleepers, attach and detach in between."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THREADS = 8
CALLS = 200
SLEEPERS = 64


def counts(obj) -> dict[str, int]:
    return {name: obj.globals[name] for name in paired(0)}


def paired(calls: int) -> dict[str, int]:
    """What is counted when each call has an entry and an exit, with a cookie of its own."""
    return {"entries": calls, "exits": calls, "mismatches": 0, "stale_cookies": 0, "alone": 0}


def assert_all_accounted(seen: dict[str, int], calls: int, missed: int, strategy: str) -> None:
    """No cookie of another call; each side of each call ran or is counted as missed.

    Where a split session's entry is missed its exit does not run either, and is not counted again:
    a missed call without an entry counts once, a missed exit alone counts once.
    """
    assert (seen["mismatches"], seen["stale_cookies"]) == (0, 0)
    if strategy == "split":
        assert seen["alone"] == 0
        without_entry, without_exit = calls - seen["entries"], seen["entries"] - seen["exits"]
        assert without_exit >= 0
        assert missed == without_entry + without_exit
    else:
        assert seen["entries"] + seen["exits"] + seen["alone"] + missed == 2 * calls


def crowded(
    load: Callable, name: str, strategy: str, work: Callable[[int], None], calls: list[int]
) -> None:
    """Many threads at `work`; `calls` is how many calls each makes.

    Few are missed, since a thread has to be stopped inside the program for that: but while it is,
    on a busy machine, all others of its CPU are. So there are three tries, and each must add up.
    """
    for _ in range(3):
        obj = load("sessions", name)
        obj.globals["only_tgid"] = os.getpid()
        with obj.programs[name].attach(strategy=strategy) as attachment:
            with crowd(len(calls), work):
                pass
            missed = attachment.missed
        assert_all_accounted(counts(obj), sum(calls), missed, strategy)
        if missed <= sum(calls) // 10:
            return
    pytest.fail(f"{missed} of {sum(calls)} calls were missed, and as many before")


@contextmanager
def crowd(number: int, work: Callable[[int], None]) -> Iterator[list[threading.Thread]]:
    """`number` threads that each do their `work`, all started before any goes on."""
    start = threading.Barrier(number + 1)

    def run(index: int) -> None:
        start.wait()
        work(index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    start.wait()
    try:
        yield threads
    finally:
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("levels", [1, 4])
def test_recursion(levels, strategy, load, caller, tid):
    """Each level of a function that calls itself has its own cookie."""
    obj = load("sessions", "session_recursive")
    with obj.programs["session_recursive"].attach(strategy=strategy):
        obj.globals["only_tid"] = tid
        caller.nest(levels)
        obj.globals["only_tid"] = 0
    seen = counts(obj)
    assert obj.globals["deepest"] == levels - 1
    assert seen == paired(seen["entries"])
    assert seen["entries"] >= levels * (levels + 1) // 2


def test_threads(strategy, load, caller):
    """8 threads, each call with a number of its own: no exit sees another call's cookie."""

    def look_up(index: int) -> None:
        for call in range(CALLS):
            caller.look_up(0x100000 + index * CALLS + call)

    crowded(load, "session_lookup", strategy, look_up, [CALLS] * THREADS)


def test_sleepers(strategy, load, caller):
    """64 threads asleep in the function at once, each woken at its own time."""

    def sleep(index: int) -> None:
        caller.sleep(0.1 + index / 1000)

    crowded(load, "session_sleep", strategy, sleep, [1] * SLEEPERS)


def test_interrupted_sleepers(strategy, load, caller, eventually):
    """A signal ends the call early; the exit still belongs to its entry."""
    obj = load("sessions", "session_sleep")
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    done = threading.Event()

    def sleep(index: int) -> None:
        while not done.is_set():
            caller.sleep(0.2 + index / 1000)

    def interrupt(threads) -> bool:
        for thread in threads:
            signal.pthread_kill(thread.ident, signal.SIGUSR1)
        return obj.globals["interrupted"] >= THREADS

    obj.globals["only_tgid"] = os.getpid()
    try:
        with obj.programs["session_sleep"].attach(strategy=strategy) as attachment:
            with crowd(THREADS, sleep) as threads:
                try:
                    eventually(lambda: interrupt(threads), "no call was interrupted")
                finally:
                    done.set()
            seen, missed = counts(obj), attachment.missed
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen["mismatches"] == seen["stale_cookies"] == 0
    assert abs(seen["entries"] - seen["exits"] - seen["alone"]) <= missed


@pytest.fixture
def blocked(caller, eventually) -> Iterator[Callable[[], Callable[[], None]]]:
    """Start a thread that blocks in ``eventfd_read``; what it returns lets the thread go on."""
    files = []

    def start() -> Callable[[], None]:
        file = os.eventfd(0)
        thread = threading.Thread(target=caller.read_event, args=(file,))
        thread.start()
        files.append(file)
        eventually(lambda: _is_asleep(thread.native_id), "the thread does not block")

        def release() -> None:
            os.eventfd_write(file, 1)
            thread.join()

        return release

    yield start
    for file in files:
        os.close(file)


def _is_asleep(tid: int | None) -> bool:
    status = Path(f"/proc/self/task/{tid}/stat").read_text()
    return status.rpartition(")")[2].split()[0] == "S"


def test_attach_during_a_call(strategy, load, blocked):
    """A call that runs when a session is attached shows no exit without an entry."""
    obj = load("sessions", "session_blocked")
    obj.globals["only_tgid"] = os.getpid()
    release = blocked()
    with obj.programs["session_blocked"].attach(strategy=strategy):
        release()
        assert counts(obj) == paired(0)
        blocked()()
        assert counts(obj) == paired(1)


def test_detach_during_a_call(strategy, load, blocked, eventually):
    """A call that runs when its session is detached shows no exit, and costs no slot for good."""
    obj = load("sessions", "session_blocked")
    obj.globals["only_tgid"] = os.getpid()
    program = obj.programs["session_blocked"]
    waiting = []
    for number in range(1, 6):
        with program.attach(strategy=strategy):
            waiting.append(blocked())
            eventually(lambda n=number: counts(obj)["entries"] == n, "no entry was seen")
    for release in waiting:
        release()
    assert counts(obj) == paired(0) | {"entries": 5}
    with program.attach(strategy=strategy):
        waiting = [blocked() for _ in range(5)]
        for release in waiting:
            release()
    assert counts(obj) == paired(5) | {"entries": 10}


def test_attach_under_load(strategy, load, caller, eventually):
    """Attached and detached while calls go on: entries and exits pair, but for those in between."""
    obj = load("sessions", "session_lookup")
    done = threading.Event()

    def look_up(index: int) -> None:
        number = 0x100000 + index
        while not done.is_set():
            caller.look_up(number)

    obj.globals["only_tgid"] = os.getpid()
    rounds, missed = 3, 0
    with crowd(2, look_up):
        try:
            for _ in range(rounds):
                before = counts(obj)["entries"]
                with obj.programs["session_lookup"].attach(strategy=strategy) as attachment:
                    eventually(lambda n=before: counts(obj)["entries"] > n + 20, "no calls seen")
                missed += attachment.missed
        finally:
            done.set()
    seen = counts(obj)
    assert seen["mismatches"] == seen["stale_cookies"] == 0
    assert -missed <= seen["entries"] - seen["exits"] <= missed + 2 * rounds
