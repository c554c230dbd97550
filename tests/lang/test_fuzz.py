"""Random texts as expressions, random functions as programs: compiled, or a `CompileError`."""

from __future__ import annotations

import ast
import linecache
import warnings
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fsession
from fsession.errors import CompileError
from fsession.kernel import KernelHost
from fsession.lang import compile_programs, program
from fsession.lang.access import Trust, Typed
from fsession.lang.build import Builder
from fsession.lang.cexpr import CExpression
from fsession.lang.ctypes import INT, Catalog, Pointer
from lang.calls import Pair

if TYPE_CHECKING:
    from fsession.btf.catalog import Types

TOKENS = [
    "skb",
    "->",
    ".",
    "len",
    "dev",
    "name",
    "cb",
    "ret",
    "(",
    ")",
    "[",
    "]",
    "+",
    "-",
    "*",
    "/",
    "%",
    "&&",
    "||",
    "!",
    "~",
    "<<",
    ">>",
    "<",
    "==",
    "?",
    ":",
    ",",
    "=",
    "++",
    "&",
    "|",
    "^",
    "0",
    "1",
    "0x7f",
    "99999999999999999999",
    "'a'",
    "'ab'",
    '"lo"',
    "sizeof",
    "struct",
    "sock",
    "u32",
    "int",
    "ntohs",
    "ip4",
    "buf",
    "str",
    "1.5",
    "and",
    "not",
    "in",
    "TCP_LISTEN",
    "lambda",
    "{",
    "}",
]
NAMES = [
    "ctx",
    "skb",
    "a",
    "b",
    "skb.len",
    "skb.dev",
    "skb.cb",
    "fsession.ret(ctx)",
    "0",
    "-7",
    "1 << 40",
    "'lo'",
    "None",
    "table",
    "1.5",
    "(a, b)\n    ",
    "fsession.ktime_get_ns()",
    "table.get(1)",
    "skb.nothing",
    "len(skb.cb)",
    "table",
    "c",
    "min",
    "ring",
    "fsession.buffer(16)",
    "fsession.dynptr()",
    "fsession.get_current_task()",
    "ring.reserve()",
    "record",
    "(1, 2)",
    "task",
]
LINES = [
    "a = {}",
    "b = {} + {}",
    "a += {}",
    "table[{}] = {}",
    "table[{}] += {}",
    "return",
    "return {}",
    "del table[{}]",
    "pass\n    ",
    "fsession.emit(x={}, y={})",
    "a, b = {}",
    "a = {} if {} else {}",
    "a = {} and {}",
    "a = not {}",
    "a = {} < {} < {}\n    ",
    "a = min({}, {})",
    "a = {}[{}]",
    "fsession.printk('%d', {})",
    "a = {} // {}",
    "a.x = {}",
    "import os",
    "a = {} >> {}\n    ",
    "cookie = fsession.session_cookie({})",
    "if (c := {}) is not None: a = c",
    "while {}: break\n    ",
    "for i in range({}): a = {}",
    "while {}: a += {}",
    "while True: a = {}",
    "for i in range({}, {}, -3): a += i; b = {}",
    "for i in range({}):\n        while b: b -= {}\n        if i > {}: break",
    "if {}: a = {}",
    "if {}: return",
    "record = ring.reserve()",
    "ring.submit({})",
    "ring.discard({})",
    "ring.output({})",
    "task = fsession.bpf_task_from_pid({})",
    "fsession.bpf_task_release({})",
    "fsession.bpf_rcu_read_lock()",
    "fsession.bpf_rcu_read_unlock()",
    "if task: fsession.bpf_task_release(task)",
    "a = fsession.map_lookup_elem({}, {})",
    "a, b = fsession.get_func_arg({}, {})",
    "fsession.get_stack(ctx, {}, {}, 0)",
    "fsession.probe_read_kernel({}, 8, {})",
    "fsession.dynptr_from_mem({}, {}, 0, {})",
    "fsession.get_task_stack({}, {}, {}, 0)",
    "a = fsession.strtol({}, {}, 10)",
    "cookie[0] = {}",
]


def try_expression(catalog: Catalog, text: str) -> bool:
    """Whether a text compiles; raises what is no `CompileError`."""
    build = Builder("f", 2)
    skb, ret = build.function.params
    record = catalog.find("struct sk_buff")
    assert record is not None
    variables = {
        "skb": lambda: Typed(Pointer(record), skb, Trust.KERNEL),
        "ret": lambda: Typed(INT, build.extend(ret, 32, signed=True)),
    }
    try:
        found = CExpression(catalog, build, variables).compile(text)
    except CompileError:
        return False
    assert found is not None
    return True


def try_function(types: Types, lines: list[str]) -> bool:
    """Whether a function with these lines compiles; raises what is no `CompileError`."""
    body = ("    " + line.strip() for line in lines)
    text = "\n".join(["def f(ctx, skb):", *body, ""])
    name = f"fuzz-{hash(text)}.py"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    names = {
        "fsession": fsession,
        "table": fsession.Hash("u32", "u64", 16),
        "ring": fsession.RingBuf(Pair, 4096),
    }
    with warnings.catch_warnings(action="ignore"):  # of CPython: some lines make no sense
        exec(compile(ast.parse(text), name, "exec"), names)
    made = program("icmp_rcv")(names["f"])  # type: ignore[arg-type]
    try:
        compiled = compile_programs([made], lambda _: types)
    except CompileError:
        return False
    finally:
        linecache.cache.pop(name)
    assert compiled.spec.programs[0].insns
    return True


@pytest.fixture(scope="module")
def types():
    with KernelHost() as host:
        return host.types()


@pytest.mark.kernel
@given(
    st.one_of(st.lists(st.sampled_from(TOKENS), max_size=14).map(" ".join), st.text(max_size=40))
)
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
def test_expressions(types, text):
    try_expression(Catalog(types), text)


@pytest.mark.kernel
@given(st.data())
@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
def test_functions(types, data):
    lines = []
    for line in data.draw(st.lists(st.sampled_from(LINES), min_size=1, max_size=6)):
        values = [data.draw(st.sampled_from(NAMES)) for _ in range(line.count("{}"))]
        lines.append(line.format(*(value.strip() for value in values)))
    try_function(types, lines)
