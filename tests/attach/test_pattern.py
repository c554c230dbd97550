"""How targets are written: names, modules, types, BPF programs."""

from __future__ import annotations

import pytest

from fsession.attach.pattern import Pattern, ProgramPattern, is_pattern, parse
from fsession.attach.prototype import Param, Prototype, Prototypes, parse_prototype
from fsession.btf.encode import Builder
from fsession.btf.types import (
    VOID,
    Const,
    Func,
    FuncProto,
    Fwd,
    Int,
    Ptr,
    Struct,
    Typedef,
)
from fsession.btf.types import Param as BtfParam
from fsession.errors import BadInputError

PATTERNS = [
    ("icmp_rcv", "", "icmp_rcv", False),
    ("tcp_*", "", "tcp_*", True),
    ("mod:tcp_?", "mod", "tcp_?", True),
    ("mod:name", "mod", "name", False),
    ("nf_*:name", "nf_*", "name", True),
    ("name(struct sock *)", "", "name", True),
    ("mod:*(struct sock *)", "mod", "*", True),
    ("mod:int *(...)", "mod", "*", True),
]


@pytest.mark.parametrize(("text", "module", "name", "many"), PATTERNS)
def test_functions(text, module, name, many):
    pattern = parse(text)
    assert isinstance(pattern, Pattern)
    assert (pattern.module, pattern.name, is_pattern(text)) == (module, name, many)


@pytest.mark.parametrize(
    ("text", "place", "function", "many"),
    [
        ("prog:12", "12", "", False),
        ("prog:*", "*", "", True),
        ("prog:*/*", "*", "*", True),
        ("prog:x/part_*", "x", "part_*", True),
        ("prog:/sys/fs/bpf/odd[1]", "/sys/fs/bpf/odd[1]", "", False),
        ("prog:0123456789abcdef/part", "0123456789abcdef", "part", False),
    ],
)
def test_programs(text, place, function, many):
    assert parse(text) == ProgramPattern(text, place, function)
    assert is_pattern(text) is many


HEADS = [
    ("*", "", "*"),
    ("*_rcv", "", "*_rcv"),
    ("int *", "int", "*"),
    ("int tcp_*", "int", "tcp_*"),
    ("struct sock *tcp_*", "struct sock*", "tcp_*"),
    ("struct sock **", "struct sock*", "*"),
    ("const struct sock * *", "struct sock*", "*"),
    ("unsigned long get_*", "unsigned long", "get_*"),
    ("void *kmalloc*", "void*", "kmalloc*"),
    ("long int x", "long", "x"),
]


@pytest.mark.parametrize(("head", "result", "name"), HEADS)
def test_results(head, result, name):
    assert parse_prototype(f"{head}(...)") == (name, Prototype(result, (None,)))


PARAMS = [
    ("", ()),
    ("void", ()),
    ("*", (None,)),
    ("…, struct sk_buff *, ...", (None, Param("struct sk_buff*"), None)),
    ("?, size_t", (Param(""), Param("size_t"))),
    ("struct sk_buff *skb", (Param("struct sk_buff*", "skb"),)),
    ("const unsigned char *buf", (Param("unsigned char*", "buf"),)),
    ("long unsigned int", (Param("unsigned long"),)),
    ("u32 mask, enum bpf_cmd", (Param("u32", "mask"), Param("enum bpf_cmd"))),
    ("short unsigned int, signed char", (Param("unsigned short"), Param("signed char"))),
    ("long long int", (Param("long long"),)),
]


@pytest.mark.parametrize(("text", "params"), PARAMS)
def test_params(text, params):
    assert parse_prototype(f"f({text})")[1].params == params


@pytest.mark.parametrize(
    "text", ["f(int (*)(void))", "f(", "f(struct)", "f(int,)", "f(u32 a b)", "f(%)", "f)(", "f() x"]
)
def test_no_prototype(text):
    with pytest.raises(BadInputError):
        parse_prototype(text)


@pytest.fixture(scope="module")
def types():
    build = Builder()
    number, size = build.add(Int("int", 4, 32, 1)), build.add(Int("long unsigned int", 8, 64, 0))
    size_t = build.add(Typedef("size_t", size))
    sock = build.add(Struct("sock", 8, ()))
    const_sock = build.add(Ptr(build.add(Const(sock))))
    pointer = build.add(Ptr(sock))
    fwd = build.add(Ptr(build.add(Fwd("sk_buff", False))))
    callback = build.add(Ptr(build.add(FuncProto(VOID, ()))))

    def func(name, result, *params):
        proto = FuncProto(result, tuple(BtfParam(*param) for param in params))
        build.add(Func(name, build.add(proto)))

    func("nothing", VOID)
    func("one", number, ("sk", pointer))
    func("one_const", number, ("sk", const_sock))
    func("last", size, ("skb", fwd), ("len", size_t), ("sk", pointer))
    func("twice", pointer, ("sk", pointer), ("other", pointer))
    func("calls", number, ("fn", callback), ("len", size))
    return build.types()


FITS = [
    ("*(struct sock *)", ["one", "one_const"]),
    ("*(…, struct sock *, …)", ["one", "one_const", "last", "twice"]),
    ("*(..., struct sock *)", ["one", "one_const", "last", "twice"]),
    ("*(struct sock *, *)", ["one", "one_const", "twice"]),
    ("*(…, struct sock *other, …)", ["twice"]),
    ("*(…, struct sock *, …, struct sock *, …)", ["twice"]),
    ("*(?, unsigned long)", ["calls"]),
    ("*(?, size_t, ?)", ["last"]),
    ("*(struct sk_buff *, …)", ["last"]),
    ("struct sock **(*)", ["twice"]),
    ("unsigned long *(*)", ["last"]),
    ("void *(*)", ["nothing"]),
    ("*()", ["nothing"]),
    ("int o*(*)", ["one", "one_const"]),
]


@pytest.mark.parametrize(("text", "expected"), FITS)
def test_match(types, text, expected):
    name, wanted = parse_prototype(text)
    match = Prototypes(types, wanted).match
    assert [found for found, type_id in types.functions(name) if match(type_id)] == expected
