"""What a user writes for a target, taken apart.

===================================  ==============================================================
``icmp_rcv``                         a function
``tcp_*``, ``tcp_[a-m]?``            functions by name: ``*``, ``?``, ``[…]``
``nf_conntrack:nf_ct_get``           of a module; ``nf_*:*``: of all modules with such names
``'*(struct sk_buff *)'``            functions that take this and nothing else
``'*(…, struct sock *, …)'``         functions that take it anywhere; ``...`` and ``*`` are the same
``'*(?, size_t)'``                   ``?`` is one parameter of any type
``'tcp_*(struct sock *sk, ...)'``    a parameter's name, where one is written, counts too
``'int *(struct sock *)'``           functions by their result as well
``'struct sock *tcp_*(*)'``          stars in front of a name belong to the result
``prog:12``, ``prog:NAME``           a BPF program; a tag, a pin, and patterns of names do, too
``prog:12/part``, ``prog:*/*``       functions of BPF programs
===================================  ==============================================================
"""

from __future__ import annotations

import re

from fsession.attach.prototype import Prototype, parse_prototype
from fsession.frozen import frozen

__all__ = ["Pattern", "ProgramPattern", "is_pattern", "parse"]

_PROGRAM = "prog:"
_BPF_FS_DEPTH = 4  # slashes of /sys/fs/bpf/PIN/FUNCTION up to the pin


@frozen
class Pattern:
    """Functions by name and type; `module` "" is vmlinux, and for a plain name any module."""

    text: str
    module: str
    name: str
    prototype: Prototype | None = None

    @property
    def is_name(self) -> bool:
        """It stands for one function."""
        return self.prototype is None and not _is_glob(self.text)


@frozen
class ProgramPattern:
    """BPF programs: `place` is an id, a tag, a name, a pin or a pattern of names; `function` is ""
    for the main one."""

    text: str
    place: str
    function: str = ""

    @property
    def is_name(self) -> bool:
        return not (_is_glob(self.function) or self.is_place_glob)

    @property
    def is_place_glob(self) -> bool:
        return not self.place.startswith("/") and _is_glob(self.place)


def is_pattern(text: str) -> bool:
    """Whether `text` may stand for several functions."""
    return not parse(text).is_name


def parse(text: str) -> Pattern | ProgramPattern:
    """Raises `BadInputError` for what no target is written like."""
    if text.startswith(_PROGRAM):
        return ProgramPattern(text, *_program_place(text.removeprefix(_PROGRAM)))
    module, _, rest = text.rpartition(":") if "(" not in text else _before_colon(text)
    if "(" not in rest:
        return Pattern(text, module, rest)
    name, prototype = parse_prototype(rest)
    return Pattern(text, module, name, prototype)


def _before_colon(text: str) -> tuple[str, str, str]:
    found = re.match(r"([\w*?\[\]!-]+)(:)(.*)", text, re.DOTALL)
    return (found[1], found[2], found[3]) if found else ("", "", text)


def _is_glob(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def _program_place(place: str) -> tuple[str, str]:
    """``(program, function)`` of ``PLACE[/FUNCTION]``; a pin is a path of its own."""
    if not place.startswith("/"):
        program, _, function = place.partition("/")
        return program, function
    folder, _, last = place.rpartition("/")
    if folder.count("/") >= _BPF_FS_DEPTH:
        return folder, last
    return place, ""
