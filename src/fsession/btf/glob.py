"""Patterns of names, as the shell has them: ``*``, ``?``, ``[abc]``, ``[!a-c]``."""

from __future__ import annotations

import re

from fsession.errors import BadInputError

__all__ = ["glob_regex"]

_SET = re.compile(r"\[(!?)(\]?[^\]]*)\]")
_SPECIAL_IN_SET = re.compile(r"([\\\[\]^&~|])")
_LETTER = r"[\w.]"
_WILDCARDS = {"*": _LETTER + "*", "?": _LETTER}


def glob_regex(glob: str) -> str:
    r"""A regular expression without groups for the names that `glob` matches.

    Its wildcards stand for what names of functions are made of, never for a NUL or the end of a
    line, so it can be searched for in a whole table of names at once.

    >>> glob_regex("tcp_[a-m]*.isra.?")
    'tcp_[a-m][\\w.]*\\.isra\\.[\\w.]'
    """
    out: list[str] = []
    at = 0
    while at < len(glob):
        found = _SET.match(glob, at)
        if found is None or not found[2]:
            out.append(_WILDCARDS.get(glob[at], re.escape(glob[at])))
            at += 1
            continue
        letters = _SPECIAL_IN_SET.sub(r"\\\1", found[2])
        out.append(f"[^{letters}\\n\\0]" if found[1] else f"[{letters}]")
        at = found.end()
    text = "".join(out)
    try:
        re.compile(text)
    except re.error as error:
        raise BadInputError(f"'{glob}' is no pattern: {error}") from None
    return text
