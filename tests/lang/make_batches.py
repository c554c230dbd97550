"""Programs for guests, which have no compiler: make_batches.py --btf BTF --out FILE.

Random expressions of C with what gcc computes for them, and the functions of `samples` with what
CPython does, in programs of 50 functions each.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, given, settings

from fsession.btf.catalog import Types
from fsession.isa.insn import encode
from fsession.lang.ctypes import Catalog
from fsession.lang.source import Source
from lang.expressions import Reference, batches, compiled
from lang.run import U64, load_request
from lang.test_python import FUNCTIONS, INPUTS
from lang.test_python import compiled as compiled_python

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fsession.host import LoadRequest
    from fsession.lang.ir import Function

COUNT, SIZE = 40, 50


@dataclass(frozen=True)
class Batch:
    """A program of functions (see `run.caller`), and for each input what each of them gives."""

    request: LoadRequest
    texts: Sequence[str]
    inputs: Sequence[Sequence[int]]
    expected: Sequence[Sequence[int]]


def generated() -> list[tuple[list[str], list[str], list[tuple[int, ...]]]]:
    """The same each time: hypothesis without a seed of its own."""
    found: list[Any] = []

    @given(batches(SIZE))
    @settings(
        max_examples=COUNT,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def collect(batch: Any) -> None:
        found.append(batch)

    collect()
    return found


def make(types: Types) -> Iterator[Batch]:
    catalog = Catalog(types)
    with tempfile.TemporaryDirectory() as folder:
        for number, (kinds, texts, inputs) in enumerate(generated()):
            place = Path(folder) / str(number)
            place.mkdir()
            reference = Reference(place, kinds, texts)
            functions = [compiled(catalog, kinds, t, f"f{at}") for at, t in enumerate(texts)]
            expected = [reference.values(words) for words in inputs]
            yield _batch(functions, texts, inputs, expected)
    samples = [compiled_python(catalog, *Source.of(function)) for function in FUNCTIONS]
    values = [[int(f(*words) or 0) & U64 for f in FUNCTIONS] for words in INPUTS]
    yield _batch(samples, [f.__name__ for f in FUNCTIONS], INPUTS, values)


def _batch(
    functions: Sequence[Function],
    texts: Sequence[str],
    inputs: Sequence[tuple[int, ...]],
    expected: Sequence[Sequence[int]],
) -> Batch:
    words = [[word & U64 for word in row] for row in inputs]
    return Batch(load_request(functions, len(inputs[0])), texts, words, expected)


def _as_json(batch: Batch) -> dict[str, Any]:
    request = batch.request
    assert request.types is not None
    return {
        "insns": encode(request.insns).hex(),
        "types": request.types.data.hex(),
        "funcs": [(info.at, info.type) for info in request.funcs],
        "texts": batch.texts,
        "inputs": batch.inputs,
        "expected": batch.expected,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--btf", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    types = Types.from_bytes(arguments.btf.read_bytes(), name="vmlinux")
    arguments.out.write_text(json.dumps(list(map(_as_json, make(types)))))


if __name__ == "__main__":
    main()
