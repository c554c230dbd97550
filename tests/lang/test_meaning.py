"""What compiled code computes, on the engine and on the real kernel: expressions of C what gcc
computes, Python functions what CPython does. The same as in guests."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsession.btf.catalog import Types
from fsession.engine import Machine
from fsession.kernel import KernelHost
from lang.make_batches import make
from lang.run import results

EXPRESSIONS, FUNCTIONS = 2000, 30
RUNNING = Path("/sys/kernel/btf/vmlinux")


@pytest.fixture(scope="module")
def types():
    if not RUNNING.exists():
        pytest.skip("no BTF of a running kernel")
    return Types.from_bytes(RUNNING.read_bytes(), name="vmlinux")


@pytest.fixture(scope="module")
def batches(types):
    return list(make(types))


def compare(host, batches):
    """All batches; how many functions there were."""
    compared = 0
    for batch in batches:
        seen = results(host, batch.request, batch.inputs, len(batch.texts))
        for words, ours, theirs in zip(batch.inputs, seen, batch.expected, strict=True):
            rows = zip(batch.texts, ours, theirs, strict=True)
            assert [(row, words) for row in rows if row[1] != row[2]] == []
        compared += len(batch.texts)
    return compared


def test_on_the_engine(types, batches):
    with Machine(types, verify=False) as machine:  # which takes no programs of this type
        assert compare(machine, batches) >= EXPRESSIONS + FUNCTIONS


@pytest.mark.kernel
def test_on_this_kernel(batches):
    with KernelHost() as host:
        assert compare(host, batches) >= EXPRESSIONS + FUNCTIONS
