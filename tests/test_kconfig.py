"""Values of kconfig externs."""

from __future__ import annotations

from typing import Any

import pytest

from fsession.btf.encode import Builder
from fsession.btf.types import Array, Const, Enum, Enumerator, Int
from fsession.errors import BadInputError, NotFoundError
from fsession.kconfig import kconfig_value
from fsession.spec import Variable

CONFIG = {
    "CONFIG_HZ": "250",
    "CONFIG_BASE": "0xffffffff81000000",
    "CONFIG_NEGATIVE": "-1",
    "CONFIG_BPF": "y",
    "CONFIG_EXT4": "m",
    "CONFIG_NOTHING": "n",
    "CONFIG_NAME": '"a \\"b\\" c"',
}


class FakeHost:
    def kconfig(self) -> dict[str, str]:
        return CONFIG

    def version_code(self) -> int:
        return 7 << 16 | 2 << 8 | 13

    def symbol(self, name: str, module: str = "") -> int | None:
        return 1 if name == "__x64_sys_bpf" else None


@pytest.fixture(scope="module")
def kinds():
    """Types by C name, and their sizes."""
    build = Builder()
    ids = {
        "int": build.add(Int("int", 4, 32, 1)),
        "u64": build.add(Int("u64", 8, 64)),
        "u16": build.add(Int("u16", 2, 16)),
        "bool": build.add(Int("_Bool", 1, 8, 4)),
        "char": build.add(Int("char", 1, 8, 1)),
    }
    tri = tuple(Enumerator(name, at) for at, name in enumerate(("TRI_NO", "TRI_YES", "TRI_MODULE")))
    ids["tristate"] = build.add(Enum("libbpf_tristate", 4, tri))
    ids["char[8]"] = build.add(Array(build.add(Const(ids["char"])), ids["int"], 8))
    return build.types(), ids


ROWS = [
    # name, type, its bytes
    ("CONFIG_HZ", "int", (250).to_bytes(4, "little")),
    ("CONFIG_BASE", "u64", (0xFFFFFFFF81000000).to_bytes(8, "little")),
    ("CONFIG_NEGATIVE", "int", b"\xff" * 4),
    ("CONFIG_BPF", "bool", b"\1"),
    ("CONFIG_BPF", "char", b"y"),
    ("CONFIG_BPF", "tristate", b"\1\0\0\0"),
    ("CONFIG_EXT4", "tristate", b"\2\0\0\0"),
    ("CONFIG_EXT4", "char", b"m"),
    ("CONFIG_NOTHING", "bool", b"\0"),
    ("CONFIG_NAME", "char[8]", b'a "b" c\0'),
    ("LINUX_KERNEL_VERSION", "int", bytes((13, 2, 7, 0))),
    ("LINUX_HAS_SYSCALL_WRAPPER", "bool", b"\1"),
]


def value(kinds, name: str, kind: str, *, weak: bool = False) -> bytes:
    types, ids = kinds
    host: Any = FakeHost()
    variable = Variable(name, ".kconfig", 0, types.size_of(ids[kind]), ids[kind])
    return kconfig_value(host, types, variable, weak=weak)


@pytest.mark.parametrize(("name", "kind", "expected"), ROWS, ids=[f"{r[0]} {r[1]}" for r in ROWS])
def test_values(kinds, name, kind, expected):
    assert value(kinds, name, kind) == expected


def test_what_is_not_there(kinds):
    assert value(kinds, "CONFIG_NO_SUCH", "u64", weak=True) == bytes(8)
    with pytest.raises(NotFoundError, match="CONFIG_NO_SUCH") as caught:
        value(kinds, "CONFIG_NO_SUCH", "u64")
    assert "__weak" in caught.value.__notes__[0]


REFUSED = [
    ("CONFIG_BASE", "u16", "does not fit 16 bits"),
    ("CONFIG_NAME", "int", "can't hold"),
    ("CONFIG_HZ", "char[8]", "can't hold"),
    ("CONFIG_EXT4", "bool", "a bool can't hold"),
]


@pytest.mark.parametrize(
    ("name", "kind", "words"), REFUSED, ids=[f"{r[0]} {r[1]}" for r in REFUSED]
)
def test_values_that_do_not_fit(kinds, name, kind, words):
    with pytest.raises(BadInputError, match=words):
        value(kinds, name, kind)
