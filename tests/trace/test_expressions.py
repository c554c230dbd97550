"""Expressions on a function: names, sides, fields, programs, and the bytes they leave."""

from __future__ import annotations

import struct

import pytest

from fsession.errors import CompileError
from fsession.lang.ctypes import Catalog
from fsession.spec import MapRef
from fsession.trace.body import Wanted
from fsession.trace.decode import Decoder
from fsession.trace.event import Function
from fsession.trace.expressions import check, describe
from fsession.trace.fields import Field, Form, field_reader
from fsession.trace.filters import Filters
from fsession.trace.program import (
    Templates,
    function_program,
    map_specs,
    multi_layout,
    multi_program,
    with_fields,
)
from fsession.trace.record import HEADER, NOT_SAVED
from fsession.trace.scope import Scope
from fsession.trace.values import FAULT, LOST

INT, TEXT, CHARS, POINTER = Form.INT, Form.TEXT, Form.CHARS, Form.POINTER


@pytest.fixture
def scope(kernel):
    catalog = Catalog(kernel.types)

    def make(function="icmp_rcv", **options):
        return Scope.of(catalog, kernel.signature(function), **options)

    return make


FIELDS = [
    ("icmp_rcv", "skb->len", INT, 4, False),
    ("icmp_rcv", "skb.len", INT, 4, False),
    ("icmp_rcv", "skb", POINTER, 8, True),
    ("icmp_rcv", "ret", INT, 4, True),
    ("icmp_rcv", "skb->len + ret", INT, 4, True),
    ("icmp_rcv", "duration / 1000", INT, 8, True),
    ("icmp_rcv", "skb->owner->f_name", CHARS, 16, False),
    ("icmp_rcv", "skb->owner", POINTER, 8, False),
    ("icmp_rcv", "comm", CHARS, 16, True),
    ("icmp_rcv", "pid", INT, 4, True),
    ("icmp_rcv", "kstack", Form.KSTACK, 384, True),
    ("icmp_rcv", " ustack ", Form.USTACK, 384, True),
    ("icmp_rcv", "*skb->owner", Form.TYPED, 176, False),
    ("icmp_rcv", "ip4(skb->len)", Form.IP4, 4, False),
    ("icmp_rcv", "mac(skb)", Form.MAC, 6, False),
    ("icmp_rcv", "buf(skb, 20)", Form.BYTES, 20, False),
    ("filp_open", "name", TEXT, 88, False),
    ("filp_open", "flags", INT, 4, True),
    ("set_owner", "sym(done)", Form.SYMBOL, 8, True),
    ("set_owner", "done", Form.SYMBOL, 8, True),
    ("set_owner", "uid.val", INT, 4, True),
    ("drop", "flags", Form.TYPED, 4, True),
    ("give", "once", Form.BOOL, 1, True),
]


@pytest.mark.parametrize("row", FIELDS, ids=[f"{row[0]} {row[1]}" for row in FIELDS])
def test_fields(scope, row):
    function, text, form, size, at_exit = row
    found = describe(scope(function), text)
    assert (found.form, found.size, found.at_exit) == (form, size, at_exit)
    assert found.text == text.strip()


WRONG = [
    ("icmp_rcv", "skb->lem", "struct sk_buff has no member 'lem'", "did you mean len"),
    ("icmp_rcv", "skb->xyz", "struct sk_buff has no member 'xyz'", "it has: len, owner"),
    ("icmp_rcv", "name", "the name 'name' is not known", "there are: cgroup, comm, cpu"),
    ("tick", "ret", "the name 'ret' is not known", "there are: cgroup, comm, cpu"),
    ("icmp_rcv", "buf(skb, 1000)", "buf() shows 1 to 256 bytes", ""),
    ("icmp_rcv", "kstack + 1", "kstack() shows a value", ""),
    ("icmp_rcv", "skb->", "no expression of C", ""),
]


@pytest.mark.parametrize(("function", "text", "message", "hint"), WRONG)
def test_wrong(scope, function, text, message, hint):
    with pytest.raises(CompileError) as caught:
        describe(scope(function), text)
    assert message in str(caught.value)
    assert hint in "\n".join(caught.value.__notes__) if hint else True


def test_a_shown_value_is_no_condition(scope):
    with pytest.raises(CompileError, match="is no condition"):
        check(scope(), "ip4(skb->len)")


def test_arguments_come_before_other_names(scope):
    """`write` has a parameter count; a parameter named as one of ours wins."""
    assert scope("write").is_at_exit("count > 3") is False
    assert scope("icmp_rcv").is_at_exit("ret < 0 && skb->len") is True
    assert scope().missing(["skb->len", "NO_SOCKET == 3", "__pid == 3"]) == ""
    assert scope().missing(["ret", "missing > 3"]) == "missing"


def test_functions_that_are_alike(scope):
    one, other = scope("filp_open"), scope("rename")
    assert one.key(["ret"]) != other.key(["ret"])
    assert scope("rename").key(["from"]) == other.key(["from"])
    assert scope("icmp_rcv").key(["pid > 3"]) == scope("write").key(["pid > 3"])


def wanted(scope, *prints, **filters):
    fields = tuple(describe(scope, text) for text in prints)
    return Wanted(Filters(**filters), fields, scope)


def test_what_is_saved_decides_about_maps(kernel, scope):
    signature = kernel.signature("icmp_rcv")
    for text, maps in (("pid", {"calls", "counts"}), ("skb->len", {"calls", "counts", "saved16"})):
        one = wanted(scope(), text)
        spec = function_program(signature, 0, one)
        used = {reloc.map for reloc in spec.relocs if isinstance(reloc, MapRef)}
        assert used | {"counts"} == maps
        made = {item.name for item in map_specs([with_fields(signature.layout, one)], 4096)}
        assert used <= made


def test_a_condition_on_the_result_is_decided_at_the_exit(kernel, scope):
    """Nothing is left out at the entry, so what is unpaired there is counted."""
    signature = kernel.signature("icmp_rcv")
    at_exit = function_program(signature, 0, wanted(scope(), conditions=("ret < 0",)))
    at_entry = function_program(signature, 0, wanted(scope(), conditions=("skb->len > 3",)))
    places = [{r.offset for r in s.relocs if hasattr(r, "offset")} for s in (at_exit, at_entry)]
    assert places == [{0, 8}, {0, 16}]


def test_templates_are_shared(kernel, scope):
    templates = Templates()
    first = templates.program(kernel.signature("icmp_rcv"), 1, wanted(scope(), "skb->len"))
    second = templates.program(kernel.signature("icmp_rcv"), 2, wanted(scope(), "skb->len"))
    different = [a for a, b in zip(first.insns, second.insns, strict=True) if a != b]
    assert [insn.imm for insn in different] == [1]


@pytest.mark.parametrize("filters", [{}, {"conditions": ("skb->len > 3", "ret == 0"), "sample": 9}])
def test_many(kernel, scope, filters):
    one = wanted(scope(direct=False), "skb->len", "ret", "kstack", **filters)
    layout = multi_layout([kernel.signature("icmp_rcv").shape, kernel.signature("rename").shape])
    spec = multi_program(layout, one)
    assert spec.insns[-1].is_exit


def test_decoded(kernel, scope):
    one = wanted(scope(), "skb->len", "ret", "skb->owner->f_name", "ip4(skb->len)")
    signature = kernel.signature("icmp_rcv")
    function = Function.of(signature, with_fields(signature.layout, one), fields=one.fields)
    head = HEADER.pack(1000, 3000, 0, 0, 0, b"ping", 7) + struct.pack("<Q", 99)
    at_exit = struct.pack("<qQ", 0, 0xFFFF_FFF4)
    at_entry = struct.pack("<qQ", -14, 0) + struct.pack("<q16s", 0, b"name\0rest")
    address = struct.pack("<q4s4x", 0, bytes([127, 0, 0, 1]))
    record = head + at_exit + at_entry + address
    (call,) = Decoder([function], 0).calls(struct.pack("<II", len(record), 0) + record)
    assert call.args == {"skb": 99}
    assert call.prints == {
        "skb->len": FAULT,
        "ret": -12,
        "skb->owner->f_name": "name",
        "ip4(skb->len)": "127.0.0.1",
    }


VALUES = [
    (Field("t", TEXT, 16), (5,), b"text\0xxxxxxxxxxx", "text"),
    (Field("t", TEXT, 8), (8,), b"abcdefg\0", "abcdefg…"),
    (Field("b", Form.BYTES, 3), (0,), b"\x01\x02\xff", b"\x01\x02\xff"),
    (Field("m", Form.MAC, 6), (0,), bytes(range(6)), "00:01:02:03:04:05"),
    (Field("i", Form.IP6, 16), (0,), bytes(15) + b"\x01", "::1"),
    (Field("a", Form.ARRAY, 4, signed=True, unit=2), (0,), b"\x01\0\xff\xff", [1, -1]),
    (Field("k", Form.KSTACK, 24), (16,), struct.pack("<QQQ", 16, 32, 48), ["f16", 32]),
    (Field("n", INT, 4), (NOT_SAVED,), bytes(8), LOST),
    (Field("n", INT, 1, signed=True), (0,), b"\xff" + bytes(7), -1),
]


@pytest.mark.parametrize("row", VALUES, ids=[row[0].form for row in VALUES])
def test_values(kernel, row):
    field, status, data, value = row
    read = field_reader(field, kernel.types, {16: "f16"}.get)
    raw = b"head" + struct.pack("<q", *status) + data
    found = read(raw, 4)
    assert (
        [str(one) if one == 16 else one for one in found] == value
        if isinstance(found, list) and field.form is Form.KSTACK
        else found == value
    )
