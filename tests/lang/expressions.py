"""Random expressions of C over five variables, without undefined behaviour: ours, and gcc's."""

from __future__ import annotations

import ctypes
import subprocess
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from fsession.lang.access import Typed
from fsession.lang.build import Builder
from fsession.lang.cexpr import CExpression
from fsession.lang.ctypes import Integer
from fsession.lang.ir import Test

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fsession.lang.ctypes import Catalog

__all__ = ["NAMES", "TYPES", "Reference", "batches", "compiled"]

NAMES = "abcde"
TYPES = {
    "signed char": (1, True), "unsigned char": (1, False), "short": (2, True),
    "unsigned short": (2, False), "int": (4, True), "unsigned int": (4, False),
    "long": (8, True), "unsigned long": (8, False), "_Bool": (1, False),
    "long long": (8, True), "unsigned long long": (8, False),
}  # fmt: skip
_CONSTANTS = ("0", "1", "-1", "2", "7", "0x7f", "255u", "0x80000000", "4294967295", "1l << 40",
              "0xffffffffffffffff", "'a'", "'\\xff'", "077", "100000ul")  # fmt: skip

words = st.one_of(
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.integers(-300, 300),
    st.sampled_from([-(1 << 63), (1 << 63) - 1, -(1 << 31), (1 << 31) - 1, 1 << 31, -1, 0]),
)
_leaves = st.sampled_from([*NAMES, *(f"({text})" for text in _CONSTANTS)])


def _wider(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    both = st.tuples(inner, inner)
    return st.one_of(
        st.tuples(st.sampled_from(["+", "-", "*", "&", "|", "^"]), inner, inner).map(
            lambda t: f"({t[1]} {t[0]} {t[2]})"
        ),
        st.tuples(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), inner, inner).map(
            lambda t: f"({t[1]} {t[0]} {t[2]})"
        ),
        st.tuples(st.sampled_from(["&&", "||"]), inner, inner).map(
            lambda t: f"({t[1]} {t[0]} {t[2]})"
        ),
        st.tuples(st.sampled_from(["<<", ">>"]), inner, inner).map(
            lambda t: f"({t[1]} {t[0]} ({t[2]} & 31))"
        ),
        st.tuples(st.sampled_from(["/", "%"]), inner, inner).map(
            lambda t: f"({t[1]} {t[0]} (({t[2]} & 1023) + 1))"
        ),
        st.tuples(st.sampled_from(["-", "~", "!", "+"]), inner).map(lambda t: f"({t[0]}{t[1]})"),
        st.tuples(st.sampled_from(list(TYPES)), inner).map(lambda t: f"(({t[0]}){t[1]})"),
        st.tuples(inner, both).map(lambda t: f"({t[0]} ? {t[1][0]} : {t[1][1]})"),
    )


expressions = st.recursive(_leaves, _wider, max_leaves=12)


def batches(count: int) -> st.SearchStrategy[tuple[list[str], list[str], list[tuple[int, ...]]]]:
    """Types of the variables, `count` expressions, words for the variables."""
    return st.tuples(
        st.lists(st.sampled_from(list(TYPES)), min_size=5, max_size=5),
        st.lists(expressions, min_size=count, max_size=count),
        st.lists(st.tuples(*[words] * 5), min_size=6, max_size=6),
    )


def compiled(catalog: Catalog, types: list[str], text: str, name: str):
    """A function of five words, with the expression's value."""
    build = Builder(name, len(NAMES))
    variables = {}
    for letter, type_name, word in zip(NAMES, types, build.function.params, strict=True):
        variables[letter] = _variable(build, type_name, word)
    expression = CExpression(catalog, build, variables)
    found = expression.compile(text)
    assert isinstance(found, Typed)
    build.give_back(found.value)
    return build.function


def _variable(build: Builder, type_name: str, word: int):
    size, signed = TYPES[type_name]
    type = Integer(size, signed, type_name, is_bool=type_name == "_Bool")

    def value() -> Typed:
        if type.is_bool:
            return Typed(type, build.compare(Test.NE, word, build.const(0)))
        return Typed(type, build.extend(word, 8 * size, signed=signed))

    return value


class Reference:
    """What gcc makes of the expressions. Signed arithmetic wraps, as the machine's does."""

    def __init__(self, folder: Path, types: Sequence[str], texts: Sequence[str]) -> None:
        params = ", ".join(f"long long p_{name}" for name in NAMES)
        variables = " ".join(f"{t} {n} = ({t})p_{n};" for t, n in zip(types, NAMES, strict=True))
        source = "".join(
            f"long long f{at}({params}) {{ {variables} return (long long)({text}); }}\n"
            for at, text in enumerate(texts)
        )
        library = folder / "reference.so"
        command = ["gcc", "-w", "-O1", "-fwrapv", "-shared", "-fPIC", "-xc", "-", "-o", library]
        subprocess.run(command, input=source.encode(), check=True)
        loaded = ctypes.CDLL(str(library))
        self._functions = []
        for at in range(len(texts)):
            function = loaded[f"f{at}"]
            function.argtypes = [ctypes.c_longlong] * 5
            function.restype = ctypes.c_ulonglong
            self._functions.append(function)

    def values(self, words: tuple[int, ...]) -> list[int]:
        return [function(*words) for function in self._functions]
