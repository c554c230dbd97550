"""What tests of several packages need: types of a small kernel, its functions, calls of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from fsession.btf.encode import Builder
from fsession.btf.types import (
    VOID,
    Array,
    Const,
    Enum,
    Enumerator,
    Func,
    FuncProto,
    Int,
    Member,
    Param,
    Ptr,
    Struct,
    Typedef,
    TypeId,
)
from fsession.trace.event import Call, Function
from fsession.trace.signature import Signature, signature

if TYPE_CHECKING:
    from fsession.btf.catalog import Types

FUNCTIONS = {
    "icmp_rcv": ("int", [("skb", "struct sk_buff *")]),
    "filp_open": (
        "struct file *",
        [("name", "const char *"), ("flags", "int"), ("mode", "umode_t")],
    ),
    "tick": ("void", []),
    "give": ("long", [("p", "struct pair"), ("once", "bool")]),
    "drop": ("enum drop_reason", [("flags", "enum sk_flags"), ("fill", "char **")]),
    "rename": ("int", [("from", "const char *"), ("to", "const char *")]),
    "write": ("long", [("buf", "const char *"), ("count", "unsigned long")]),
    "set_owner": ("int", [("uid", "kuid_t"), ("done", "void (*)(void)")]),
    "bpf_session_is_return": ("bool", [("ctx", "void *")]),
    "bpf_session_cookie": ("long", [("ctx", "void *")]),
    "crowd": ("int", [(f"a{i}", "long") for i in range(12)]),
    "too_many": ("int", [(f"a{i}", "struct pair") for i in range(7)]),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="write the expected texts anew")


@dataclass(frozen=True)
class Kernel:
    """A kernel's types, by their C names, and its functions."""

    types: Types
    ids: dict[str, TypeId]

    def signature(self, function: str, module: str = "") -> Signature:
        return signature(self.types, self.types.id_of(function, Func), function, module)

    def call(self, function: str, *words: int, ret: int = 0, **changes: object) -> Call:
        """A call with plausible values of everything that `changes` doesn't name."""
        fields = {
            "traced": Function.of(self.signature(function)),
            "start_ns": 5_000_000_000,
            "duration_ns": 12_345,
            "wall_ns": 1_700_000_000_000_000_000,
            "pid": 1432,
            "tid": 1433,
            "comm": "ping",
            "cpu": 1,
            "words": words,
            "result_word": ret & (1 << 64) - 1,
        }
        return Call(**fields | changes)  # type: ignore[arg-type]


def _make_types() -> Kernel:
    build = Builder()
    ids: dict[str, TypeId] = {"void": VOID}

    def add(name: str, kind: object) -> TypeId:
        ids[name] = build.add(kind)  # type: ignore[arg-type]
        return ids[name]

    for name, size, encoding in (
        ("int", 4, 1),
        ("long", 8, 1),
        ("char", 1, 1),
        ("bool", 1, 4),
        ("unsigned short", 2, 0),
        ("unsigned int", 4, 0),
        ("unsigned long", 8, 0),
    ):
        add(name, Int(name, size, size * 8, encoding))
    name = build.add(Array(ids["char"], ids["int"], 16))
    file = (Member("f_mode", ids["unsigned int"], 0), Member("f_name", name, 32))
    add("struct file", Struct("file", 176, file))
    owner = build.add(Ptr(ids["struct file"]))
    skb = (Member("len", ids["unsigned int"], 8 * 112), Member("owner", owner, 8 * 16))
    add("struct sk_buff", Struct("sk_buff", 232, skb))
    add("struct sk_buff *", Ptr(ids["struct sk_buff"]))
    add("struct file *", Ptr(ids["struct file"]))
    add("void *", Ptr(VOID))
    add("char *", Ptr(ids["char"]))
    add("char **", Ptr(ids["char *"]))
    add("const char *", Ptr(add("const char", Const(ids["char"]))))
    add("umode_t", Typedef("umode_t", ids["unsigned short"]))
    val = Struct("", 4, (Member("val", ids["unsigned int"], 0),))
    add("kuid_t", Typedef("kuid_t", build.add(val)))
    pair = (
        Member("a", ids["int"], 0),
        Member("low", ids["unsigned int"], 32, 4),
        Member("high", ids["int"], 36, 4),
        Member("to", ids["struct file *"], 64),
    )
    add("struct pair", Struct("pair", 16, pair, kind_flag=True))
    reasons = (Enumerator("NOT_DROPPED", 0), Enumerator("NO_SOCKET", 3))
    add("enum drop_reason", Enum("drop_reason", 4, reasons))
    flags = tuple(Enumerator(f"SK_{name}", 1 << bit) for bit, name in enumerate(("A", "B", "C")))
    add("enum sk_flags", Enum("sk_flags", 4, flags))
    add("void (*)(void)", Ptr(build.add(FuncProto(VOID, ()))))
    for name, (result, params) in FUNCTIONS.items():
        listed = tuple(Param(param, ids[kind]) for param, kind in params)
        build.add(Func(name, build.add(FuncProto(ids[result], listed))))
    print_ = FuncProto(ids["int"], (Param("format", ids["const char *"]), Param("", VOID)))
    build.add(Func("print", build.add(print_)))
    return Kernel(build.types(), ids)


@pytest.fixture(scope="session")
def kernel() -> Kernel:
    return _make_types()
