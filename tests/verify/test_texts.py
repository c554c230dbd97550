"""Formats of bpf_snprintf: each verdict is that of Linux 6.18, asked with such a program."""

from __future__ import annotations

import pytest

from fsession.verify.texts import format_problem

TAKEN = [
    (b"plain", 0),
    (b"%d", 1),
    (b"%d %u %x %X %i", 5),
    (b"%ld %lld %lu %llx", 4),
    (b"%5d", 1),
    (b"%05d", 1),
    (b"%-5d|", 1),
    (b"%+d", 1),
    (b"% d", 1),
    (b"%s", 1),
    (b"%s,", 1),
    (b"%5s", 1),
    (b"%p", 1),
    (b"%px", 1),
    (b"%pK", 1),
    (b"%pS", 1),
    (b"%ps", 1),
    (b"%pB", 1),
    (b"%pBx", 1),
    (b"%pks", 1),
    (b"%pus", 1),
    (b"%pi4", 1),
    (b"%pI4", 1),
    (b"%pI6", 1),
    (b"%pi6", 1),
    (b"%c", 1),
    (b"%%", 0),
    (b"tab\t\n", 0),
    (b"%d", 2),
    (b"%p x", 1),
    (b"%p)", 1),
    (b"%-05d", 1),
    (b"%cx", 1),
    (b"\x0b\x0c\r", 0),
    (b"%pxx", 1),
    (b"%ps1", 1),
    (b"%pKa", 1),
    (b"%5p", 1),
    (b"%05c", 1),
    (b"%pi4x", 1),
    (b"%s%s", 2),
    (b"%pB ", 1),
]
REFUSED = [
    (b"%d", 0),
    (b"%llld", 1),
    (b"%.3d", 1),
    (b"%hd", 1),
    (b"%sx", 1),
    (b"%pksx", 1),
    (b"%pk", 1),
    (b"%pI5", 1),
    (b"%pI", 1),
    (b"%pa", 1),
    (b"%lc", 1),
    (b"%", 1),
    (b"%5%", 1),
    (b"%f", 1),
    (b"%n", 1),
    (b"%o", 1),
    (b"\x01", 0),
    (b"%p0", 1),
    (b"%pd", 1),
    (b"%l", 1),
    (b"%ll", 1),
    (b"%0", 1),
    (b"%5", 1),
    (b"\x7f", 0),
    (b"%d%d", 1),
    ("ä".encode(), 0),  # Linux 6.18 takes it, 6.12 does not
]


@pytest.mark.parametrize(("text", "words"), TAKEN)
def test_taken(text, words):
    assert format_problem(text, words) == ""


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_refused(text, words):
    assert format_problem(text, words)
