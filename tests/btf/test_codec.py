"""Bytes to types and back: every kind, the header, real kernels, whatever comes along."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fsession.btf import types as t
from fsession.btf.catalog import Types
from fsession.btf.encode import Builder, encode
from fsession.btf.format import definition
from fsession.btf.kinds import KINDS
from fsession.btf.model import Models
from fsession.btf.vmlinux_h import vmlinux_h
from fsession.errors import BadInputError
from fsession.uapi import BtfKind

RUNNING = Path("/sys/kernel/btf/vmlinux")

# One type of each kind and each shape of it, with its record behind the name: info, word, body.
KIND_ROWS = [
    ("int", t.Int("x", 4, 32, 1), (1 << 24, 4, 0x01000020)),
    ("bool", t.Int("x", 1, 8, 4), (1 << 24, 1, 0x04000008)),
    ("ptr", t.Ptr(7), (2 << 24, 7)),
    ("array", t.Array(3, 4, 5), (3 << 24, 0, 3, 4, 5)),
    ("struct", t.Struct("x", 8, (t.Member("a", 2, 32),)), (4 << 24 | 1, 8, 3, 2, 32)),
    (
        "struct with bit-fields",
        t.Struct("x", 8, (t.Member("a", 2, 35, 5),), kind_flag=True),
        (1 << 31 | 4 << 24 | 1, 8, 3, 2, 5 << 24 | 35),
    ),
    ("union", t.Union("x", 8, (t.Member("a", 2, 0),)), (5 << 24 | 1, 8, 3, 2, 0)),
    ("enum", t.Enum("x", 4, (t.Enumerator("a", 2**32 - 1),)), (6 << 24 | 1, 4, 3, 2**32 - 1)),
    (
        "signed enum",
        t.Enum("x", 4, (t.Enumerator("a", -1),), is_signed=True),
        (1 << 31 | 6 << 24 | 1, 4, 3, 2**32 - 1),
    ),
    ("fwd", t.Fwd("x"), (7 << 24, 0)),
    ("fwd of a union", t.Fwd("x", is_union=True), (1 << 31 | 7 << 24, 0)),
    ("typedef", t.Typedef("x", 9), (8 << 24, 9)),
    ("volatile", t.Volatile(9), (9 << 24, 9)),
    ("const", t.Const(9), (10 << 24, 9)),
    ("restrict", t.Restrict(9), (11 << 24, 9)),
    ("func", t.Func("x", 9, 1), (12 << 24 | 1, 9)),
    ("proto", t.FuncProto(0, (t.Param("a", 1), t.Param("", 0))), (13 << 24 | 2, 0, 3, 1, 0, 0)),
    ("var", t.Var("x", 9, 2), (14 << 24, 9, 2)),
    ("datasec", t.DataSec("x", 16, (t.SecVar(1, 8, 4),)), (15 << 24 | 1, 16, 1, 8, 4)),
    ("float", t.Float("x", 8), (16 << 24, 8)),
    ("decl tag", t.DeclTag("x", 9, -1), (17 << 24, 9, 2**32 - 1)),
    ("decl tag of a parameter", t.DeclTag("x", 9, 2), (17 << 24, 9, 2)),
    ("type tag", t.TypeTag("x", 9), (18 << 24, 9)),
    ("attribute", t.TypeTag("x", 9, kind_flag=True), (1 << 31 | 18 << 24, 9)),
    (
        "enum64",
        t.Enum64("x", 8, (t.Enumerator("a", 2**63 + 1),)),
        (19 << 24 | 1, 8, 3, 1, 0x80000000),
    ),
    (
        "signed enum64",
        t.Enum64("x", 8, (t.Enumerator("a", -2),), is_signed=True),
        (1 << 31 | 19 << 24 | 1, 8, 3, 2**32 - 2, 2**32 - 1),
    ),
]


@pytest.mark.parametrize(
    ("type", "words"), [r[1:] for r in KIND_ROWS], ids=[r[0] for r in KIND_ROWS]
)
def test_each_kind_both_ways(type: t.Type, words: tuple[int, ...]):
    strings = b"\0x\0a\0"
    name = 1 if getattr(type, "name", "") else 0
    record = struct.pack(f"<{len(words) + 1}I", name, *words)
    data = _blob(record, strings)
    types = Types.from_bytes(data)
    assert types[1] == type
    assert encode(types) == data
    builder = Builder()
    builder.add(type)
    assert builder.types()[1] == type


def test_every_kind_of_the_kernel_has_a_row():
    assert set(KINDS) == set(BtfKind) - {BtfKind.UNKN}
    assert {type(row[1]) for row in KIND_ROWS} == {kind.cls for kind in KINDS.values()}


def _blob(records: bytes, strings: bytes, **header: int) -> bytes:
    fields = {
        "magic": 0xEB9F,
        "version": 1,
        "flags": 0,
        "head": 24,
        "type_off": 0,
        "type_len": len(records),
        "str_off": len(records),
        "str_len": len(strings),
    } | header
    return struct.pack("<HBBIIIII", *fields.values()) + records + strings


INT = struct.pack("<IIII", 1, 1 << 24, 4, 32)
BROKEN = [
    ("nothing", b"", "cut off: 0 bytes", 0),
    ("half a header", _blob(b"", b"\0")[:20], "cut off: 20 bytes", 0),
    ("magic", _blob(b"", b"\0", magic=0x1234), "not BTF: magic 0x1234", 0),
    ("big endian", _blob(b"", b"\0", magic=0x9FEB), "big endian", 0),
    ("version", _blob(b"", b"\0", version=2), "version 2", 0),
    ("short header", _blob(b"", b"\0", head=16), "header of 16", 0),
    ("types beyond the end", _blob(INT, b"\0", type_len=1 << 20), "type section", 8),
    ("odd types", _blob(INT, b"\0", type_len=15), "type section", 8),
    ("strings beyond the end", _blob(INT, b"\0", str_len=100), "cut off", 16),
    ("string without an end", _blob(INT, b"\0int"), "does not end", 43),
    ("unknown kind", _blob(struct.pack("<III", 0, 31 << 24, 0), b"\0"), "kind 31 is unknown", 24),
    ("kind 0", _blob(struct.pack("<III", 0, 0, 0), b"\0"), "kind 0 is unknown", 24),
    ("head cut off", _blob(INT + b"\0" * 4, b"\0int\0"), "cut off", 40),
    ("body cut off", _blob(INT[:12], b"\0int\0"), "cut off", 24),
    ("too many members", _blob(struct.pack("<III", 0, 4 << 24 | 0xFFFF, 8), b"\0"), "cut off", 24),
    ("no such string", _blob(INT, b"\0"), "no BTF string at 0x1", 24),
]


@pytest.mark.parametrize(
    ("data", "words", "offset"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN]
)
def test_malformed_input_is_named_with_its_place(data: bytes, words: str, offset: int):
    with pytest.raises(BadInputError, match=words) as caught:
        list(Types.from_bytes(data))
    assert caught.value.offset == offset


def test_a_bad_record_is_refused_each_time():
    types = Types.from_bytes(_blob(INT + struct.pack("<III", 0, 31 << 24, 0), b"\0int\0"))
    for _ in range(2):
        with pytest.raises(BadInputError, match="kind 31"):
            len(types)


def test_a_longer_header_is_skipped():
    data = _blob(INT, b"\0int\0")
    longer = struct.pack("<HBBI", 0xEB9F, 1, 0, 32) + data[8:24] + b"\1" * 8 + data[24:]
    assert list(Types.from_bytes(longer)) == [t.Void(), t.Int("int", 4, 32)]


REFUSED = [
    ("void", t.Void(), "id 0"),
    ("size", t.Struct("x", -1, ()), "does not fit"),
    ("members", t.Union("x", 1, (t.Member("m", 1, 0),) * 65536), "more than 65535"),
    ("NUL in a name", t.Typedef("a\0b", 1), "NUL"),
]


@pytest.mark.parametrize(("type", "words"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_builder_refuses(type: t.Type, words: str):
    with pytest.raises(BadInputError, match=words):
        Builder().add(type)


def test_split_types_continue_ids_and_strings_of_the_base():
    base = Builder()
    base.add(t.Int("int", 4, 32, 1))
    kernel = base.types()
    split = Builder(kernel)
    assert split.add(t.Typedef("int", 1)) == 2  # its name is a string of the base
    assert split.add(t.Struct("mine", 4, (t.Member("int", 2, 0),))) == 3
    types = split.types()
    assert types[1] is kernel[1]
    assert types[3] == t.Struct("mine", 4, (t.Member("int", 2, 0),))
    assert types.strings.section == b"mine\0"
    assert encode(types) == types.data


@pytest.mark.slow
@pytest.mark.skipif(not RUNNING.exists(), reason="this kernel has no BTF of its own")
def test_the_running_kernel_is_written_as_it_was():
    data = RUNNING.read_bytes()
    assert encode(Types.from_bytes(data)) == data


@pytest.mark.slow
@pytest.mark.skipif(not RUNNING.exists(), reason="this kernel has no BTF of its own")
@pytest.mark.skipif(not shutil.which("bpftool"), reason="bpftool is not installed")
def test_every_type_is_what_bpftool_says():
    command = ["bpftool", "-j", "btf", "dump", "file", str(RUNNING)]
    theirs = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["types"]
    types = Types.from_bytes(RUNNING.read_bytes())
    assert len(types) == len(theirs) + 1
    for row in theirs:
        assert _as_bpftool(types[row["id"]]) == _comparable(row), row


_LINKAGE = ("static", "global", "extern")


def _comparable(row: dict) -> dict:
    kept = {key: value for key, value in row.items() if key not in ("id", "vlen", "encoding")}
    if row["kind"] == "FWD":
        return {"kind": "FWD", "name": row["name"]} | {"is_union": row["fwd_kind"] == "union"}
    if row["kind"] == "ENUM":  # bpftool prints unsigned values from 2**31 on as of 64 bits
        kept["values"] = [{**value, "val": value["val"] & 0xFFFF_FFFF} for value in row["values"]]
    return kept


def _as_bpftool(type: t.Type) -> dict:
    """A type in the words of ``bpftool -j btf dump``."""
    names = {"DataSec": "DATASEC", "FuncProto": "FUNC_PROTO", "DeclTag": "DECL_TAG"}
    kind = names.get(type.__class__.__name__, type.__class__.__name__.upper())
    out = {
        "kind": kind.replace("TYPETAG", "TYPE_TAG"),
        "name": getattr(type, "name", "") or "(anon)",
    }
    match type:
        case t.Int():
            out |= {"size": type.size, "bits_offset": type.bit_offset, "nr_bits": type.bits}
        case t.Array():
            out |= {"type_id": type.type, "index_type_id": type.index_type}
            out["nr_elems"] = type.nelems
        case t.Struct() | t.Union():
            out |= {"size": type.size, "members": [_member(type, m) for m in type.members]}
        case t.Enum() | t.Enum64():
            mask = 0xFFFF_FFFF if isinstance(type, t.Enum) else -1
            values = [{"name": value.name, "val": value.value & mask} for value in type.values]
            out |= {"size": type.size, "values": values}
        case t.Fwd():
            out["is_union"] = type.is_union
        case t.FuncProto():
            params = [{"name": p.name or "(anon)", "type_id": p.type} for p in type.params]
            out |= {"ret_type_id": type.type, "params": params}
        case t.Func() | t.Var():
            out |= {"type_id": type.type, "linkage": _LINKAGE[type.linkage]}
        case t.DataSec():
            rows = [{"type_id": v.type, "offset": v.offset, "size": v.size} for v in type.variables]
            out |= {"size": type.size, "vars": rows}
        case t.Float():
            out["size"] = type.size
        case t.DeclTag():
            out |= {"type_id": type.type, "component_idx": type.component}
        case _:
            out["type_id"] = type.type
    return out


def _member(type: t.Struct | t.Union, member: t.Member) -> dict:
    out = {"name": member.name or "(anon)", "type_id": member.type}
    out["bits_offset"] = member.bit_offset
    if type.kind_flag and member.bits:
        out["bitfield_size"] = member.bits
    return out


NAMES = st.text("abcxyz_09é", max_size=6)
IDS = st.integers(0, 40)
U32 = st.integers(0, 2**32 - 1)
FLAG = st.booleans()


def _members(kind_flag: bool) -> st.SearchStrategy:
    offsets = st.integers(0, 2**24 - 1) if kind_flag else U32
    bits = st.integers(0, 255) if kind_flag else st.just(0)
    return st.lists(st.builds(t.Member, NAMES, IDS, offsets, bits), max_size=4).map(tuple)


def _composites(cls: type) -> st.SearchStrategy:
    return FLAG.flatmap(lambda flag: st.builds(cls, NAMES, U32, _members(flag), st.just(flag)))


def _enums(cls: type, bits: int) -> st.SearchStrategy:
    def values(is_signed: bool) -> st.SearchStrategy:
        low = -(1 << bits - 1) if is_signed else 0
        each = st.builds(t.Enumerator, NAMES, st.integers(low, low + (1 << bits) - 1))
        return st.lists(each, max_size=4).map(tuple)

    return FLAG.flatmap(lambda flag: st.builds(cls, NAMES, U32, values(flag), st.just(flag)))


TYPES = st.one_of(
    st.builds(t.Int, NAMES, U32, st.integers(0, 255), st.integers(0, 15), st.integers(0, 255)),
    *(st.builds(cls, IDS) for cls in (t.Ptr, t.Const, t.Volatile, t.Restrict)),
    st.builds(t.Array, IDS, IDS, U32),
    _composites(t.Struct),
    _composites(t.Union),
    _enums(t.Enum, 32),
    _enums(t.Enum64, 64),
    st.builds(t.Fwd, NAMES, FLAG),
    st.builds(t.Typedef, NAMES, IDS),
    st.builds(t.Func, NAMES, IDS, st.integers(0, 2)),
    st.builds(t.FuncProto, IDS, st.lists(st.builds(t.Param, NAMES, IDS), max_size=4).map(tuple)),
    st.builds(t.Var, NAMES, IDS, U32),
    st.builds(
        t.DataSec, NAMES, U32, st.lists(st.builds(t.SecVar, IDS, U32, U32), max_size=3).map(tuple)
    ),
    st.builds(t.Float, NAMES, U32),
    st.builds(t.DeclTag, NAMES, IDS, st.integers(-(2**31), 2**31 - 1), FLAG),
    st.builds(t.TypeTag, NAMES, IDS, FLAG),
)


def _build(added: list[t.Type]) -> Types:
    builder = Builder()
    for type in added:
        builder.add(type)
    return builder.types()


@given(st.lists(TYPES, max_size=12))
def test_what_is_written_is_read(added: list[t.Type]):
    types = _build(added)
    assert list(types)[1:] == added
    assert encode(types) == types.data


def touch(types: Types) -> int:
    """Use everything there is of each type; how many could be used. For fuzzing."""
    good = 0
    models = Models(types)
    for id in types.own_ids():
        try:
            type = types[id]
            types.find(types.name_of(id), type.__class__)
            types.size_of(id), types.align_of(id), types.strip(id), definition(types, id)
            if isinstance(type, t.Func):
                models.of(id)
            good += 1
        except BadInputError:
            continue
    with suppress(BadInputError):
        "".join(vmlinux_h(types))
    return good


@given(st.lists(TYPES, min_size=1, max_size=12))
def test_types_that_make_no_sense_are_refused_and_nothing_else(added: list[t.Type]):
    touch(_build(added))


SEED = _build([row[1] for row in KIND_ROWS])


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(SEED.data) - 1), st.integers(0, 255)), max_size=6))
@example([(4, 0)])
def test_changed_bytes_are_refused_or_read(changes: list[tuple[int, int]]):
    data = bytearray(SEED.data)
    for at, value in changes:
        data[at] = value
    try:
        types = Types.from_bytes(bytes(data))
        again = Types.from_bytes(encode(types))
    except BadInputError:
        return
    assert [_plain(type) for type in again] == [_plain(type) for type in types]
    touch(types)


def _plain(type: t.Type) -> t.Type:
    """Without the bits of an integer's word that have no meaning."""
    return replace(type, bit_offset=0) if isinstance(type, t.Int) else type


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(data: bytes):
    try:
        touch(Types.from_bytes(data))
    except BadInputError:
        return
