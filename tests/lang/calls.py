"""Programs that call helpers and kernel functions; and a small kernel to compile them for."""

# ruff: noqa: F821

import fsession
from fsession.btf.encode import Builder
from fsession.btf.types import (
    Array,
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
from fsession.calls import HELPERS


class Pair(fsession.Struct):
    low: "u32"
    high: "u64"


class Outer(fsession.Struct):
    pair: Pair
    name: "char[8]"


pairs = fsession.Hash(Pair, "u64")
outers = fsession.Hash("u32", Outer)
numbers = fsession.Hash("u32", "u64")
ring = fsession.RingBuf(Outer, 4096)
raw = fsession.RingBuf(size=4096)


def filled(ctx):
    status, number = fsession.get_func_arg(ctx, 1)
    numbers[1] = number if status == 0 else 0


def memory(ctx, p):
    name = fsession.buffer(16)
    fsession.probe_read_kernel(name, 16, p.comm)
    numbers[name[0]] = 1


def entries(ctx):
    value = fsession.map_lookup_elem(pairs, (1, 2))
    if value is not None:
        fsession.map_delete_elem(pairs, (1, 2))


def texts(ctx):
    text = fsession.buffer(16)
    words = fsession.buffer(2, "u32")
    words[1] = 5
    fsession.snprintf(text, 16, "%d", words, 8)
    numbers[1] = fsession.strncmp(text, 2, "5") + fsession.strncmp(text, 2, "%d")


def task(ctx, p):
    stack = fsession.buffer(32)
    fsession.get_task_stack(p, stack, len(stack), 0)


def nested(ctx, nice):
    outers[5] = ((nice, 2), "name")
    found = outers.get(5)
    if found:
        found.pair.high += 1


def output(ctx, nice):
    ring.output(((nice, 1), "x"))
    raw.output("text")


def reserve(ctx, nice):
    record = ring.reserve()
    if record is None:
        return
    record.pair.low = nice
    if nice > 10:
        ring.discard(record)
    else:
        ring.submit(record)


def references(ctx, nice):
    found = fsession.bpf_task_from_pid(nice)
    if found:
        numbers[found.pid] = 1
        fsession.bpf_task_release(found)


def section(ctx, p):
    fsession.bpf_rcu_read_lock()
    parent = p.real_parent
    numbers[parent.pid] = 1
    fsession.bpf_rcu_read_unlock()


def pointer(ctx, p):
    fsession.emit(function=p.function)


PROGRAMS = (
    filled, memory, entries, texts, task, nested, output, reserve, references, section, pointer,
)  # fmt: skip


def small_kernel():
    """BTF with a struct, the function that is traced, and what programs call."""
    build = Builder()
    number = build.add(Int("int", 4, 32, 1))
    char = build.add(Int("char", 1, 8, 1))
    unsigned = build.add(Int("unsigned int", 4, 32, 0))
    build.add(Typedef("u32", unsigned))
    name = build.add(Array(char, unsigned, 16))
    record = TypeId(number + 9)
    proto = build.add(FuncProto(TypeId(0), ()))
    function = build.add(Ptr(proto))
    pointer = build.add(Ptr(record))
    values = [Enumerator(f"BPF_FUNC_{row.name}", int(row.id)) for row in HELPERS.values()]
    build.add(Enum("bpf_func_id", 4, tuple(values)))
    members = (
        Member("pid", number, 0),
        Member("comm", name, 32),
        Member("real_parent", pointer, 192),
        Member("function", function, 256),
    )
    made = build.add(Struct("task_struct", 40, members))
    assert made == record
    nice = FuncProto(TypeId(0), (Param("p", pointer), Param("nice", number)))
    build.add(Func("set_user_nice", build.add(nice), 1))
    find = FuncProto(pointer, (Param("pid", number),))
    build.add(Func("bpf_task_from_pid", build.add(find), 1))
    release = FuncProto(TypeId(0), (Param("p", pointer),))
    build.add(Func("bpf_task_release", build.add(release), 1))
    for section in ("bpf_rcu_read_lock", "bpf_rcu_read_unlock"):
        build.add(Func(section, proto, 1))
    return build.types()
