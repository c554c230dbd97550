"""`hist` and `top` on the engine: real calls, each counted, by each strategy."""

from __future__ import annotations

import pytest

from fsession import hist, top
from fsession.engine import Machine
from fsession.engine.jit import native

MANY = 10
U32 = (1 << 32) - 1


@pytest.fixture(scope="module")
def machine():
    if native() is None:
        pytest.skip("no machine code for this architecture")
    with Machine(verify=False) as made:
        made.victim = made.define("int victim(int a, long b)", lambda a, b: (a - 5) & U32)
        made.other = made.define("int other(int a)", lambda a: -12 & U32)
        yield made
    assert not made.failures


@pytest.fixture(params=["native", "multi", "split"])
def strategy(request):
    return request.param


def calls(machine) -> None:
    for number in range(MANY):
        machine.victim(number, 15 * number)
        machine.other(number)


def counted(machine, strategy, *names, **options):
    with hist(*names, host=machine, strategy=strategy, **options) as it:
        calls(machine)
        it.detach()
        calls(machine)
        return {row.keys: row for row in it.read()}, it.summary


def test_durations(machine, strategy):
    rows, summary = counted(machine, strategy, "victim", "other")
    assert rows[()].count == summary.calls == 2 * MANY
    assert (summary.lost, summary.missed, summary.strategy) == (0, 0, strategy)


def test_numbers(machine, strategy):
    """Counted at the entry: nothing of the exit is asked for."""
    rows, _ = counted(machine, strategy, "victim", of="a")
    assert rows[()].buckets == [(0, 0, 1), (1, 1, 1), (2, 3, 2), (4, 7, 4), (8, 15, 2)]
    assert rows[()].total == 45


def test_results_by_function(machine, strategy):
    rows, _ = counted(machine, strategy, "victim", "other", of="ret", by=["function", "a > 3"])
    assert rows["other", 1].buckets == [(-15, -8, 6)]
    assert rows["victim", 0].buckets == [(-7, -4, 2), (-3, -2, 2)]
    assert rows["victim", 0].total == -14


def test_linear(machine, strategy):
    rows, _ = counted(machine, strategy, "victim", of="b", linear=(20, 100, 10))
    assert rows[()].buckets[0] == (-(1 << 63), 19, 2)
    assert rows[()].buckets[-1] == (100, (1 << 63) - 1, 3)
    assert rows[()].count == MANY


def test_filters(machine, strategy):
    rows, _ = counted(machine, strategy, "victim", by="ret", filter=["a & 1", "ret < 0"])
    assert sorted(rows) == [(-4,), (-2,)]
    rows, _ = counted(machine, strategy, "victim", errors=True, of="a")
    assert rows[()].total == 0 + 1 + 2 + 3 + 4


def test_no_room(machine, strategy):
    rows, summary = counted(machine, strategy, "victim", of="ret", by="a", max_keys=4)
    assert [row.count for row in rows.values()] == [1] * 4
    assert (summary.lost, summary.calls) == (MANY - 4, MANY)


def test_top(machine, strategy):
    with top("victim", "other", host=machine, strategy=strategy) as it:
        calls(machine)
        it.detach()
        rows = {row.function: row for row in it.read()}
    assert (rows["victim"].calls, rows["victim"].errors) == (MANY, 5)
    assert (rows["other"].calls, rows["other"].errors) == (MANY, MANY)
    assert rows["victim"].total_ns > rows["victim"].average_ns > 0
