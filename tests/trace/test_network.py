"""Addresses of the network, by their types; printers of well-known structs."""

from __future__ import annotations

import socket
import struct

import pytest

from fsession.btf.encode import Builder
from fsession.btf.types import Array, Int, Member, Struct, Typedef
from fsession.trace.network import socket_address
from fsession.trace.printers import PRINTERS
from fsession.trace.values import FAULT, Address, reader


@pytest.fixture(scope="module")
def network():
    build = Builder()
    byte = build.add(Int("unsigned char", 1, 8, 0))
    short = build.add(Int("unsigned short", 2, 16, 0))
    word = build.add(Int("unsigned int", 4, 32, 0))
    ids = {"port": build.add(Typedef("__be16", short)), "be32": build.add(Typedef("__be32", word))}
    ids["mac"] = build.add(Array(byte, word, 6))
    ids["in_addr"] = build.add(Struct("in_addr", 4, (Member("s_addr", ids["be32"], 0),)))
    data = build.add(Array(byte, word, 12))
    members = (Member("sin_family", short, 0), Member("rest", data, 32))
    ids["sockaddr_in"] = build.add(Struct("sockaddr_in", 16, members))
    return build.types(), ids


def word(data: bytes) -> int:
    return int.from_bytes(data, "little")


LOCAL4 = struct.pack("<H", socket.AF_INET) + struct.pack(">H", 80) + bytes([127, 0, 0, 1])
LOCAL6 = struct.pack("<H", socket.AF_INET6) + struct.pack(">HI", 80, 0) + bytes(15) + b"\x01"

WORDS = [
    ("port", "dport", b"\0\x50", 80),
    ("be32", "saddr", bytes([10, 0, 0, 1]), "10.0.0.1"),
    ("be32", "seq", b"\0\0\1\0", 256),
    ("mac", "h_dest", bytes(range(6)), "00:01:02:03:04:05"),
    ("in_addr", "addr", bytes([10, 0, 0, 2]), "10.0.0.2"),
    ("sockaddr_in", "", LOCAL4, "127.0.0.1:80"),
]


@pytest.mark.parametrize(("kind", "name", "data", "value"), WORDS)
def test_words(network, kind, name, data, value):
    types, ids = network
    assert reader(types, ids[kind], name=name)(word(data)) == value


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (LOCAL4.ljust(16, b"\0"), "127.0.0.1:80"),
        (LOCAL6, "[::1]:80"),
        (struct.pack("<H", 1) + b"/run/x\0rest", "unix:/run/x"),
        (struct.pack("<H", 16), "family 16"),
    ],
)
def test_socket_addresses(data, shown):
    assert socket_address(data) == shown


IP4, IP6 = Address("10.0.0.1"), Address("::1")
SHOWN = [
    ("sock", [2, 80, 5000, IP4, IP4, IP6, IP6, 1], "10.0.0.1:80 → 10.0.0.1:5000 ESTABLISHED"),
    ("sock", [10, 80, 5000, IP4, IP4, IP6, IP6, 10], "[::1]:80 → [::1]:5000 LISTEN"),
    ("sock", [1, 0, 0, IP4, IP4, IP6, IP6, 7], "unix"),
    ("sk_buff", [84, "lo", 0x0800], "lo 84 bytes IPv4"),
    ("sk_buff", [84, FAULT, 0], "84 bytes"),
    ("file", ["hostname", "etc", "/", "/"], "/etc/hostname"),
    ("file", ["a", "b", "c", "d"], "…/d/c/b/a"),
    ("task_struct", ["cat", 7, 7], "cat/7"),
    ("task_struct", ["cat", 7, 8], "cat/7:8"),
    ("bio", ["vda", 2048, 4096, 1], "vda write sector 2048 4096 bytes"),
    ("page", [3, 2, 0], "index 3 2 references"),
    ("sockaddr", [FAULT, LOCAL4.ljust(16, b"\0")], "127.0.0.1:80"),
]


@pytest.mark.parametrize(("name", "values", "shown"), SHOWN)
def test_printers(name, values, shown):
    assert PRINTERS[name].show(values) == shown


@pytest.mark.parametrize("name", list(PRINTERS))
def test_what_can_t_be_read(name):
    parts = len(PRINTERS[name].parts)
    assert PRINTERS[name].show([FAULT] * parts) == FAULT
    assert str(PRINTERS[name].show([1] * (parts + 1))) == "<incomplete>"
