"""Finding callees in a memory of a few functions, each a row of calls."""

from __future__ import annotations

import pytest

from fsession.callees import Symbol, Verdict, find_callees

BASE = 0xFFFF_FFFF_8100_0000
SIZE = 0x100
NAMES = ["root", "a", "b", "c", "d", "a.part.0", "root.cold", "thunk"]
CALLS = {
    "root": ["b", "a", "b", "thunk"],
    "root.cold": ["d"],
    "a": ["a.part.0", "root"],
    "a.part.0": ["c"],
    "b": ["c"],
    "c": ["d"],
    "thunk": ["d"],
}
VERDICTS = {"a.part.0": Verdict.PART, "root.cold": Verdict.PART, "thunk": Verdict.DROP}


def start(name):
    return BASE + SIZE * NAMES.index(name)


def call(at, target, opcode=b"\xe8"):
    return opcode + (target - at - 5).to_bytes(4, "little", signed=True)


class Memory:
    def __init__(self, into=0):
        self.into = into
        self.reads = 0

    def read(self, ranges):
        self.reads += 1
        return [self.code(address, size) for address, size in ranges]

    def code(self, address, size):
        name = NAMES[(address - BASE) // SIZE]
        code = bytearray(bytes.fromhex("0f1f440000"))
        for callee in CALLS.get(name, ()):
            code += call(address + len(code), start(callee) + self.into)
        if name == "root":
            code += call(address + len(code), start("root.cold") + 0x40, b"\xe9")
        return bytes(code.ljust(size, b"\xcc"))

    def goals(self, places):
        return list(places)

    def symbols(self, addresses):
        return [self.symbol(address - BASE) for address in addresses]

    def symbol(self, offset):
        known = 0 <= offset < SIZE * len(NAMES)
        return Symbol(NAMES[offset // SIZE], offset % SIZE, SIZE, "") if known else None


def find(depth, memory=None, **verdicts):
    chosen = VERDICTS | verdicts
    found = find_callees(
        memory or Memory(),
        "x86_64",
        [start("root")],
        depth,
        lambda symbols: [chosen.get(symbol.name, Verdict.KEEP) for symbol in symbols],
    )
    return {callee.symbol.name: callee.depth for callee in found}


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (0, {}),
        (1, {"b": 1, "a": 1, "d": 1}),
        (2, {"b": 1, "a": 1, "d": 1, "c": 2}),
        (9, {"b": 1, "a": 1, "d": 1, "c": 2}),
    ],
)
def test_depth(depth, expected):
    assert list(find(depth).items()) == list(expected.items())


def test_verdicts():
    assert find(3, a=Verdict.DROP, b=Verdict.LEAF) == {"b": 1, "d": 1}
    assert find(3, a=Verdict.THROUGH, b=Verdict.DROP) == {"c": 2, "d": 1}


def test_a_call_behind_the_landing_pad_is_a_call():
    assert find(1, Memory(into=4)) == find(1)


def test_a_call_into_the_middle_is_none():
    assert find(1, Memory(into=8)) == {}


def test_few_reads():
    memory = Memory()
    find(9, memory)
    assert memory.reads <= 6
