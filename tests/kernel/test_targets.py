"""Sessions on what is not vmlinux: functions of modules, BPF programs, their subprograms."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fsession import FsessionError
from fsession.host import Feature
from fsession.kernel import KernelHost
from triggers import ON_ENGINE

if TYPE_CHECKING:
    from collections.abc import Iterator

INPUT = {} if ON_ENGINE else {"data": bytes(64)}
CARRIER = Path("/sys/class/net/dummy0/carrier")


@pytest.fixture
def dummy(facts) -> Iterator[Path]:
    """The module ``dummy`` with one interface that is up."""
    if subprocess.run(["modprobe", "dummy", "numdummies=0"], capture_output=True).returncode:
        if facts and facts.modules:
            pytest.fail("the guest has no module 'dummy'")
        pytest.skip("no modules for this kernel")
    subprocess.run(["ip", "link", "add", "dummy0", "type", "dummy"], check=True)
    subprocess.run(["ip", "link", "set", "dummy0", "up"], check=True)
    yield CARRIER
    subprocess.run(["ip", "link", "del", "dummy0"], check=True)


@pytest.mark.parametrize("strategy", ["native", "multi", "split"], indirect=True)
def test_module(strategy, dummy, load):
    """A function of a module, found in the module's own BTF."""
    name = "many_in_module" if strategy == "multi" else "in_module"
    with KernelHost() as host:  # a host keeps the BTF of modules open until it is closed
        obj = load("modules", name, host=host)
        with obj.programs[name].attach(strategy=strategy):
            dummy.write_text("0")
        dummy.write_text("1")
        seen = obj.globals
        assert (seen["entries"], seen["exits"], seen["mismatches"]) == (1, 1, 0)
        assert (seen["carrier"], seen["result"]) == (0, 0)
        obj.close()


@pytest.fixture
def target(load, require):
    """A program without a session on it; the engine runs no XDP programs."""
    require(Feature.PROGRAM_TARGETS, True)
    name = "target_raw_tp" if ON_ENGINE else "target"
    return load("targets", name).programs[name].program


@pytest.mark.parametrize("strategy", ["native", "split"], indirect=True)
def test_program(strategy, target, load):
    """A BPF program, its main function."""
    obj = load("targets", "on_main")
    with obj.programs["on_main"].attach(target, strategy=strategy):
        assert target.test_run(**INPUT).retval == 174
    assert target.test_run(**INPUT).retval == 174
    seen = obj.globals
    assert (seen["entries"], seen["exits"], seen["mismatches"]) == (1, 1, 0)
    assert seen["results"][0] == 174


@pytest.mark.parametrize("strategy", ["native", "split"], indirect=True)
def test_subprogram(strategy, target, load):
    """A subprogram with arguments, while another session is on the main function."""
    obj = load("targets", "on_main", "on_global")
    with (
        obj.programs["on_main"].attach(target, strategy=strategy),
        obj.programs["on_global"].attach(f"prog:{target.id}/add_up", strategy=strategy),
    ):
        target.test_run(**INPUT)
    seen = obj.globals
    assert (seen["entries"], seen["exits"], seen["mismatches"]) == (2, 2, 0)
    assert seen["arguments"] == [7, 4]
    assert seen["results"][:2] == [174, 74]


def test_multi_has_no_programs(target, load, require):
    """A multi link can't be on a BPF program: there a session is a native one."""
    require(Feature.FSESSION_MULTI)
    obj = load("targets", "on_main")
    with obj.programs["on_main"].attach(target, strategy="multi") as attachment:
        assert target.test_run(**INPUT).retval == 174
        assert attachment.strategy == "native"
    assert (obj.globals["entries"], obj.globals["exits"]) == (1, 1)


@pytest.mark.parametrize("strategy", ["native", "split"], indirect=True)
def test_session_on_session(strategy, load):
    """A session can't trace a session, nor half of one."""
    victim = load("sessions", "session_a").programs["session_a"]
    obj = load("targets", "on_session")
    with victim.attach(strategy=strategy), pytest.raises(FsessionError) as refused:
        obj.programs["on_session"].attach(victim.program, strategy=strategy)
    assert f"prog:{victim.info.id}" in str(refused.value)
