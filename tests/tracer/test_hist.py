"""`hist` and `top` on a host that is none: their programs are made, their maps are read."""

from __future__ import annotations

import pytest
from tests.tracer.test_tracer import NO_MULTI, Host, Thing

from fsession.errors import BadInputError, CompileError
from fsession.trace.tally import CELL, ROW, TALLY_MAP
from fsession.tracer.hist import hist
from fsession.tracer.top import top
from fsession.uapi import MapType

CPUS = 2


class Counted(Host):
    """`content` is what the tally map holds."""

    def __init__(self, kernel, lacking=NO_MULTI, **facts):
        super().__init__(kernel, lacking, **facts)
        self.content: dict[bytes, bytes] = {}
        self.specs = {}

    def create_map(self, spec, types=None):
        self.specs[spec.name] = spec
        made = Thing(self, spec=spec)
        made.items = lambda: iter(self.content.items())
        return made


def cell(*pairs):
    return b"".join(CELL.pack(*pair) for pair in pairs)


def word(number, size=8):
    return number.to_bytes(size, "little")


@pytest.fixture
def host(kernel):
    return Counted(kernel)


def test_durations(host):
    with hist("icmp_rcv", host=host) as counted:
        assert host.specs[TALLY_MAP].type is MapType.PERCPU_ARRAY
        host.content = {word(3, 4): cell((2, 10), (1, 7)), word(9, 4): cell((0, 0), (1, 300))}
        (row,) = counted.read()
        assert row.keys == ()
        assert row.buckets == [(4, 7, 3), (256, 511, 1)]
        assert row.total == 317
        assert counted.summary.calls == 4
    assert host.open == []


def test_keys(host):
    """Texts are alike whatever is behind their end."""
    with hist("icmp_rcv", by=["comm", "function"], host=host) as counted:
        spec = host.specs[TALLY_MAP]
        assert (spec.type, spec.key_size) == (MapType.PERCPU_HASH, 8 + 8 + 8 + 16)
        for rest in (b"", b"junk"):
            comm = (b"ls\0" + rest).ljust(16, b"\0")
            host.content[word(3) + word(0) + word(0) + comm] = cell((1, 5), (0, 0))
        (row,) = counted.read()
        assert row.keys == ("ls", "icmp_rcv")
        assert (row.count, row.total) == (2, 10)


@pytest.mark.parametrize(
    ("of", "options"),
    [
        ("ret", {"linear": (-10, 10, 1)}),
        ("ret", {"errors": True}),
        ("skb", {"by": "ret"}),
        ("duration", {"by": ["pid", "cpu"], "filter": "ret < 0 && skb"}),
        ("cpu", {"by": "comm", "min_duration_ns": 10}),
    ],
)
@pytest.mark.parametrize("lacking", [NO_MULTI, set()], ids=["native", "multi"])
def test_expressions(kernel, of, options, lacking):
    """Programs are made for whatever side the numbers, keys and filters are of."""
    host = Counted(kernel, lacking)
    names = ["icmp_rcv"] if lacking else ["icmp_rcv", "icmp_rcv*"]
    with hist(*names, of=of, host=host, **options) as counted:
        assert counted.read() == []
        assert counted.summary.functions == 1


WRONG = [
    ({"of": "nosuch"}, CompileError),
    ({"of": "comm"}, BadInputError),
    ({"by": ["function", "function"]}, BadInputError),
    ({"linear": (5, 1, 1)}, BadInputError),
    ({"by": ["str(skb)", "str(skb)", "str(skb)", "str(skb)"]}, BadInputError),
]


@pytest.mark.parametrize(("options", "error"), WRONG)
def test_wrong(host, options, error):
    with pytest.raises(error):
        hist("icmp_rcv", host=host, **options).__enter__()
    assert host.open == []


@pytest.mark.parametrize("lacking", [NO_MULTI, set()], ids=["native", "multi"])
def test_top(kernel, lacking):
    host = Counted(kernel, lacking)
    with top("icmp_rcv", "tick", host=host) as counted:
        assert host.specs[TALLY_MAP].max_entries == 2
        names = [target.name for target in counted.selection.targets]
        host.content = {
            word(0, 4): ROW.pack(2, 1, 300) + ROW.pack(1, 0, 50),
            word(1, 4): ROW.pack(0, 0, 0) * CPUS,
        }
        (row,) = counted.read()
        assert (row.function, row.calls, row.errors, row.total_ns) == (names[0], 3, 1, 350)
    assert host.open == []
