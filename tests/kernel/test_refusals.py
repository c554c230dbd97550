"""What can't be done, and what is said about it. Nothing stays attached."""

from __future__ import annotations

import errno
from contextlib import ExitStack

import pytest

from fsession import AttachError, FsessionError, UnsupportedError, VerifierError
from fsession.host import Feature

CROWD = [f"crowd_{number}" for number in range(20)]


def attach_until_refused(obj, strategy, stack) -> tuple[int, AttachError]:
    for attached, name in enumerate(CROWD):
        try:
            stack.enter_context(obj.programs[name].attach(strategy=strategy))
        except AttachError as error:
            return attached, error
    return pytest.fail(f"no end after {len(CROWD)} sessions")


@pytest.mark.parametrize("strategy", ["native", "split"], indirect=True)
def test_crowd(strategy, load, facts):
    """As many sessions on one function as the kernel takes; the next is refused in words."""
    obj = load("crowd", *CROWD)
    poke = load("sessions", "poke").programs["poke"]
    with ExitStack() as stack:
        attached, error = attach_until_refused(obj, strategy, stack)
        assert error.errno == errno.E2BIG
        assert "bpf_fentry_test1" in str(error)
        poke.test_run()
        assert obj.globals["runs"] == 2 * attached
    if facts:
        known = {"native": facts.crowd_native, "split": facts.crowd_split}[strategy]
        assert attached == known
    with obj.programs[CROWD[19]].attach(strategy=strategy):
        poke.test_run()
    assert obj.globals["runs"] == 2 * attached + 2


def test_attached_twice(strategy, load):
    """A program is on a function once; the second attachment says so and leaves the first."""
    obj = load("sessions", "session_a")
    program = obj.programs["session_a"]
    with program.attach(strategy=strategy):
        with pytest.raises(AttachError) as refused:
            program.attach(strategy=strategy)
        assert refused.value.errno == errno.EBUSY
        assert "already" in str(refused.value)
    with program.attach(strategy=strategy):
        pass


@pytest.mark.parametrize("function", ["do_exit", "make_task_dead"])
def test_noreturn(function, strategy, load):
    """A function that does not return has no exit to trace."""
    with pytest.raises(FsessionError) as refused:
        load("sessions", "session_anywhere").programs["session_anywhere"].attach(
            function, strategy=strategy
        )
    assert function in str(refused.value)
    assert "return" in str(refused.value)


def test_denied(strategy, load):
    """The kernel's deny list: what the trampoline itself calls."""
    obj = load("sessions", "session_anywhere")
    with pytest.raises(FsessionError, match="migrate_disable"):
        obj.programs["session_anywhere"].attach("migrate_disable", strategy=strategy)


def test_no_such_function(strategy, load):
    obj = load("sessions", "session_anywhere")
    with pytest.raises(AttachError, match="bpf_fentry_test0"):
        obj.programs["session_anywhere"].attach("bpf_fentry_test0", strategy=strategy)


def test_no_such_module(load):
    obj = load("sessions", "session_anywhere")
    with pytest.raises(FsessionError, match="no_such_module"):
        obj.programs["session_anywhere"].attach("no_such_module:f")


def test_untraceable(strategy, load):
    """In BTF, but ftrace has no place for it."""
    obj = load("sessions", "session_anywhere")
    with pytest.raises(FsessionError, match="__switch_to"):
        obj.programs["session_anywhere"].attach("__switch_to", strategy=strategy)


def test_verifier(load, host):
    """A program that the verifier refuses: the reason, the source line, the whole log."""
    with pytest.raises(VerifierError) as refused:
        load("objects", "refused").programs["refused"].attach()
    assert "map_value_or_null" in str(refused.value)
    assert "slot->left" in "\n".join(refused.value.lines)
    assert len(refused.value.log.splitlines()) > len(refused.value.lines)


def test_unknown_strategy(load):
    obj = load("sessions", "session_a")
    with pytest.raises(FsessionError, match="sideways"):
        obj.programs["session_a"].attach(strategy="sideways")


@pytest.mark.parametrize("name", ["native", "multi"])
def test_missing_strategy(name, load, host):
    """A strategy that was asked for by name and is not there is no reason to take another."""
    feature = {"native": Feature.FSESSION, "multi": Feature.FSESSION_MULTI}[name]
    if host.supports(feature):
        pytest.skip(f"this kernel has {name} sessions")
    obj = load("sessions", "session_a")
    with pytest.raises(UnsupportedError) as refused:
        obj.programs["session_a"].attach(strategy=name)
    assert feature.value in str(refused.value)


def test_without_fentry(load, facts):
    """Linux 6.1 for arm64 has no trampolines: there is nothing sessions could be made of."""
    if not facts or facts.fentry:
        pytest.skip("this kernel has fentry and fexit programs")
    with pytest.raises(UnsupportedError, match="fentry"):
        load("sessions", "session_a").programs["session_a"].attach()
