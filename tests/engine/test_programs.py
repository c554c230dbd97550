"""Programs in C on the engine: the same objects as for the kernel, unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsession.btf.types import Func
from fsession.cli.main import run
from fsession.engine import Machine
from fsession.errors import VerifierError
from fsession.host import LoadRequest
from fsession.isa.asm import assemble
from fsession.session import Object
from fsession.uapi import AttachType, ProgType

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


UNSAFE = [
    ("a scalar as a pointer", "r1 = 8\n r0 = *(u64 *)(r1 +0)\n exit"),
    ("r0 never set", "exit"),
    ("a store to the context", "*(u64 *)(r1 +0) = 0\n r0 = 0\n exit"),
    ("a result that is not 0", "r0 = 1\n exit"),
    ("a store beyond the stack", "*(u64 *)(r10 -520) = 0\n r0 = 0\n exit"),
]


@pytest.mark.parametrize(("name", "text"), UNSAFE, ids=[row[0] for row in UNSAFE])
def test_a_refused_program_is_never_run(name, text):
    """It leaves no code behind that could be run."""
    with Machine() as machine:
        id = machine.types().id_of("bpf_fentry_test1", Func)
        request = LoadRequest(
            "unsafe",
            ProgType.TRACING,
            assemble(text),
            AttachType.TRACE_FSESSION,
            attach_btf_id=id,
        )
        with pytest.raises(VerifierError) as refused:
            machine.load(request)
        assert refused.value.summary
        assert not machine.program_ids()
        assert machine.function("bpf_fentry_test1")(1) == 2


def test_run_on_the_engine(capfd):
    file = str(EXAMPLES / "session_cookie.bpf.c")
    assert run(["run", file, "--on", "engine", "--call", "icmp_rcv(0)"]) == 0
    seen = capfd.readouterr()
    assert seen.out == "fsession cookie: 0xdeadbeef\n"
    assert "icmp_rcv(0) = 0" in seen.err
    assert "0 missed · native session: 1 program, 1 link · engine" in seen.err
