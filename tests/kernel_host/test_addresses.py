"""Addresses to names: of the kernel from a kallsyms text, of processes from this one."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from fsession.errors import BadInputError
from fsession.kernel.addresses import Addresses
from fsession.kernel.groups import network_namespace
from fsession.kernel.user_symbols import UserSymbols

KALLSYMS = """\
0000000000000000 A fixed
0000000000001000 A fixed_end
ffffffff81001000 T first
ffffffff81001000 t alias
ffffffff81002000 D data
ffffffff81003000 B end
ffffffffc0000010 t inside\t[some]
ffffffffa0000000 t lower\t[other]
ffffffffa0000000 t lower_alias\t[other]
ffffffffc0100000 t bpf_prog_1\t[bpf]
"""

NAMES = [
    (0xFFFF_FFFF_8100_0FFF, None),
    (0xFFFF_FFFF_8100_1000, "first"),
    (0xFFFF_FFFF_8100_1012, "first+0x12"),
    (0xFFFF_FFFF_8100_1FFF, "first+0xfff"),
    (0xFFFF_FFFF_8100_2000, "data"),
    (0xFFFF_FFFF_8100_3000, "end"),
    (0xFFFF_FFFF_8100_3001, "end+0x1"),
    (0xFFFF_FFFF_A000_0004, "lower+0x4 [other]"),
    (0xFFFF_FFFF_C000_0018, "inside+0x8 [some]"),
    (0xFFFF_FFFF_C010_0000, "bpf_prog_1 [bpf]"),
    (0xFFFF_FFFF_D000_0000, None),
    (0x1000, None),
    (0, None),
    (2**64 - 1, None),
]


@pytest.mark.parametrize(("address", "name"), NAMES)
def test_names(tmp_path, address, name):
    path = tmp_path / "kallsyms"
    path.write_text(KALLSYMS)
    assert Addresses(path).name(address) == name


@pytest.mark.parametrize("text", ["", "ffffffffc0000010 t inside\t[some]\n"])
def test_without_symbols_of_the_kernel(tmp_path, text):
    path = tmp_path / "kallsyms"
    path.write_text(text)
    assert Addresses(path).name(0xFFFF_FFFF_8100_1000) is None
    assert Addresses(path).name(0xFFFF_FFFF_C000_0010) == ("inside [some]" if text else None)


@pytest.mark.kernel
def test_this_kernel_by_a_plain_loop():
    lines = [line.split() for line in Path("/proc/kallsyms").read_text().splitlines()]
    rows = [(int(row[0], 16), row[2]) for row in lines if row[1] not in "aA" and len(row) == 3]
    if not rows[0][0]:
        pytest.skip("this kernel hides its addresses")
    names = Addresses()
    for start, _ in rows[:: len(rows) // 300]:
        first = next(name for other, name in rows if other == start)
        assert names.name(start) == first


def test_hidden_addresses(tmp_path):
    path = tmp_path / "kallsyms"
    path.write_text("0000000000000000 T first\n" * 3)
    assert Addresses(path).name(0xFFFF_FFFF_8100_1000) is None


def test_a_function_of_libc():
    function = ctypes.CDLL(None).getppid
    address = ctypes.cast(function, ctypes.c_void_p).value
    name = UserSymbols().name(os.getpid(), address + 1)
    assert name is not None
    assert "getppid+0x1 (libc.so" in name


def test_what_is_nowhere():
    assert UserSymbols().name(os.getpid(), 0x10) is None
    assert UserSymbols().name(2**22 + 1, 0x10) is None


def test_namespaces():
    assert network_namespace("4026531833") == network_namespace(4026531833) == 4026531833
    assert network_namespace("/proc/self/ns/net") > 0
    with pytest.raises(BadInputError, match="no network namespace 'nowhere'"):
        network_namespace("nowhere")
