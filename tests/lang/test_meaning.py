"""What compiled code computes: C expressions as gcc, Python functions as CPython."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from fsession.kernel import KernelHost
from fsession.lang.access import Typed
from fsession.lang.build import Builder
from fsession.lang.cexpr import CExpression
from fsession.lang.ctypes import Catalog, Integer
from lang.expressions import NAMES, TYPES, Reference, batches
from lang.run import run

BATCH, BATCHES = 100, 20  # 2,000 expressions


@pytest.fixture(scope="module")
def host():
    with KernelHost() as host:
        yield host


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
            from fsession.lang.ir import Test

            return Typed(type, build.compare(Test.NE, word, build.const(0)))
        return Typed(type, build.extend(word, 8 * size, signed=signed))

    return value


@pytest.mark.kernel
@given(batches(BATCH))
@settings(
    max_examples=BATCHES,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_expressions_equal_gcc(host, tmp_path_factory, batch):
    types, texts, inputs = batch
    reference = Reference(tmp_path_factory.mktemp("gcc"), types, texts)
    catalog = Catalog(host.types())
    functions = [compiled(catalog, types, text, f"f{at}") for at, text in enumerate(texts)]
    for words, seen in zip(inputs, run(host, functions, inputs), strict=True):
        for text, ours, theirs in zip(texts, seen, reference.values(words), strict=True):
            assert ours == theirs, (text, dict(zip(NAMES, types, strict=True)), words)
