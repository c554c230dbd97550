"""Names and patterns to functions; what is left out, and why."""

from __future__ import annotations

import pytest
from tests.attach.host import FakeHost, kernel_types

from fsession.attach import Reason, find_targets, is_pattern
from fsession.attach.pattern import parse
from fsession.attach.refusals import refused_by_name
from fsession.attach.safety import unsafe
from fsession.errors import AttachError

NAMES = [
    "icmp_rcv",
    "icmp_send",
    "icmp_init",
    "icmp_twice",
    "bad_pair",
    "wide_one",
    "do_exit",
    "migrate_disable",
    "rcu_note",
    "nf_ct_get",
]


@pytest.fixture
def host() -> FakeHost:
    return FakeHost(
        NAMES,
        no_place=frozenset({"icmp_init"}),
        twice=("icmp_twice",),
        module_names=["icmp_rcv_more", "mod_irq"],
    )


def names(found) -> list[str]:
    return [target.name for target in found.targets]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["icmp_rcv"], ["icmp_rcv"]),
        (["icmp_send", "icmp_rcv", "icmp_send"], ["icmp_send", "icmp_rcv"]),
        (["icmp_*"], ["icmp_rcv", "icmp_send"]),
        (["icmp_[!s]*", "icmp_s*"], ["icmp_rcv", "icmp_send"]),
        (["icmp_rc?", "icmp_rcv"], ["icmp_rcv"]),
        (["nf_ct_*"], ["nf_ct_get"]),
        (["mod:*"], ["mod:icmp_rcv_more", "mod:mod_irq"]),
        (["mod:icmp_rcv_more"], ["mod:icmp_rcv_more"]),
        (["icmp_rcv_more"], ["icmp_rcv_more"]),
        (["rcu_note"], ["rcu_note"]),
    ],
)
def test_found(host, wanted, expected):
    assert names(find_targets(host, wanted)) == expected


def test_target(host):
    (target,) = find_targets(host, ["mod:icmp_rcv_more"]).targets
    assert (target.module, target.function, target.slots) == ("mod", "icmp_rcv_more", 1)
    assert target.types.name_of(target.btf_id) == "icmp_rcv_more"


def test_left_out(host):
    found = find_targets(host, ["*"])
    assert {item.name: item.reason for item in found.refused} == {
        "icmp_init": Reason.NOT_TRACEABLE,
        "icmp_twice": Reason.AMBIGUOUS,
        "bad_pair": Reason.PROTOTYPE,
        "wide_one": Reason.WORDS,
        "do_exit": Reason.NORETURN,
        "migrate_disable": Reason.DENIED,
        "rcu_note": Reason.UNSAFE,
    }
    assert found.counts()[Reason.PROTOTYPE] == 1
    details = {item.name: item.detail for item in found.refused}
    assert "struct 'pair'" in details["bad_pair"]
    assert "13 words" in details["wide_one"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nosuch", "not in the kernel's BTF"),
        ("nosuch_*", "no function matches in the kernel's BTF"),
        ("icmp_ini*", "no place at its entry"),
        ("do_exit", "never returns"),
        ("migrate_disable", "deny list"),
        ("bad_pair", "struct 'pair'"),
        ("wide_one", "13 words"),
        ("nomod:f", "nomod"),
    ],
)
def test_refused(host, name, words):
    with pytest.raises(AttachError) as error:
        find_targets(host, [name])
    assert words in str(error.value)
    assert name in str(error.value)


def test_ambiguous_names_are_refused(host):
    """Names in full, too: which of several functions the kernel takes is not known."""
    with pytest.raises(AttachError, match="several functions have this name"):
        find_targets(host, ["icmp_twice"])


def test_fewer_words(host):
    host.argument_words = 6
    host.vmlinux = kernel_types(["eight_words", "icmp_rcv"])
    host.names = ["eight_words", "icmp_rcv"]
    (item,) = find_targets(host, ["*"]).refused
    assert (item.name, item.reason) == ("eight_words", Reason.WORDS)
    with pytest.raises(AttachError, match="8 words of arguments, more than 6"):
        find_targets(host, ["eight_words"])


def test_all_programs(host):
    """A tracing program is left out; each of the others is open once for each of its targets."""
    found = find_targets(host, ["prog:12/part", "prog:*", "prog:*/*"])
    assert names(found) == ["prog:12/part", "prog:12", "prog:12/p"]
    assert {item.reason for item in found.refused} == {Reason.TRACING}
    assert set(host.open.values()) == {item.program for item in found.targets}


def test_types(host):
    assert names(find_targets(host, ["int icmp_*(void *p)"])) == ["icmp_rcv", "icmp_send"]
    with pytest.raises(AttachError, match="no function matches in the kernel's BTF"):
        find_targets(host, ["icmp_*(int)"])


def test_entry_of_what_never_returns(host):
    assert names(find_targets(host, ["do_exit"], exit_side=False)) == ["do_exit"]
    assert names(find_targets(host, ["do_*"], exit_side=False)) == ["do_exit"]


@pytest.mark.parametrize(
    ("name", "result"),
    [("icmp_rcv", False), ("tcp_*", True), ("a?", True), ("[ab]", True), ("prog:*", True)],
)
def test_is_pattern(name, result):
    assert is_pattern(name) is result


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("prog:12", ("12", "")),
        ("prog:12/sub", ("12", "sub")),
        ("prog:name/sub", ("name", "sub")),
        ("prog:/sys/fs/bpf/pin", ("/sys/fs/bpf/pin", "")),
        ("prog:/sys/fs/bpf/pin/sub", ("/sys/fs/bpf/pin", "sub")),
    ],
)
def test_program_place(name, place):
    pattern = parse(name)
    assert (pattern.place, pattern.function) == place


def test_safety_list():
    """Whole words of context tracking, not all that ends in ct_."""
    assert unsafe(["select_task", "direct_read", "ct_nmi_enter", "nf_ct_get", "x_irq_y"]) == {
        "ct_nmi_enter",
        "x_irq_y",
    }
    assert refused_by_name("rcu_read_unlock_special") is Reason.UNSAFE
    assert refused_by_name("rcu_note") is None


def test_programs(host):
    """Opened by name, each once; the main function has the program's name."""
    found = find_targets(host, ["prog:12", "icmp_rcv", "prog:12/part", "prog:12"])
    assert names(found) == ["prog:12", "icmp_rcv", "prog:12/part"]
    functions = [item.types.name_of(item.btf_id) for item in found.targets if item.program]
    assert functions == ["p", "part"]
    programs = [item.program for item in found.targets if item.program]
    assert [*host.open.values()] == programs


@pytest.mark.parametrize("wrong", ["nosuch", "prog:12/nosuch"])
def test_programs_are_closed_when_a_name_is_wrong(host, wrong):
    with pytest.raises(AttachError, match="nosuch"):
        find_targets(host, ["prog:12", wrong])
    assert not host.open
