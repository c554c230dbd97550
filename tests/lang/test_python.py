"""Python functions: what they compute equals what CPython computes."""

from __future__ import annotations

import ast
import linecache
from inspect import isfunction
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fsession.errors import CompileError
from fsession.kernel import KernelHost
from fsession.lang.access import Typed
from fsession.lang.arith import S64
from fsession.lang.build import Builder
from fsession.lang.ctypes import Catalog
from fsession.lang.expressions import Expressions
from fsession.lang.python import Statements
from fsession.lang.source import Source
from fsession.lang.unit import Unit
from fsession.lang.values import static
from lang import samples
from lang.run import run

U64 = (1 << 64) - 1
NAMES = "abcde"
_numbers = count()


@pytest.fixture(scope="module")
def host():
    with KernelHost() as host:
        yield host


@pytest.fixture(scope="module")
def catalog(host):
    return Catalog(host.types())


def compiled(catalog, source: Source, tree: ast.FunctionDef, name: str = ""):
    """A function of s64 parameters."""
    build = Builder(name or tree.name, len(NAMES))
    scope = {"range": range, "min": min, "max": max, "abs": abs, "bool": bool, "int": int}
    e = Expressions(
        Unit(catalog), build, source, lambda word: static(scope[word]) if word in scope else None,
        lambda function, node: "",
    )  # fmt: skip
    for param, value in zip(NAMES, build.function.params, strict=True):
        e.names[param] = Typed(S64, value)
    Statements(e, is_main=False).function(tree)
    return build.function


class OverflowsError(Exception):
    """CPython's number has more than 64 bits: there the language says that it wraps."""


class Checked(int):
    """An int that refuses results outside of s64, in all operators."""


def _checked(name: str):
    operator = getattr(int, name)

    def method(self, *others):
        result = operator(self, *others)
        if result is NotImplemented or not isinstance(result, int) or isinstance(result, bool):
            return result
        if not -(1 << 63) <= result < 1 << 63:
            raise OverflowsError
        return Checked(result)

    return method


for _name in ("add", "sub", "mul", "floordiv", "mod", "and", "or", "xor", "lshift", "rshift"):
    for _side in (f"__{_name}__", f"__r{_name}__"):
        setattr(Checked, _side, _checked(_side))
for _name in ("__neg__", "__invert__", "__abs__", "__pos__"):
    setattr(Checked, _name, _checked(_name))


def by_cpython(text: str, words: tuple[int, ...]) -> int:
    """What the function returns, as unsigned 64 bits; None is 0."""
    names: dict[str, object] = {}
    exec(compile(text, f"<test {next(_numbers)}>", "exec"), names)
    result = names["f"](*map(Checked, words))  # type: ignore[operator]
    return int(result or 0) & U64


FUNCTIONS = [value for value in vars(samples).values() if isfunction(value)]
INPUTS = [
    (0, 0, 0, 0, 0), (1, 2, 3, 4, 5), (-1, -2, -3, -4, -5), (100, 7, -7, 1 << 40, -(1 << 40)),
    (5, 5, 5, 5, 5), (-8, 3, 64, -64, 1), (17, -17, 2, 0, -1), (12345, 54321, -1, 1, 0),
]  # fmt: skip


words = st.one_of(st.integers(-1000, 1000), st.integers(-(1 << 40), 1 << 40))
_leaf = st.sampled_from([*NAMES, "0", "1", "-1", "3", "255", "(1 << 33)"])


_divisors = st.sampled_from(["5", "-5", "8", "1000"])


def _wider(inner):
    return st.one_of(
        st.tuples(inner, st.sampled_from("+-*&|^"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, st.sampled_from(["//", "%"]), inner).map(
            lambda t: f"({t[0]} {t[1]} (({t[2]} & 31) - 32))"
        ),
        st.tuples(
            inner, st.sampled_from(["//", "%"]), st.sampled_from(["5", "-5", "8", "1000"])
        ).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, st.sampled_from(["<<", ">>"]), inner).map(
            lambda t: f"({t[0]} {t[1]} ({t[2]} & 31))"
        ),
        st.tuples(inner, st.sampled_from(["<", "<=", "==", "!=", ">", ">="]), inner).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
        st.tuples(st.sampled_from(["-", "~", "not "]), inner).map(lambda t: f"({t[0]}{t[1]})"),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(
            lambda t: f"{t[0]}({t[1]}, {t[2]})"
        ),
    )


expressions = st.recursive(_leaf, _wider, max_leaves=10)


@pytest.mark.kernel
@given(
    st.lists(expressions, min_size=60, max_size=60),
    st.lists(st.tuples(*[words] * 5), min_size=5, max_size=5),
)
@settings(
    max_examples=10, deadline=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_expressions_equal_cpython(host, catalog, texts, inputs):
    """Wherever CPython's numbers stay within 64 bits."""
    sources: list[str] = []
    functions = []
    for text in texts:
        lines = ["def f(a, b, c, d, e):", f"    return {text}"]
        (tree,) = ast.parse("\n".join(lines)).body
        try:
            function = compiled(catalog, Source("f.py", 1, lines, 0), tree, f"f{len(sources)}")
        except CompileError as error:  # a constant like 2**100: known while compiling
            if "has more than 64 bits" in str(error):
                continue
            raise
        functions.append(function)
        sources.append("\n".join(lines))
    compared = 0
    for given_words, seen in zip(inputs, run(host, functions, inputs), strict=True):
        for text, ours in zip(sources, seen, strict=True):
            try:
                theirs = by_cpython(text, given_words)
            except OverflowsError:
                continue
            compared += 1
            assert ours == theirs, (text, given_words)
    assert compared > len(sources)
    linecache.clearcache()
