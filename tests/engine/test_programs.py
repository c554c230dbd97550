"""Programs in C on the engine: the same objects as for the kernel, unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsession.session import Object

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
PRINTED = [
    ("session_printk", ["fsession entry.", "fsession exit."]),
    ("session_cookie", ["fsession cookie: 0xdeadbeef"]),
]


@pytest.mark.parametrize(("name", "printed"), PRINTED)
@pytest.mark.parametrize("strategy", ["native", "split"])
def test_sessions_in_c(machine, name, printed, strategy):
    icmp_rcv = machine.define("int icmp_rcv(struct sk_buff *skb)", lambda skb: 0)
    skb = machine.new("struct sk_buff", len=84)
    with Object.open(EXAMPLES / f"{name}.bpf.c") as obj:
        obj.load(machine)
        with obj.attach(strategy):
            assert icmp_rcv(skb) == 0
        assert machine.printed == printed
        icmp_rcv(skb)
    assert machine.printed == printed
