"""Types by name and id, and what they mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsession.btf import types as t
from fsession.btf.catalog import Types
from fsession.btf.encode import Builder
from fsession.errors import BadInputError, NotFoundError

RUNNING = Path("/sys/kernel/btf/vmlinux")
PADDING = 600  # types without a name, so that orders are told by samples


def _sorted_kernel() -> Builder:
    """Named types behind the others and in the order of their names, as in newer kernels."""
    build = Builder()
    for _ in range(PADDING):
        build.add(t.Ptr(0))
    proto = build.add(t.FuncProto(0, (t.Param("skb", 1),)))
    build.add(t.Func("icmp_rcv", proto, 1))
    build.add(t.Typedef("pid_t", proto + 3))
    build.add(t.Int("same", 4, 32, 1))
    build.add(t.Func("same", proto))
    build.add(t.Struct("sk_buff", 4, (t.Member("len", proto + 3, 0),)))
    return build


def _unsorted_kernel() -> Builder:
    build = Builder()
    build.add(t.Int("same", 4, 32, 1))
    proto = build.add(t.FuncProto(0, (t.Param("skb", 1),)))
    build.add(t.Struct("sk_buff", 4, (t.Member("len", 1, 0),)))
    build.add(t.Func("same", proto))
    build.add(t.Typedef("pid_t", 1))
    for _ in range(PADDING):
        build.add(t.Ptr(0))
    build.add(t.Func("icmp_rcv", proto, 1))
    return build


@pytest.fixture(params=[_sorted_kernel, _unsorted_kernel], ids=["sorted", "unsorted"])
def types(request: pytest.FixtureRequest) -> Types:
    return request.param().types("vmlinux")


LOOKUPS = [
    ("function", "icmp_rcv", (t.Func,), [t.Func]),
    ("any kind", "same", (), [t.Int, t.Func]),
    ("one of two", "same", (t.Func,), [t.Func]),
    ("several kinds", "same", (t.Func, t.Int, t.Struct), [t.Int, t.Func]),
    ("other kind", "sk_buff", (t.Union,), []),
    ("name of a member only", "len", (), []),
    ("name of a parameter only", "skb", (), []),
    ("beginning of a name", "icmp", (), []),
    ("end of a name", "rcv", (), []),
    ("no name", "", (), []),
    ("not ASCII", "naïve", (), []),
]


@pytest.mark.parametrize("before", [0, 20], ids=["at first", "after many others"])
@pytest.mark.parametrize(
    ("name", "kinds", "expected"), [row[1:] for row in LOOKUPS], ids=[row[0] for row in LOOKUPS]
)
def test_find(types: Types, name: str, kinds: tuple, expected: list[type], before: int):
    for _ in range(before):
        types.find_all("sk_buff")
    found = types.find_all(name, *kinds)
    assert [types[id].__class__ for id in found] == expected
    assert found == sorted(found)
    assert all(types.name_of(id) == name for id in found)
    assert types.find(name, *kinds) == (found[0] if found else None)


def test_find_enumerator():
    """The first enum that has it; not members, types or numbers that look like the name."""
    build = Builder()
    build.add(t.Int("LISTEN", 4, 32, 1))
    build.add(t.Enum("states", 4, (t.Enumerator("OPEN", 1), t.Enumerator("LISTEN", 10))))
    build.add(t.Enum64("large", 8, (t.Enumerator("ALL", -(1 << 40)),), is_signed=True))
    build.add(t.Enum("others", 4, (t.Enumerator("LISTEN", 11), t.Enumerator("N", 6))))
    base = build.types("vmlinux")
    assert base.find_enumerator("LISTEN") == (2, 10)
    assert base.find_enumerator("ALL") == (3, -(1 << 40))
    assert base.find_enumerator("N") == (4, 6)
    assert [base.find_enumerator(name) for name in ("states", "", "LIS", "none")] == [None] * 4
    module = Builder(base)
    module.add(t.Enum("states", 4, (t.Enumerator("LISTEN", 3), t.Enumerator("OWN", 4))))
    split = module.types("module")
    assert split.find_enumerator("LISTEN") == (5, 3)
    assert split.find_enumerator("OWN") == (5, 4)
    assert split.find_enumerator("OPEN") == (2, 1)


def test_find_enumerators_of_the_kernel():
    if not RUNNING.exists():
        pytest.skip("no BTF of a running kernel")
    types = Types.from_bytes(RUNNING.read_bytes(), name="vmlinux")
    expected: dict[str, tuple[int, int]] = {}
    for id in map(t.TypeId, types.own_ids()):
        if types.kind_of(id) in (t.Enum, t.Enum64):
            for row in types[id].values:  # type: ignore[attr-defined]
                expected.setdefault(row.name, (id, row.value))
    names = sorted(expected)[:: len(expected) // 40]
    assert {name: types.find_enumerator(name) for name in names} == {
        name: expected[name] for name in names
    }


def test_find_sees_equal_strings_that_are_not_merged():
    build = Builder()
    build.add(t.Int("zz", 4, 32))
    build.add(t.Int("aa", 4, 32))
    data = bytearray(build.to_bytes())
    data[-6:] = b"aa\0aa\0"
    assert Types.from_bytes(bytes(data)).find_all("aa") == [1, 2]


def test_missing_names_come_with_names_like_them(types: Types):
    with pytest.raises(
        NotFoundError, match=r"no func in BTF of vmlinux named 'icmp_rvc'.*icmp_rcv"
    ):
        types.id_of("icmp_rvc", t.Func)
    with pytest.raises(NotFoundError) as caught:
        types.id_of("sk_buf", t.Func)  # there is one, but a struct
    assert caught.value.near == ()


def test_split_types_find_their_own_before_the_base():
    kernel = _unsorted_kernel().types("vmlinux")
    split = Builder(kernel)
    mine = split.add(t.Func("icmp_rcv", kernel.id_of("icmp_rcv", t.Func) - 1))
    module = split.types("module")
    assert module.find("icmp_rcv", t.Func) == mine
    assert module.find_all("icmp_rcv") == [mine, kernel.find("icmp_rcv")]
    assert module.find_own("icmp_rcv") == [mine]
    assert module.find_own("sk_buff") == []
    assert module.get("sk_buff") == kernel.get("sk_buff")
    assert list(module.functions()) == [("icmp_rcv", mine)]
    assert list(module.own_ids()) == [mine]


GLOBS = [
    ("all", "*", ["icmp_rcv", "same"]),
    ("start", "icmp*", ["icmp_rcv"]),
    ("end", "*e", ["same"]),
    ("letters", "[hi-k]cmp_???", ["icmp_rcv"]),
    ("not letters", "[!i]*", ["same"]),
    ("whole names only", "cmp_rcv", []),
    ("not types", "sk_*", []),
]


@pytest.mark.parametrize(("glob", "expected"), [r[1:] for r in GLOBS], ids=[r[0] for r in GLOBS])
def test_functions(types: Types, glob: str, expected: list[str]):
    found = list(types.functions(glob))
    assert sorted(name for name, _ in found) == expected
    assert all(types[id].name == name for name, id in found)


def _shapes() -> tuple[Types, dict[str, t.TypeId]]:
    build = Builder()
    ids = {"void": t.VOID}
    ids["int"] = build.add(t.Int("int", 4, 32, 1))
    ids["char"] = build.add(t.Int("char", 1, 8, 1))
    ids["u128"] = build.add(t.Int("u128", 16, 128))
    ids["ptr"] = build.add(t.Ptr(ids["void"]))
    ids["const"] = build.add(t.Const(ids["int"]))
    ids["tag"] = build.add(t.TypeTag("rcu", ids["const"]))
    ids["typedef"] = build.add(t.Typedef("int_t", ids["tag"]))
    ids["array"] = build.add(t.Array(ids["typedef"], ids["int"], 3))
    ids["arrays"] = build.add(t.Array(ids["array"], ids["int"], 2))
    ids["flexible"] = build.add(t.Array(ids["int"], ids["int"], 0))
    members = (t.Member("c", ids["char"], 0), t.Member("p", ids["ptr"], 64))
    ids["struct"] = build.add(t.Struct("s", 16, members))
    ids["union"] = build.add(t.Union("u", 24, (t.Member("a", ids["arrays"], 0),)))
    ids["empty"] = build.add(t.Struct("e", 0, ()))
    ids["enum"] = build.add(t.Enum("small", 1, ()))
    ids["enum64"] = build.add(t.Enum64("large", 8, ()))
    ids["float"] = build.add(t.Float("double", 8))
    ids["proto"] = build.add(t.FuncProto(ids["int"], (t.Param("", ids["struct"]),)))
    ids["func"] = build.add(t.Func("f", ids["proto"]))
    ids["fwd"] = build.add(t.Fwd("f"))
    ids["var"] = build.add(t.Var("v", ids["array"]))
    ids["datasec"] = build.add(t.DataSec(".data", 40, (t.SecVar(ids["var"], 0, 12),)))
    return build.types(), ids


SHAPES, IDS = _shapes()
SIZES = [
    ("void", 0, 1),
    ("int", 4, 4),
    ("u128", 16, 16),
    ("ptr", 8, 8),
    ("typedef", 4, 4),
    ("array", 12, 4),
    ("arrays", 24, 4),
    ("flexible", 0, 4),
    ("struct", 16, 8),
    ("union", 24, 4),
    ("empty", 0, 1),
    ("enum", 1, 1),
    ("enum64", 8, 8),
    ("float", 8, 8),
    ("proto", 0, 1),
    ("func", 0, 1),
    ("fwd", 0, 1),
    ("var", 12, 4),
    ("datasec", 40, 16),
]


@pytest.mark.parametrize(("name", "size", "align"), SIZES, ids=[row[0] for row in SIZES])
def test_size_and_alignment(name: str, size: int, align: int):
    assert SHAPES.size_of(IDS[name]) == size
    assert SHAPES.align_of(IDS[name]) == align


def test_strip():
    assert SHAPES.strip(IDS["typedef"]) == IDS["int"]
    assert SHAPES.strip(IDS["array"]) == IDS["array"]
    assert SHAPES.strip(t.VOID) == t.VOID


def test_prototype_of_a_function_and_of_a_prototype():
    assert SHAPES.prototype(IDS["func"]) == SHAPES[IDS["proto"]] == SHAPES.prototype(IDS["proto"])
    with pytest.raises(BadInputError, match="is no function"):
        SHAPES.prototype(IDS["int"])


def test_names_and_kinds_without_the_type():
    assert SHAPES.name_of(IDS["typedef"]) == "int_t"
    assert SHAPES.name_of(t.VOID) == SHAPES.name_of(IDS["ptr"]) == ""
    assert SHAPES.kind_of(t.VOID) is t.Void
    assert SHAPES.kind_of(IDS["union"]) is t.Union
    assert list(SHAPES.words(IDS["array"]))[2:] == [0, IDS["typedef"], IDS["int"], 3]


WRONG_IDS = [("beyond", 99), ("just beyond", len(SHAPES)), ("negative", -1)]


@pytest.mark.parametrize("id", [row[1] for row in WRONG_IDS], ids=[row[0] for row in WRONG_IDS])
def test_ids_that_are_none(id: int):
    for ask in (SHAPES.__getitem__, SHAPES.name_of, SHAPES.kind_of, SHAPES.size_of, SHAPES.strip):
        with pytest.raises(BadInputError, match=f"BTF type id {id} is not one"):
            ask(id)


ENDLESS = [
    ("typedef of itself", (t.Typedef("a", 1),)),
    ("two of each other", (t.Const(2), t.Typedef("b", 1))),
    ("array of itself", (t.Array(1, 1, 2),)),
    ("struct in itself", (t.Struct("s", 8, (t.Member("s", 1, 0),)),)),
]


@pytest.mark.parametrize("added", [row[1] for row in ENDLESS], ids=[row[0] for row in ENDLESS])
def test_types_without_an_end_are_refused(added: tuple[t.Type, ...]):
    build = Builder()
    for type in added:
        build.add(type)
    types = build.types()
    with pytest.raises(BadInputError, match=r"without an end|contains itself"):
        types.align_of(types.strip(t.TypeId(1)))


def test_a_long_name_is_refused_only_where_it_is_used():
    build = Builder()
    build.add(t.Int("int", 4, 32))
    build.add(t.Typedef("x" * 5000, 1))
    types = build.types()
    assert types[1] == t.Int("int", 4, 32)
    with pytest.raises(BadInputError, match="BTF type 2: the BTF string at 0x5 is over 1024 bytes"):
        types[2]


@pytest.mark.skipif(not RUNNING.exists(), reason="this kernel has no BTF of its own")
def test_one_function_of_the_kernel_without_all_the_rest():
    types = Types.from_bytes(RUNNING.read_bytes(), name="vmlinux")
    (param,) = types.prototype(types.id_of("icmp_rcv", t.Func)).params
    pointer = types[param.type]
    assert isinstance(pointer, t.Ptr)
    assert types.name_of(types.strip(pointer.type)) == "sk_buff"
    assert len(types._cache) < 10


@pytest.mark.slow
@pytest.mark.skipif(not RUNNING.exists(), reason="this kernel has no BTF of its own")
def test_functions_of_the_kernel_are_those_of_a_plain_loop():
    types = Types.from_bytes(RUNNING.read_bytes())
    plain = [(type.name, id) for id, type in enumerate(types) if isinstance(type, t.Func)]
    assert list(types.functions()) == plain
    tcp = [row for row in plain if row[0].startswith("tcp_")]
    assert list(types.functions("tcp_*")) == tcp
    for name, id in plain[:: len(plain) // 500]:
        assert id in types.find_all(name, t.Func)


def test_places_spare_the_walk(types: Types):
    again = Types.from_bytes(types.data, types.base, types.name)
    again.resume(types.places())
    assert len(again) == len(types)
    assert list(again) == list(types)
    assert [again.find(again.name_of(id)) for id in again.own_ids()] == [
        types.find(types.name_of(id)) for id in types.own_ids()
    ]
