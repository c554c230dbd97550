"""Programs for guests, which have no compiler: make_batches.py --btf BTF --out FILE.

Random expressions of C with what gcc computes for them, and the functions of `samples` with what
CPython does, in programs of 50 functions each.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, given, settings

from fsession.btf.catalog import Types
from fsession.isa.insn import encode
from fsession.lang.ctypes import Catalog
from fsession.lang.source import Source
from lang.expressions import Reference, batches
from lang.run import U64, load_request
from lang.test_meaning import compiled
from lang.test_python import FUNCTIONS, INPUTS
from lang.test_python import compiled as compiled_python

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fsession.lang.ir import Function

COUNT, SIZE = 40, 50


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


def make(types: Types) -> Iterator[dict[str, Any]]:
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
) -> dict[str, Any]:
    request = load_request(functions, len(inputs[0]))
    assert request.types is not None
    return {
        "insns": encode(request.insns).hex(),
        "types": request.types.data.hex(),
        "funcs": [(info.at, info.type) for info in request.funcs],
        "texts": list(texts),
        "inputs": [[word & U64 for word in words] for words in inputs],
        "expected": [list(row) for row in expected],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--btf", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    types = Types.from_bytes(arguments.btf.read_bytes(), name="vmlinux")
    arguments.out.write_text(json.dumps(list(make(types))))


if __name__ == "__main__":
    main()
