"""Addresses with source lines: the kernel is moved, modules are not in the file."""

from __future__ import annotations

import pytest

from fsession.errors import BadInputError
from fsession.tracer.places import places

MOVED = 0x1000_0000


NAMES = {0x8100_0000 + MOVED: "first", 0x8100_0012 + MOVED: "first+0x12", 5: "in [some]"}
ROWS = {0x8100_0000: "a.c:1", 0x8100_0011: "a.c:2"}


class Host:
    def symbol_at(self, address):
        return NAMES.get(address)

    def symbol(self, name):
        return {"_stext": 0x8000_0000 + MOVED}.get(name)


class Lines:
    def symbol(self, name):
        return {"_stext": 0x8000_0000}.get(name)

    def line(self, address):
        return ROWS.get(address)


class Stripped(Lines):
    def symbol(self, name):
        return None


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0x8100_0000 + MOVED, "first (a.c:1)"),
        (0x8100_0012 + MOVED, "first+0x12 (a.c:2)"),
        (5, "in [some]"),
        (6, None),
    ],
)
def test_places(address, name):
    assert places(Host(), Lines())(address) == name


def test_without_lines():
    assert places(Host(), None)(0x8100_0000 + MOVED) == "first"


def test_of_something_else():
    with pytest.raises(BadInputError, match="no symbol '_stext'"):
        places(Host(), Stripped())
