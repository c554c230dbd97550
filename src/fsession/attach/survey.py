"""Every function that names and patterns stand for: what can be traced, and why the rest can't.

`find_targets` looks no further than it must to attach; this looks at the kernel's symbols too, so
that a function without BTF is named, and one that the compiler took away is told from one that
ftrace can't patch.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

from fsession.attach.functions import match_functions, modules_of
from fsession.attach.pattern import Pattern, parse
from fsession.attach.programs import match_programs
from fsession.attach.refusals import Reason
from fsession.attach.target import Found, Refused, Target
from fsession.btf.glob import glob_regex
from fsession.btf.types import Func
from fsession.errors import AttachError, NotFoundError

if TYPE_CHECKING:
    from fsession.host import Host

__all__ = ["survey"]

NOTHING = "nothing in the kernel is called so"
_PART = re.compile(r"\.(?:isra|constprop|part|llvm)\b")
"""What the compiler adds to the name of a function that it changed."""


def survey(host: Host, text: str) -> Found:
    """All that `text` stands for; if that is nothing, `text` itself with a reason.

    Programs of the targets are closed.
    """
    pattern = parse(text)
    with ExitStack() as stack:
        if isinstance(pattern, Pattern):
            found = _functions(host, pattern)
        else:
            found = match_programs(host, pattern, stack)
    if not found.targets and not found.refused:
        return Found((), (Refused(text, Reason.NO_BTF, NOTHING),))
    return found


def _functions(host: Host, pattern: Pattern) -> Found:
    parts: list[Found] = []
    for module in _places(host, pattern):
        one = Pattern(pattern.text, module, pattern.name, pattern.prototype)
        try:
            found = match_functions(host, one)
        except NotFoundError as error:
            raise AttachError(pattern.text, str(error)) from error
        symbols = _Symbols(host, one)
        parts.append(symbols.check(found))
        if not pattern.prototype:
            parts.append(symbols.unknown(found))
    targets = tuple(target for part in parts for target in part.targets)
    return Found(targets, tuple(item for part in parts for item in part.refused))


def _places(host: Host, pattern: Pattern) -> list[str]:
    """Modules to look at: for a bare name those that have it, if vmlinux does not."""
    if pattern.module or not pattern.is_name or host.types("").find(pattern.name, Func):
        return modules_of(host, pattern.module)
    owners = [name for name in host.modules() if host.types(name).find_own(pattern.name, Func)]
    return owners or [""]


class _Symbols:
    """The kernel's own symbols of one module that a pattern is about."""

    def __init__(self, host: Host, pattern: Pattern) -> None:
        self._prefix = f"{pattern.module}:" if pattern.module else ""
        self._regex = re.compile(glob_regex(pattern.name))
        glob = pattern.name if pattern.name.endswith("*") else f"{pattern.name}*"
        found = list(host.function_symbols(glob, pattern.module))
        self._counts = Counter(one.name for one in found)
        self._code = dict.fromkeys(one.name for one in found if one.is_code)
        self._changed: dict[str, str] = {}
        for name in self._code:
            base = _PART.split(name)[0]
            if base != name:
                self._changed.setdefault(base, name)

    def check(self, found: Found) -> Found:
        """`found` with what symbols tell besides."""
        targets, refused = [], []
        for target in found.targets:
            again = self._again(target)
            if again is None:
                targets.append(target)
            else:
                refused.append(again)
        refused += [self._closer(item) for item in found.refused]
        return Found(tuple(targets), tuple(refused))

    def unknown(self, found: Found) -> Found:
        """Functions that BTF does not have."""
        known = {item.name for item in found.targets} | {item.name for item in found.refused}
        names = (name for name in self._code if self._regex.fullmatch(name))
        missing = [name for name in names if self._prefix + name not in known]
        return Found((), tuple(self._without_btf(name, known) for name in missing))

    def _again(self, target: Target) -> Refused | None:
        count = self._counts[target.function]
        return Refused(target.name, Reason.AMBIGUOUS, f"{count} symbols") if count > 1 else None

    def _closer(self, item: Refused) -> Refused:
        name = item.name.removeprefix(self._prefix)
        if item.reason is Reason.NOT_TRACEABLE and not self._counts[name]:
            changed = self._changed.get(name, "")
            return Refused(item.name, Reason.INLINED, f"it is {changed}" if changed else "")
        if item.reason in (Reason.NOT_TRACEABLE, Reason.AMBIGUOUS) and self._counts[name] > 1:
            return Refused(item.name, Reason.AMBIGUOUS, f"{self._counts[name]} symbols")
        return item

    def _without_btf(self, name: str, known: set[str]) -> Refused:
        base = _PART.split(name)[0]
        if base != name and self._prefix + base in known:
            return Refused(self._prefix + name, Reason.INLINED, f"made of {base}")
        return Refused(self._prefix + name, Reason.NO_BTF)
