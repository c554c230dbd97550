"""Loading and attaching by each strategy, on a host that refuses some functions."""

from __future__ import annotations

import errno
from math import ceil, log2

import pytest
from tests.attach.host import ALL, NO_MULTI, ONLY_FENTRY, FakeHost, spec

from fsession.attach import Reason, Strategy, find_targets, prepare, prepare_many
from fsession.errors import AttachError, BadInputError, UnsupportedError, VerifierError
from fsession.uapi import AttachType, ProgType

MANY = [f"f{number}" for number in range(300)]
FEATURES = {"native": ALL, "multi": ALL, "split": ONLY_FENTRY}
STRATEGIES = list(FEATURES)


def one(host, strategy="auto", name="f1", kind=AttachType.TRACE_FSESSION):
    return prepare(spec(kind), host, {}, find_targets(host, [name]).targets[0], strategy)


def many(host, strategy="auto", *names):
    found = find_targets(host, names or ["f*"])
    return prepare_many(
        spec(AttachType.TRACE_FSESSION_MULTI),
        host,
        {},
        found.targets,
        strategy,
        refused=found.refused,
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_attach_and_close(strategy):
    host = FakeHost(MANY[:3], FEATURES[strategy])
    prepared = one(host, strategy)
    with prepared, prepared.attach(cookie=7) as attachment:
        assert attachment.strategy == strategy
        assert attachment.targets == ("f1",)
        assert len(host.links) == len(attachment.links) == (2 if strategy == "split" else 1)
        assert {tuple(link.cookies) for link in host.links} == {(7,)}
    assert not host.open


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_attach_again(strategy):
    host = FakeHost(MANY[:3], FEATURES[strategy])
    with one(host, strategy) as prepared:
        for _ in range(3):
            with prepared.attach():
                with pytest.raises(AttachError, match="already") as error:
                    prepared.attach()
                assert error.value.errno == errno.EBUSY
                assert error.value.target == "f1"
                assert host.links
            assert not host.links
    assert not host.open


def test_split_goes_around_the_entry():
    """Exit first, entry second; away in the other order."""
    host = FakeHost(MANY[:3], ONLY_FENTRY)
    order = [AttachType.TRACE_FEXIT, AttachType.TRACE_FENTRY]
    with one(host) as prepared, prepared.attach():
        assert [link.attach_type for link in host.links] == order
    closed = [thing.attach_type for thing in host.closed if thing.kind == "link"]
    assert closed == order[::-1]


def test_split_has_a_table_for_each_attachment():
    host = FakeHost(MANY[:3], ONLY_FENTRY)
    with one(host) as prepared:
        tables = set()
        for _ in range(3):
            with prepared.attach():
                tables |= {thing.id for thing in host.open.values() if thing.kind == "map"}
        assert len(tables) == 3
        assert sum(thing.kind == "map" for thing in host.open.values()) == 1
    assert not host.open


def test_missed_is_known_when_closed():
    host = FakeHost(MANY[:3])
    with one(host) as prepared:
        with prepared.attach() as attachment:
            prepared.programs[0].misses = 5
            assert attachment.missed == 5
        prepared.programs[0].misses = 9
    assert attachment.missed == 5


@pytest.mark.parametrize(
    "kind", [AttachType.TRACE_FENTRY, AttachType.TRACE_FEXIT, AttachType.MODIFY_RETURN]
)
@pytest.mark.parametrize("strategy", ["auto", "native", "split"])
def test_plain_programs_have_one_form(kind, strategy):
    host = FakeHost(MANY[:3])
    with one(host, strategy, kind=kind) as prepared, prepared.attach():
        assert [link.attach_type for link in host.links] == [kind]


@pytest.mark.parametrize(
    ("why", "words", "number"),
    [
        ("refused", "the kernel refuses it", errno.EINVAL),
        ("full", "no room for another", errno.E2BIG),
        ("no_place", "no place at its entry", errno.ENOENT),
    ],
)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_refused(strategy, why, words, number):
    host = FakeHost(MANY[:3], FEATURES[strategy], **{why: frozenset({"f1"})})
    with one(host, strategy) as prepared:
        with pytest.raises(AttachError, match=words) as error:
            prepared.attach()
        assert (error.value.target, error.value.errno) == ("f1", number)
        assert error.value.__notes__
        assert not host.links
    assert not host.open


@pytest.mark.parametrize("strategy", ["native", "split"])
def test_not_verified(strategy):
    host = FakeHost(MANY[:3], FEATURES[strategy], unverified=frozenset({"f1"}))
    with pytest.raises(VerifierError):
        one(host, strategy)
    assert not host.open


def test_nothing_to_attach_by():
    with pytest.raises(UnsupportedError, match="fentry and fexit programs"):
        one(FakeHost(MANY[:3], frozenset()))


# many functions


@pytest.mark.parametrize(
    ("features", "strategy", "links", "programs"),
    [
        pytest.param(ALL, Strategy.MULTI, 1, 1, id="multi"),
        pytest.param(NO_MULTI, Strategy.NATIVE, 10, 10, id="native"),
        pytest.param(ONLY_FENTRY, Strategy.SPLIT, 20, 20, id="split"),
    ],
)
def test_many(features, strategy, links, programs):
    host = FakeHost(MANY[:10], features)
    prepared = many(host)
    with prepared, prepared.attach(cookies=range(10)) as attachment:
        assert prepared.strategy == attachment.strategy == strategy
        assert (len(attachment.links), len(prepared.programs)) == (links, programs)
        assert attachment.targets == tuple(MANY[:10])
        given = {
            id: cookie
            for link in host.links
            for id, cookie in zip(link.ids, link.cookies, strict=True)
        }
        ids = [host.vmlinux.id_of(name) for name in MANY[:10]]
        assert [given[id] for id in ids] == list(range(10))
        maps = sum(thing.kind == "map" for thing in host.open.values())
        assert maps == (strategy is Strategy.SPLIT)
    assert not host.open


def test_modules_have_links_of_their_own():
    host = FakeHost(MANY[:4], module_names=["m1", "m2"])
    with many(host, "auto", "mod:*", "f*") as prepared, prepared.attach(cookies=range(6)) as all:
        assert [len(link.ids) for link in host.links] == [4, 2]
        assert [request.attach_module for request in requests(prepared)] == ["", "mod"]
        assert set(all.targets) == {*MANY[:4], "mod:m1", "mod:m2"}
        assert [list(link.cookies) for link in host.links] == [[0, 1, 2, 3], [4, 5]]
    assert not host.open


def requests(prepared):
    return [program.request for program in prepared.programs]


@pytest.mark.parametrize("features", [ALL, NO_MULTI, ONLY_FENTRY])
def test_nothing_left(features):
    """When the kernel refuses every one of them, that is the error."""
    host = FakeHost(MANY[:3], features, refused=frozenset(MANY[:3]))
    with many(host) as prepared:
        with pytest.raises(AttachError, match=r"f[0-2]"):
            prepared.attach()
        assert not host.links
    assert not host.open
    with pytest.raises(BadInputError):
        prepare_many(spec(), host, {}, [])


@pytest.mark.parametrize("features", [ALL, NO_MULTI, ONLY_FENTRY], ids=STRATEGIES)
@pytest.mark.parametrize("why", ["refused", "full"])
@pytest.mark.parametrize("bad", [["f0"], ["f299"], ["f17", "f18", "f250"]], ids=len)
def test_refused_ones_are_left_out(features, why, bad):
    host = FakeHost([*MANY, "unplaced"], features, frozenset({"unplaced"}), **{why: frozenset(bad)})
    with many(host) as prepared, prepared.attach() as attachment:
        assert set(attachment.targets) == set(MANY) - set(bad)
        assert [(item.name, item.reason) for item in attachment.refused] == [
            (name, Reason.KERNEL) for name in bad
        ]
        linked = {host.vmlinux.name_of(id) for link in host.links for id in link.ids}
        assert linked == set(MANY) - set(bad)
    assert not host.open


@pytest.mark.parametrize("why", ["refused", "no_place"])
def test_few_link_calls(why):
    """One that was not known to be refused is found in 3 + log2(n) calls, all but one of which
    attach nothing."""
    host = FakeHost([*MANY, "unplaced"], ALL, frozenset({"unplaced"}))
    prepared = many(host)
    bad = frozenset({"f221"})
    host.refused, host.no_place = (bad, host.no_place) if why == "refused" else (bad ^ bad, bad)
    with prepared, prepared.attach() as attachment:
        assert len(attachment.links) == len(host.links) == 1
        assert [item.name for item in attachment.refused] == ["f221"]
        assert host.link_calls <= 4 + ceil(log2(300))
    assert not host.open


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("type", "fine"), [(ProgType.XDP, True), (ProgType.TRACING, False)])
def test_on_programs(strategy, type, fine):
    """A program of any type but tracing; where multi was asked for, by a link of its own."""
    host = FakeHost(MANY[:3], FEATURES[strategy])
    (target,) = find_targets(host, ["prog:12"]).targets
    target.program.type = type
    if not fine:
        with pytest.raises(AttachError, match="tracing program"):
            prepare(spec(), host, {}, target, strategy)
    else:
        with prepare(spec(), host, {}, target, strategy) as prepared, prepared.attach() as attached:
            assert attached.strategy == {"multi": "native"}.get(strategy, strategy)
            assert {request.attach_program for request in requests(prepared)} == {target.program}
    target.program.close()
    assert not host.open
