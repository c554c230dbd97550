"""Addresses to names: of the kernel from a kallsyms text, of processes from this one."""

from __future__ import annotations

import ctypes
import os

import pytest

from fsession.errors import BadInputError
from fsession.kernel.addresses import Addresses
from fsession.kernel.groups import network_namespace
from fsession.kernel.user_symbols import UserSymbols

KALLSYMS = """\
ffffffff81001000 T first
ffffffff81001000 t alias
ffffffffc0000010 t inside\t[some]
ffffffff81002000 D data
0000000000000000 A fixed
"""

NAMES = [
    (0xFFFF_FFFF_8100_1000, "first"),
    (0xFFFF_FFFF_8100_1012, "first+0x12"),
    (0xFFFF_FFFF_8100_2000, "data"),
    (0xFFFF_FFFF_C000_0018, "inside+0x8 [some]"),
    (0xFFFF_FFFF_D000_0000, None),
    (0x1000, None),
]


@pytest.mark.parametrize(("address", "name"), NAMES)
def test_names(tmp_path, address, name):
    path = tmp_path / "kallsyms"
    path.write_text(KALLSYMS)
    assert Addresses(path).name(address) == name


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
