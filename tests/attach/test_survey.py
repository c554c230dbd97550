"""What `fsession list` knows of each function."""

from __future__ import annotations

import pytest
from tests.attach.host import TRACING_PROGRAM, FakeHost

from fsession.attach import Reason, survey

NAMES = ["icmp_rcv", "icmp_gone", "icmp_init", "icmp_twice", "wide_one", "do_exit", "rcu_note"]


@pytest.fixture
def host() -> FakeHost:
    return FakeHost(
        NAMES,
        no_place=frozenset({"icmp_init", "icmp_gone"}),
        symbols=("icmp_twice", "icmp_gone.constprop.0", "icmp_asm", "icmp_rcv.part.0"),
        module_names=["mod_one"],
        missing=frozenset({"icmp_gone"}),
    )


@pytest.mark.parametrize(
    ("name", "reason", "detail"),
    [
        ("icmp_init", Reason.NOT_TRACEABLE, ""),
        ("icmp_gone", Reason.INLINED, "it is icmp_gone.constprop.0"),
        ("icmp_rcv.part.0", Reason.INLINED, "made of icmp_rcv"),
        ("icmp_twice", Reason.AMBIGUOUS, "2 symbols"),
        ("icmp_asm", Reason.NO_BTF, ""),
        ("wide_one", Reason.WORDS, "takes 13 words of arguments, more than 12"),
        ("do_exit", Reason.NORETURN, ""),
        ("rcu_note", Reason.UNSAFE, "trampolines run in RCU read sections"),
    ],
)
def test_each_reason(host, name, reason, detail):
    found = survey(host, "*")
    assert [target.name for target in found.targets] == ["icmp_rcv"]
    (item,) = [item for item in found.refused if item.name == name]
    assert (item.reason, item.detail) == (reason, detail)


def test_all_are_told_once(host):
    found = survey(host, "*")
    told = [item.name for item in (*found.targets, *found.refused)]
    assert sorted(told) == sorted({*NAMES, *host.symbols})


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("icmp_rcv", ["icmp_rcv"]),
        ("mod_one", ["mod:mod_one"]),
        ("mod:*", ["mod:mod_one"]),
        ("m*:*_one", ["mod:mod_one"]),
        ("icmp_*(void *)", ["icmp_rcv"]),
        ("prog:12", ["prog:12"]),
        ("prog:*", ["prog:12"]),
        ("prog:12/*", ["prog:12/p", "prog:12/part"]),
    ],
)
def test_targets(host, text, names):
    found = survey(host, text)
    assert [target.name for target in found.targets] == names
    assert not host.open


def test_one_name(host):
    (item,) = survey(host, "icmp_gone").refused
    assert (item.name, item.reason) == ("icmp_gone", Reason.INLINED)


def test_nothing(host):
    (item,) = survey(host, "nosuch_*").refused
    assert (item.name, item.reason, item.detail) == (
        "nosuch_*",
        Reason.NO_BTF,
        "nothing in the kernel is called so",
    )


def test_tracing_programs_are_left_out(host):
    (item,) = survey(host, "prog:*").refused
    assert (item.name, item.reason) == (f"prog:{TRACING_PROGRAM}", Reason.TRACING)


def test_codes():
    assert Reason.NOT_TRACEABLE.code == "not-traceable"
    assert len({reason.code for reason in Reason}) == len(Reason)
