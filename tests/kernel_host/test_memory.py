"""Machine code and names of the running kernel, and callees found in them."""

from __future__ import annotations

import platform

import pytest

from fsession.callees import KernelMemory, Verdict, find_callees
from fsession.kernel import KernelHost

pytestmark = pytest.mark.kernel


@pytest.fixture
def memory():
    with KernelHost() as host, KernelMemory(host) as memory:
        yield memory


def test_names_and_addresses(memory):
    address, nothing = memory.addresses(["vfs_read", "no_such_function"])
    assert nothing == 0
    start, inside, none = memory.symbols([address, address + 8, 16])
    assert (start.name, start.offset) == ("vfs_read", 0)
    assert (inside.name, inside.offset) == ("vfs_read", 8)
    assert none is None


def test_many(memory):
    """More than fit in a batch, and more than fit in an area."""
    address, end = memory.addresses(["_text", "vfs_read"])
    code = memory.read([(end, 16)] * 200)
    assert len(set(code)) == 1
    long, short = memory.read([(address, 10_000), (address + 5_000, 100)])
    assert len(long) == 10_000
    assert long[5_000:5_100] == short


def test_what_cannot_be_read(memory):
    assert memory.read([(16, 64)]) == [b""]


def test_callees(memory):
    (address,) = memory.addresses(["vfs_read"])

    def keep(symbols):
        return [Verdict.KEEP for _ in symbols]

    found = find_callees(memory, platform.machine(), [address], 1, keep)
    assert "rw_verify_area" in {callee.symbol.name for callee in found}
    assert found == find_callees(memory, platform.machine(), [address], 1, keep)
