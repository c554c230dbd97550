"""Records of events to Python: each kind of type."""

from __future__ import annotations

import struct

import pytest

from fsession.btf.encode import Builder
from fsession.btf.types import Array as BtfArray
from fsession.btf.types import Int, Member
from fsession.btf.types import Struct as BtfStruct
from fsession.btf.types import Union as BtfUnion
from fsession.errors import BadInputError
from fsession.lang.ctypes import BOOL, CHAR, U16, U32, Array, Catalog, Integer, Stack
from fsession.lang.events import EventDecoder
from fsession.lang.unit import Unit


@pytest.fixture
def unit():
    return Unit(Catalog(_types()))


def _types():
    """``struct packet { u32 kind : 3; s32 level : 5; union { u32 from; char tag[4]; }; struct pair
    pairs[2]; }``, ``struct pair { u16 a, b; }``"""
    build = Builder()
    u16 = build.add(Int("u16", 2, 16))
    u32 = build.add(Int("u32", 4, 32))
    s32 = build.add(Int("s32", 4, 32, 1))
    tag = build.add(BtfArray(build.add(Int("char", 1, 8, 1)), u32, 4))
    pair = build.add(BtfStruct("pair", 4, (Member("a", u16, 0), Member("b", u16, 16))))
    union = build.add(BtfUnion("", 4, (Member("from", u32, 0), Member("tag", tag, 0))))
    members = (
        Member("kind", u32, 0, 3),
        Member("level", s32, 3, 5),
        Member("", union, 32),
        Member("pairs", build.add(BtfArray(pair, u32, 2)), 64),
    )
    build.add(BtfStruct("packet", 16, members, kind_flag=True))
    return build.types()


def _decoded(unit, type, raw, **how):
    event = unit.event("event", [("before", U16), ("field", type)], unit.catalog)
    offset = event.fields[1].offset
    record = struct.pack("<QH", event.number, 7).ljust(offset, b"\xff") + raw
    decoded = EventDecoder(unit.events, **how).decode(record.ljust(event.size, b"\xff"))
    assert decoded.before == 7
    return decoded.field


@pytest.mark.parametrize(
    ("type", "raw", "expected"),
    [
        (U32, b"\x01\0\0\x80", 0x80000001),
        (Integer(4, True, "int"), b"\xfe\xff\xff\xff", -2),
        (BOOL, b"\x01", True),
        (Array(CHAR, 8), b"ab\0cdefg", "ab"),
        (Array(CHAR, 3), b"\xffbc", "\\xffbc"),
        (Array(U16, 3), b"\1\0\2\0\0\1", (1, 2, 256)),
        (Array(Array(CHAR, 2), 2), b"a\0bc", ("a", "bc")),
    ],
    ids=str,
)
def test_kinds(unit, type, raw, expected):
    assert _decoded(unit, type, raw) == expected


def test_struct(unit):
    packet = unit.catalog.find("struct packet")
    word = 5 | (-3 & 31) << 3
    raw = struct.pack("<I4s4H", word, b"lo\0!", 1, 2, 3, 4)
    seen = _decoded(unit, packet, raw)
    assert (seen.kind, seen.level, seen.tag) == (5, -3, "lo")
    assert seen[2] == int.from_bytes(b"lo\0!", "little")  # "from" is no name in Python
    assert [(pair.a, pair.b) for pair in seen.pairs] == [(1, 2), (3, 4)]


def test_stack(unit):
    raw = struct.pack("<q4Q", 16, 0xFFFF0001, 0xFFFF0002, 0, 0)
    names = {0xFFFF0001: "f+0x1", 0xFFFF0002: "g+0x2"}
    seen = _decoded(unit, Stack(4), raw, symbols=lambda words: [names[word] for word in words])
    assert seen == ("f+0x1", "g+0x2")
    assert _decoded(unit, Stack(4), raw) == ("0xffff0001", "0xffff0002")
    assert _decoded(unit, Stack(1), struct.pack("<qQ", -14, 0)) == ()


@pytest.mark.parametrize("record", [b"", bytes(7), b"\x05" + bytes(7)], ids=repr)
def test_no_event(unit, record):
    with pytest.raises(BadInputError):
        EventDecoder(unit.events).decode(record)
