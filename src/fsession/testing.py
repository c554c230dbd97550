"""Fixtures of pytest for tests of BPF programs; installed with the package, nothing to import.

def test_session(machine):
    icmp_rcv = machine.define("int icmp_rcv(struct sk_buff *skb)", lambda skb: 0)
    with Object.open("session.bpf.c").load(machine) as obj, obj.attach():
        icmp_rcv(machine.new("struct sk_buff", len=84))
    assert machine.printed == ["fsession entry.", "fsession exit."]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fsession.errors import FsessionError
from fsession.host import Feature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsession.engine import Machine
    from fsession.host import Host
    from fsession.kernel import KernelHost

__all__ = ["any_host", "kernel", "machine"]


@pytest.fixture
def machine() -> Iterator[Machine]:
    """An engine of its own: no privileges, no kernel feature."""
    from fsession.engine import Machine

    with Machine() as made:
        yield made


@pytest.fixture
def kernel() -> Iterator[KernelHost]:
    """This machine's kernel; a test is skipped, with the reason, where it can't trace."""
    from fsession.kernel import KernelHost

    with KernelHost() as host:
        try:
            reason = host.why_not(Feature.FENTRY)
        except FsessionError as error:  # no privilege to ask
            reason = str(error)
        if reason:
            pytest.skip(f"{Feature.FENTRY.value}: {reason}")
        yield host


@pytest.fixture(params=["engine", "kernel"])
def any_host(request: pytest.FixtureRequest) -> Host:
    """Both, one after the other: a test that takes it must pass on each."""
    host: Host = request.getfixturevalue("machine" if request.param == "engine" else "kernel")
    return host
