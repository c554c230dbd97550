"""The tracer on a host that is none: what it selects, attaches, reads, sums up and closes."""

from __future__ import annotations

import errno
import struct
from itertools import count

import pytest

from fsession.attach import Reason
from fsession.btf.types import Func
from fsession.errors import AttachError, BadInputError, KernelError, VerifierError
from fsession.host import Feature, ProgramInfo, Symbol
from fsession.isa.opcode import Pseudo
from fsession.trace import Counts, Layout, attach_cookie
from fsession.trace.record import HEADER
from fsession.tracer import trace
from fsession.uapi import AttachType, ProgType

NO_MULTI = {Feature.FSESSION_MULTI}
ONLY_SPLIT = NO_MULTI | {Feature.FSESSION}


class Thing:
    """A program, map, link or ring reader: open until it is closed."""

    def __init__(self, host, **facts):
        self.host = host
        self.fd = self.id = next(host.numbers)
        self.__dict__ |= facts
        host.open.append(self)

    def close(self):
        if self in self.host.open:
            self.host.open.remove(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def info(self):
        return ProgramInfo(self.id, "", ProgType.TRACING, "", 0, 0, self.host.misses, 0, 0)

    def lookup(self, key, **_):
        return self.host.values.get(self.spec.name, bytes(self.spec.value_size))

    def update(self, key, value, **_):
        pass

    def poll(self, timeout_s=None):
        sent, self.host.sent = self.host.sent, []
        for record in sent:
            self.callback(memoryview(record))
        return len(sent)

    def read_batch(self, most=None):
        there = self.host.sent
        sent, self.host.sent = there[:most], there[len(there[:most]) :]
        return b"".join(struct.pack("<II", len(record), 0) + record for record in sent)

    def fileno(self):
        return self.fd


class Host:
    """`refused` fail at the link, `unverified` at the load."""

    name, description, cpu_count = "test", "Test 1.0 x86_64", 2

    def __init__(self, kernel, lacking=(), refused=(), unverified=()):
        self.kernel, self.lacking = kernel, set(lacking)
        self.refused, self.unverified = set(refused), set(unverified)
        self.numbers, self.open, self.sent, self.values, self.misses = count(3), [], [], {}, 0
        self.links = []

    def types(self, module=""):
        return self.kernel.types

    def modules(self):
        return []

    def traceable(self, glob="*", module=""):
        return [name for name, _ in self.kernel.types.functions()]

    argument_words = 12

    def function_symbols(self, glob="*", module=""):
        return [Symbol(name) for name, _ in self.kernel.types.functions(glob)]

    def why_not(self, feature):
        return "EINVAL" if feature in self.lacking else ""

    def create_map(self, spec, types=None):
        return Thing(self, spec=spec)

    def load(self, request):
        if self._name(request.attach_btf_id) in self.unverified:
            raise VerifierError(request.name, errno.EINVAL, "log", "no")
        return Thing(self, request=request)

    def link(self, program, attach_type, *, cookie=0, **_):
        return self._link(program, attach_type, [program.request.attach_btf_id], [cookie])

    def link_multi(self, program, attach_type, btf_ids, cookies=None):
        return self._link(program, attach_type, btf_ids, cookies)

    def _link(self, program, attach_type, ids, cookies):
        names = [self._name(number) for number in ids]
        if self.refused & set(names):
            raise KernelError("link", errno.EINVAL)
        self.links.append((attach_type, dict(zip(names, cookies, strict=True))))
        return Thing(self)

    def _name(self, number):
        return self.kernel.types.name_of(number) if number else ""

    def symbol_at(self, address):
        return {0xFFFF_8000: "worker"}.get(address)

    def ring_buffer(self, ring, callback):
        return Thing(self, callback=callback)


def record(index=0, slots=1, ret=0):
    head = HEADER.pack(1000, 3000, 5 << 32 | 6, 1, index, b"ping", ret)
    return head + bytes(range(8)) * slots


def test_one_function(kernel):
    host = Host(kernel)
    with trace("icmp_rcv", host=host) as calls:
        assert host.links == [(AttachType.TRACE_FSESSION, {"icmp_rcv": 0})]
        host.sent = [record(), record(ret=7)]
        first, second = calls.read(0)
        assert (first.function, first.pid, first.duration_ns) == ("icmp_rcv", 5, 2000)
        assert second.ret == 7
        summary = calls.summary
    assert (summary.calls, summary.lost, summary.missed) == (2, 0, 0)
    assert (summary.functions, summary.programs, summary.links) == (1, 1, 1)
    assert (summary.strategy, summary.host) == ("native", "Test 1.0 x86_64")
    assert host.open == []


def test_portions(kernel):
    host = Host(kernel)
    with trace("icmp_rcv", host=host) as calls:
        host.sent = [record(ret=number) for number in range(5)]
        portions = [[call.ret for call in calls.read(0, most=2)] for _ in range(4)]
    assert portions == [[0, 1], [2, 3], [4], []]


def test_programs_get_their_maps(kernel):
    host = Host(kernel)
    with trace("filp_open", host=host):
        maps = {thing.fd for thing in host.open if "spec" in vars(thing)}
        (program,) = [thing for thing in host.open if "request" in vars(thing)]
        pseudos = (Pseudo.MAP_FD, Pseudo.MAP_VALUE)
        used = {
            i.imm & 0xFFFF_FFFF for i in program.request.insns if i.is_lddw and i.src in pseudos
        }
        assert used == maps


def test_many_functions_by_one_link(kernel):
    host = Host(kernel)
    names = ["icmp_rcv", "rename", "tick"]
    with trace(*names, host=host) as calls:
        cookies = {
            name: attach_cookie(kernel.signature(name).shape, index)
            for index, name in enumerate(names)
        }
        assert host.links == [(AttachType.TRACE_FSESSION_MULTI, cookies)]
        host.sent = [record(index=2, slots=Layout(2, 2).size // 8)]
        assert [call.function for call in calls.read(0)] == ["tick"]
        assert calls.summary.strategy == "multi"
    assert host.open == []


@pytest.mark.parametrize(
    ("lacking", "strategy", "programs"), [(NO_MULTI, "native", 2), (ONLY_SPLIT, "split", 4)]
)
def test_many_functions_without_multi(kernel, lacking, strategy, programs):
    host = Host(kernel, lacking)
    with trace("icmp_rcv", "tick", host=host) as calls:
        summary = calls.summary
    assert (summary.strategy, summary.functions) == (strategy, 2)
    assert summary.programs == summary.links == programs
    assert host.open == []


def test_losses(kernel):
    host = Host(kernel)
    with trace("icmp_rcv", host=host) as calls:
        host.sent = [record()] * 3
        calls.read(0)
        host.values["counts"] = Counts.STRUCT.pack(4, 2, 5, 6, 7)
        host.misses = 1
        summary = calls.summary
    assert (summary.calls, summary.lost, summary.missed) == (7, 4, 2)
    assert (summary.faulted, summary.unsaved) == (5, 6)


def test_max_events(kernel):
    host = Host(kernel)
    with trace("icmp_rcv", host=host, max_events=2) as calls:
        host.sent = [record()] * 5
        assert len(list(calls)) == 2
        assert calls.is_done
        assert calls.summary.calls == 2


def test_what_is_read_after_the_end_is_kept(kernel):
    host = Host(kernel)
    with trace("icmp_rcv", host=host) as calls:
        host.sent = [record()]
        calls.detach()
        assert len(calls.read(0)) == 1


def test_functions_that_tell_no_error_are_left_out(kernel):
    with trace("icmp_rcv", "tick", host=Host(kernel), errors=True) as calls:
        assert calls.summary.functions == 1
        assert calls.summary.skipped == {"a result that tells no error": 1}


def test_a_function_that_a_pattern_gave_may_be_refused(kernel):
    host = Host(kernel, NO_MULTI, refused={"tick"}, unverified={"rename"})
    with trace("[itr]*", host=host) as calls:
        summary = calls.summary
    assert summary.functions == summary.links == summary.programs == 1
    assert summary.skipped == {str(Reason.KERNEL): 2, str(Reason.WORDS): 1}
    assert host.open == []


FAILURES = [
    ("the name", {}, ["icmp_rvc"], {}, AttachError),
    ("one name of two", {}, ["icmp_rcv", "icmp_rvc"], {}, AttachError),
    ("the link", {"refused": {"icmp_rcv"}}, ["icmp_rcv"], {}, AttachError),
    ("one link of two", {"refused": {"icmp_rcv"}}, ["icmp_rcv", "tick"], {}, AttachError),
    ("the load", {"unverified": {"icmp_rcv"}}, ["icmp_rcv"], {}, VerifierError),
    ("every link", {"refused": {"icmp_rcv"}}, ["icmp_*"], {}, AttachError),
    ("the strategy", {}, ["icmp_rcv"], {"strategy": "quick"}, BadInputError),
    ("no result", {}, ["tick"], {"errors": True}, AttachError),
]


@pytest.mark.parametrize(
    ("facts", "names", "options", "error"),
    [row[1:] for row in FAILURES],
    ids=[row[0] for row in FAILURES],
)
def test_nothing_is_left_when_it_fails(kernel, facts, names, options, error):
    host = Host(kernel, **facts)
    with pytest.raises(error):
        trace(*names, host=host, **options).__enter__()
    assert host.open == []


@pytest.mark.parametrize("comm", ["", "sixteen-bytes-ab", "ü" * 8])
def test_no_such_comm(comm):
    with pytest.raises(BadInputError, match="no thread can have the name"):
        trace("icmp_rcv", comm=comm)


def test_once_only(kernel):
    tracer = trace("icmp_rcv", host=Host(kernel))
    with tracer:
        pass
    with pytest.raises(BadInputError, match="once only"):
        tracer.__enter__()


def test_a_selection_attaches_nothing(kernel):
    host = Host(kernel)
    selection = trace("icmp_rcv", "tick", host=host).select()
    assert [target.name for target in selection.targets] == ["icmp_rcv", "tick"]
    assert [group.many for group in selection.groups()] == [True]
    assert host.open == []
    assert selection.targets[0].btf_id == kernel.types.id_of("icmp_rcv", Func)
