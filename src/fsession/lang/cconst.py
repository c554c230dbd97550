"""Constants of C (C11 6.4.4): integers with their types, characters, texts."""

from __future__ import annotations

import re

from fsession.errors import BadInputError
from fsession.lang.carith import UINT
from fsession.lang.ctypes import INT, LONG, U64, Integer

__all__ = ["character", "integer", "text"]

_INTEGER = re.compile(r"(0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)([uUlL]*)$")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]+|[0-7]{1,3}|.)", re.DOTALL)
_SIMPLE = {
    "n": 10, "t": 9, "r": 13, "0": 0, "a": 7, "b": 8, "f": 12, "v": 11, "e": 27,
    "\\": 92, "'": 39, '"': 34, "?": 63,
}  # fmt: skip
_SUFFIXES = {"", "u", "l", "ul", "lu", "ll", "ull", "llu"}


def integer(word: str) -> tuple[int, Integer]:
    """Value and type: the first of int, long that holds it; unsigned ones too unless decimal."""
    found = _INTEGER.match(word)
    if found is None or found[2].lower() not in _SUFFIXES:
        raise BadInputError(f"'{word}' is no integer")
    digits, suffix = found[1], found[2].lower()
    decimal = digits[0] != "0" or digits == "0"
    base = 10 if decimal else {"x": 16, "b": 2}.get(digits[1:2].lower(), 8)
    try:
        value = int(digits, base)
    except ValueError:
        raise BadInputError(f"'{word}' is no integer") from None
    for type in _candidates(decimal=decimal, suffix=suffix):
        if value < 1 << (8 * type.size - type.signed):
            return value, type
    raise BadInputError(f"{word} has more than 64 bits")


def _candidates(*, decimal: bool, suffix: str) -> list[Integer]:
    found = [INT, UINT, LONG, U64]
    if "u" in suffix:
        found = [UINT, U64]
    elif decimal:
        found = [INT, LONG]
    return [type for type in found if type.size == 8] if "l" in suffix else found


def character(word: str) -> int:
    """``'a'``, ``'\\n'``, ``'\\x41'``: an int, by the sign of char."""
    raw = _unescaped(word[word.index("'") + 1 : -1])
    if len(raw) != 1:
        raise BadInputError(f"{word} is not one character")
    return raw[0] - 256 if raw[0] > 127 else raw[0]


def text(word: str) -> str:
    """The contents of ``"…"``."""
    raw = _unescaped(word[word.index('"') + 1 : -1])
    return raw.decode("utf-8", "surrogateescape")


def _unescaped(word: str) -> bytes:
    out = bytearray()
    at = 0
    for found in _ESCAPE.finditer(word):
        out += word[at : found.start()].encode()
        out.append(_escaped(found[1]))
        at = found.end()
    return bytes(out + word[at:].encode())


def _escaped(code: str) -> int:
    if code[0] == "x" and len(code) > 1:
        value = int(code[1:], 16)
    elif code[0] in "01234567":
        value = int(code, 8)
    elif code in _SIMPLE:
        value = _SIMPLE[code]
    else:
        raise BadInputError(f"'\\{code}' is no escape of C")
    if value > 255:
        raise BadInputError(f"'\\{code}' is more than a byte")
    return value
