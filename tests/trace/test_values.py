"""Words to values to text."""

from __future__ import annotations

import pytest

from fsession.trace.values import FAULT, Errno, Named, Pointer, reader, result_reader, text

U64 = (1 << 64) - 1
PAIR = (-7 & 0xFFFF_FFFF) | 5 << 32 | 0xE << 36 | 0xFFFF_8880_0000_1000 << 64

ARGUMENTS = [
    ("int", 42, 42, "42"),
    ("int", 0xFFFF_FFFF, -1, "-1"),
    ("int", 0xDEAD_BEEF_0000_0007, 7, "7"),  # the upper half is rubbish
    ("long", -5 & U64, -5, "-5"),
    ("unsigned int", 0xFFFF_FFFF, 0xFFFF_FFFF, "4294967295"),
    ("unsigned long", 0xFFFF_8880_1234_5678, 0xFFFF_8880_1234_5678, "0xffff888012345678"),
    ("bool", 0x100, False, "false"),
    ("bool", 1, True, "true"),
    ("char", ord("x"), ord("x"), "'x'"),
    ("char", 7, 7, "7"),
    ("umode_t", 0o644, 0o644, "420"),
    ("struct sk_buff *", 0xFFFF_8F75_C8EF_D300, 0xFFFF_8F75_C8EF_D300, "0xffff8f75c8efd300"),
    ("struct sk_buff *", 0, 0, "NULL"),
    ("struct sk_buff *", -22 & U64, -22 & U64, "ERR_PTR(-EINVAL)"),
    ("enum drop_reason", 3, 3, "NO_SOCKET"),
    ("enum drop_reason", 9, 9, "9"),
    ("enum sk_flags", 5, 5, "SK_A|SK_C"),
    ("enum sk_flags", 0x11, 0x11, "SK_A|0x10"),
    ("enum sk_flags", 0, 0, "0"),
    ("kuid_t", 1000, {"val": 1000}, "{.val=1000}"),
    (
        "struct pair",
        PAIR,
        {"a": -7, "low": 5, "high": -2, "to": 0xFFFF_8880_0000_1000},
        "{.a=-7, .low=5, .high=-2, .to=0xffff888000001000}",
    ),
    ("void (*)(void)", 0xFFFF_FFFF_8100_0000, 0xFFFF_FFFF_8100_0000, "do_it"),
    ("void (*)(void)", 0xFFFF_FFFF_8100_0008, 0xFFFF_FFFF_8100_0008, "0xffffffff81000008"),
]


@pytest.mark.parametrize(("kind", "word", "value", "shown"), ARGUMENTS)
def test_argument(kernel, kind, word, value, shown):
    symbols = {0xFFFF_FFFF_8100_0000: "do_it"}
    got = reader(kernel.types, kernel.ids[kind], symbols.get)(word)
    assert got == value
    assert text(got) == shown


RESULTS = [
    ("int", 0, "0"),
    ("int", -12 & 0xFFFF_FFFF, "-ENOMEM (-12)"),
    ("int", -12 & U64, "-ENOMEM (-12)"),
    ("int", -524 & U64, "-ENOTSUPP (-524)"),
    ("int", -4095 & U64, "-4095"),
    ("int", -4096 & U64, "-4096"),
    ("long", -2 & U64, "-ENOENT (-2)"),
    ("unsigned long", -12 & U64, "-ENOMEM (-12)"),
    ("unsigned int", -12 & 0xFFFF_FFFF, "4294967284"),
    ("struct file *", -2 & U64, "ERR_PTR(-ENOENT)"),
    ("bool", 1, "true"),
    ("enum drop_reason", 0, "NOT_DROPPED"),
]


@pytest.mark.parametrize(("kind", "word", "shown"), RESULTS)
def test_result(kernel, kind, word, shown):
    assert text(result_reader(kernel.types, kernel.ids[kind])(word)) == shown


def test_void_has_no_result(kernel):
    assert result_reader(kernel.types, kernel.ids["void"])(77) is None


STRINGS = [
    ("plain", "lo", '"lo"'),
    ("quote", 'a"b\\', '"a\\"b\\\\"'),
    ("control", "a\n\x01", '"a\\n\\x01"'),
    ("long", "x" * 80, '"' + "x" * 63 + '…"'),
    ("just fits", "x" * 64, '"' + "x" * 64 + '"'),
    ("null", None, "NULL"),
    ("fault", FAULT, "<fault>"),
    ("list", [1, Pointer(0)], "[1, NULL]"),
]


@pytest.mark.parametrize(
    ("value", "shown"), [row[1:] for row in STRINGS], ids=[r[0] for r in STRINGS]
)
def test_text(value, shown):
    assert text(value) == shown


def test_numbers_with_names_are_numbers():
    assert Named(3, "NO_SOCKET") + 1 == 4
    assert Errno(-2) == -2
    assert Pointer(-2 & U64).errno == 2
