"""Helpers that are rare and need Python: texts. Called from machine code, with the GIL taken."""

from __future__ import annotations

import ctypes
import errno
import re
from typing import TYPE_CHECKING, Any

from fsession.engine.memory import probe_read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fsession.engine.machine import Machine

__all__ = ["SLOW", "format_text", "slow_function"]

_DIRECTIVE = re.compile(rb"%(?P<flags>[-+ #0]*)(?P<width>\d*)(?P<size>l{0,2}|h{0,2}|z)"
                        rb"(?P<kind>[diuxXcsp%])(?P<more>[a-zA-Z]{0,2})?")  # fmt: skip
_BITS = {b"": 32, b"h": 16, b"hh": 8, b"l": 64, b"ll": 64, b"z": 64}
_MOST_TEXT = 1024
_U64 = (1 << 64) - 1
_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_uint64, *(ctypes.c_uint64,) * 5)


def format_text(pattern: bytes, words: Sequence[int]) -> str | None:
    """What ``bpf_trace_printk`` makes of a format and its words; None where the format is wrong."""
    out: list[str] = []
    at, left = 0, list(words)
    while (mark := pattern.find(b"%", at)) >= 0:
        out.append(pattern[at:mark].decode(errors="replace"))
        found = _DIRECTIVE.match(pattern, mark)
        if found is None:
            return None
        at = found.end() if found["kind"] == b"p" else found.end("kind")
        if found["kind"] == b"%":
            out.append("%")
            continue
        if not left:
            return None
        out.append(_one(found, left.pop(0)))
    out.append(pattern[at:].decode(errors="replace"))
    return "".join(out)


def _one(found: re.Match[bytes], word: int) -> str:
    kind, flags = found["kind"].decode(), found["flags"].decode()
    if kind == "p":
        return f"{word:016x}"
    if kind == "s":
        return f"{_text_at(word):{'<' if '-' in flags else '>'}{found['width'].decode()}}"
    bits = _BITS[found["size"]]
    word &= (1 << bits) - 1
    if kind == "c":
        return chr(word & 0xFF)
    if kind in "di" and word >> bits - 1:
        word -= 1 << bits
    return f"%{flags}{found['width'].decode()}{'d' if kind in 'diu' else kind}" % word


def _text_at(address: int) -> str:
    data = b""
    while len(data) < _MOST_TEXT:
        part = probe_read(address + len(data), 1)
        if part is None:
            return "(fault)" if not data else data.decode(errors="replace")
        if part == b"\0":
            break
        data += part
    return data.decode(errors="replace")


def _pattern(address: int, size: int) -> bytes | None:
    data = probe_read(address, size)
    return None if data is None or b"\0" not in data else data.split(b"\0", 1)[0]


def _trace_printk(machine: Machine, fmt: int, size: int, a: int, b: int, c: int) -> int:
    return _print(machine, _pattern(fmt, size & 0xFFFF_FFFF), (a, b, c))


def _trace_vprintk(machine: Machine, fmt: int, size: int, words: int, count: int, _: int) -> int:
    return _print(machine, _pattern(fmt, size & 0xFFFF_FFFF), _words(words, count))


def _words(address: int, size: int) -> list[int]:
    data = probe_read(address, size & 0xFFFF_FFFF & ~7) or b""
    return [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]


def _print(machine: Machine, pattern: bytes | None, words: Sequence[int]) -> int:
    text = None if pattern is None else format_text(pattern, words)
    if text is None:
        return -errno.EINVAL
    machine.print(text)
    return len(text.encode())


def _snprintf(machine: Machine, out: int, size: int, fmt: int, words: int, count: int) -> int:
    pattern = _text_at(fmt).encode()
    text = format_text(pattern, _words(words, count))
    if text is None:
        return -errno.EINVAL
    size &= 0xFFFF_FFFF
    data = text.encode() + b"\0"
    if size:
        cut = data if len(data) <= size else data[: size - 1] + b"\0"
        ctypes.memmove(out, cut, len(cut))
    return len(data)


SLOW: dict[str, Callable[..., int]] = {
    "bpf_trace_printk": _trace_printk,
    "bpf_trace_vprintk": _trace_vprintk,
    "bpf_snprintf": _snprintf,
}


def slow_function(machine: Machine, name: str) -> Any:
    """A C function for one machine; the caller keeps it alive. An exception becomes EFAULT."""
    python = SLOW[name]

    def call(*args: int) -> int:
        try:
            return python(machine, *args) & _U64
        except Exception as error:  # it must not pass through machine code
            machine.failures.append(error)
            return -errno.EFAULT & _U64

    return _FUNCTION(call)
