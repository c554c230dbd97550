"""Formats of ``bpf_snprintf``, which the verifier reads: ``bpf_bprintf_prepare`` in the kernel."""

from __future__ import annotations

import re

__all__ = ["format_problem"]

_END = r"(?=$|[\s!-/:-@\[-`{-~])"  # nothing, a blank or punctuation
_SPEC = re.compile(
    rf"%(?:%|(?P<arg>[0+\- ]*(?:[1-9][0-9]*)?"
    rf"(?:p[ku]s{_END}|p[iI][46]|pB|p[KxsS]|p{_END}|s{_END}|c|l{{0,2}}[idxXu])))"
)


def format_problem(text: bytes, words: int) -> str:
    """Why a format can't be used with so many words of arguments; "" if it can."""
    if any(byte > 126 or (byte < 32 and byte not in b"\t\n\v\f\r") for byte in text):
        return "a character that can't be printed"
    rest, used = text.decode("ascii"), 0
    while (at := rest.find("%")) >= 0:
        found = _SPEC.match(rest, at)
        if found is None:
            return f"'{rest[at : at + 4]}' is no conversion"
        used += found["arg"] is not None
        rest = rest[found.end() :]
    return "" if used <= words else f"{used} conversions, {words} words of arguments"
