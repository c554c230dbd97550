"""The table of calls: what holds of every row. That the rows are true, tests/kernel proves."""

from __future__ import annotations

import re

import pytest

from fsession.calls import (
    HELPERS,
    Access,
    ArgKind,
    KfuncFlag,
    Only,
    ResultKind,
    find_helper,
    find_kfunc,
    kfuncs,
)
from fsession.uapi import FuncId

ROWS = [*HELPERS.values()]


@pytest.mark.parametrize("helper", ROWS, ids=lambda helper: helper.name)
def test_row(helper):
    assert len(helper.params) == len(helper.args) <= 5
    assert re.fullmatch(r"\d+\.\d+", helper.since)
    for at, arg in enumerate(helper.args):
        if arg.kind is ArgKind.MEM and not arg.size:
            sized = helper.args[at + 1 : at + 2]
            data = helper.name in ("snprintf", "trace_vprintk")
            assert sized or data
            assert sized[0].kind is ArgKind.SIZE or helper.name == "strncmp"
        if arg.kind is ArgKind.SIZE:
            assert helper.args[at - 1].kind is ArgKind.MEM
        if arg.kind is ArgKind.BTF_ID:
            assert arg.type or arg.releases
    assert len([arg for arg in helper.args if arg.releases]) <= 1
    pointer = "*" in helper.c.partition("(")[0]
    pointer |= helper.name == "task_pt_regs"  # in C a number
    assert pointer == (helper.result.kind not in (ResultKind.INTEGER, ResultKind.VOID))


def test_in_the_order_of_their_numbers():
    numbers = [helper.id for helper in ROWS]
    assert numbers == sorted(set(numbers))


def test_lookup():
    row = find_helper("map_update_elem")
    assert row is find_helper(2)
    assert row is not None
    assert row.params == ("map", "key", "value", "flags")
    assert row.c_params[1] == ("const void *", "key")
    assert [arg.kind for arg in row.args] == [
        ArgKind.MAP, ArgKind.KEY, ArgKind.VALUE, ArgKind.ANYTHING
    ]  # fmt: skip
    assert find_helper("skb_store_bytes") is None
    assert find_helper(FuncId.skb_store_bytes) is None
    assert find_helper(1 << 20) is None


def test_what_a_row_says():
    read = HELPERS["probe_read_kernel"]
    assert (read.gpl, read.sleeps, read.args[0].access) == (True, False, Access.WRITE)
    assert HELPERS["copy_from_user"].sleeps
    assert (HELPERS["ringbuf_reserve"].acquires, HELPERS["ringbuf_submit"].releases) == (True, 0)
    task = HELPERS["get_current_task_btf"].result
    assert (task.kind, task.type, task.trusted) == (ResultKind.BTF_ID, "task_struct", True)
    assert HELPERS["send_signal"].result.signed
    assert HELPERS["trace_printk"].is_variadic
    assert HELPERS["d_path"].only is Only.ALLOWLIST


def test_kfuncs():
    found = find_kfunc("bpf_task_from_pid")
    assert found is not None
    assert found.flags == KfuncFlag.ACQUIRE | KfuncFlag.RET_NULL
    assert (found.acquires, found.nullable, found.releases) == (True, True, None)
    assert found.source == "kernel/bpf/helpers.c"
    release = find_kfunc("bpf_task_release")
    assert release is not None
    assert release.releases == 0
    assert find_kfunc("icmp_rcv") is None
    session = find_kfunc("bpf_session_cookie")
    assert session is not None
    assert session.only is Only.FSESSION
    assert all(re.fullmatch(r"\d+\.\d+", row.since) for row in kfuncs().values())
    assert all(row.source.endswith(".c") for row in kfuncs().values())
